// Only names that need no name server: addresses in digits, and one that cannot exist.
#include "net/look_up.h"

#include <gtest/gtest.h>

#include <string>

namespace bivalve::net {
namespace {

TEST(LookUp, GivesTheAddressWithThePort) {
  for (const LookUpFor use : {LookUpFor::kConnecting, LookUpFor::kListening}) {
    const auto found = LookUp({.name = "127.0.0.1", .port = 3310}, use);
    ASSERT_TRUE(found.ok()) << found.status();
    ASSERT_EQ(found->size(), 1u);
    EXPECT_EQ(found->front().ToString(), "127.0.0.1:3310");
  }
}

TEST(LookUp, NamesTheNameThatIsNotFound) {
  const auto found = LookUp({.name = "no such name", .port = 25}, LookUpFor::kConnecting);
  ASSERT_FALSE(found.ok());
  EXPECT_TRUE(std::string(found.status().message()).starts_with("cannot look up 'no such name': "))
      << found.status();
}

}  // namespace
}  // namespace bivalve::net
