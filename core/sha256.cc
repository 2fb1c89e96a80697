#include "core/sha256.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "core/check.h"

namespace bivalve::core {
namespace {

// Looked up once, because that takes longer than to hash a small message. In a library context of its own,
// which reads no openssl.cnf: what is written there, or a variable that names another file, can take the
// algorithm away. What is left of ways to fail is that there is no memory.
const EVP_MD* Algorithm() {
  static const EVP_MD* const algorithm = EVP_MD_fetch(OSSL_LIB_CTX_new(), "SHA256", nullptr);
  return algorithm;
}

}  // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  BV_CHECK(context_ != nullptr);
  BV_CHECK(EVP_DigestInit_ex2(context_.get(), Algorithm(), nullptr) == 1);
}

// Without an algorithm, EVP starts the one that it has.
void Sha256::Restart() { BV_CHECK(EVP_DigestInit_ex2(context_.get(), nullptr, nullptr) == 1); }

void Sha256::Add(std::string_view bytes) {
  BV_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

Sha256::Digest Sha256::Finish() {
  Digest digest;
  BV_CHECK(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) == 1);
  Restart();
  return digest;
}

std::string ToHex(const Sha256::Digest& digest) {
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

}  // namespace bivalve::core
