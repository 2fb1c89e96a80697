// SHA-256 (FIPS 180-4), in steps, by libcrypto. Tells whether two messages are the same. A keyed 128-bit hash
// would do as well, but this one needs no secret and no argument about who may learn it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;  // libcrypto's EVP_MD_CTX

namespace bivalve::core {

// Allocates when it is made, and begins anew behind each Finish(). So it is kept, and hashes one content
// after the other.
class Sha256 {
 public:
  using Digest = std::array<uint8_t, 32>;

  Sha256();

  // Forgets what was added.
  void Restart();
  void Add(std::string_view bytes);
  // The digest of all that was added since the last Restart() or Finish().
  Digest Finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

// In hexadecimal, in small letters.
std::string ToHex(const Sha256::Digest& digest);

}  // namespace bivalve::core
