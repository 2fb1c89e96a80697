#include "core/printable.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace bivalve::core {
namespace {

// tests/tools/bivalvectl/output_test.cc tests what is escaped, and how.
TEST(Printable, HasNoLimitOfItsOwn) {
  const std::string text(100'000, 'x');
  EXPECT_EQ(Printable(text), text);
  EXPECT_EQ(Printable(text, 3), "xxx...");
}

// Names that differ in one place differ in the other.
TEST(Printable, ShowsNoTwoTextsAlike) {
  std::mt19937 random(20261122);
  static constexpr std::string_view kPieces[] = {"\\", "x", "1",    "b",        "u",  "{",
                                                 "}",  "9", "\x1b", "\xc2\x9b", "\n", "\xe2\x80\xae"};
  std::map<std::string, std::string> seen;
  for (int round = 0; round < 50'000; ++round) {
    std::string text;
    for (size_t i = random() % 8; i > 0; --i) text += kPieces[random() % std::size(kPieces)];
    const auto [found, fresh] = seen.emplace(Printable(text), text);
    ASSERT_EQ(found->second, text) << found->first;
  }
}

}  // namespace
}  // namespace bivalve::core
