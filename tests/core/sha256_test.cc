#include "core/sha256.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace bivalve::core {
namespace {

std::string Hash(std::string_view text, size_t step = std::string_view::npos) {
  Sha256 hash;
  for (; !text.empty(); text.remove_prefix(std::min(step, text.size()))) hash.Add(text.substr(0, step));
  return ToHex(hash.Finish());
}

TEST(Sha256, HasTheDigestsOfTheStandard) {  // FIPS 180-4, and NIST's long message
  EXPECT_EQ(Hash(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Hash("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Hash(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, TakesAnyPieces) {
  const std::string text(300, 'x');
  for (const size_t step : {1u, 3u, 55u, 56u, 63u, 64u, 65u, 127u})
    EXPECT_EQ(Hash(text, step), Hash(text)) << step;
}

// What is left of one content must not become part of the next one.
TEST(Sha256, BeginsAnewBehindEachContent) {
  Sha256 hash;
  for (const std::string_view text : {"a", "", "abc"}) {
    hash.Add(text);
    EXPECT_EQ(ToHex(hash.Finish()), Hash(text));
  }
  hash.Add("given up");
  hash.Restart();
  hash.Add("abc");
  EXPECT_EQ(ToHex(hash.Finish()), Hash("abc"));
}

// An openssl.cnf may leave out what has the algorithm. In a process of its own, because it is looked up once.
TEST(Sha256, ReadsNoConfiguration) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::string path = testing::TempDir() + "sha256_test.cnf";
  std::ofstream(path)
      << "openssl_conf = all\n[all]\nproviders = some\n[some]\nbase = one\n[one]\nactivate = 1\n";
  EXPECT_EXIT(
      {
        setenv("OPENSSL_CONF", path.c_str(), 1);
        Sha256 hash;
        hash.Add("abc");
        std::exit(ToHex(hash.Finish()).starts_with("ba7816bf") ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace bivalve::core
