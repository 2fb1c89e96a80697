// SHA-256 (FIPS 180-4), in steps. Ours because no library that is allowed has it; used only to tell whether
// two messages are the same, and only for scans that take long. A keyed 128-bit hash would do as well, but
// this one needs no secret and no argument about who may learn it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace bivalve::core {

class Sha256 {
 public:
  using Digest = std::array<uint8_t, 32>;

  void Add(std::string_view bytes);
  // The digest of all that was added. Nothing may be added afterwards.
  Digest Finish();

 private:
  void Block(const uint8_t* block);

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> rest_ = {};
  size_t rest_bytes_ = 0;
  uint64_t bytes_ = 0;
};

// In hexadecimal, in small letters.
std::string ToHex(const Sha256::Digest& digest);

}  // namespace bivalve::core
