#include "net/network.h"

#include <gtest/gtest.h>

#include <string_view>

namespace bivalve::net {
namespace {

SocketAddress Address(std::string_view text) {
  const auto endpoint = ParseEndpoint(text, 25);
  EXPECT_TRUE(endpoint.ok()) << text;
  return std::get<SocketAddress>(*endpoint);
}

bool Contains(std::string_view network, std::string_view address) {
  const auto parsed = Network::Parse(network);
  EXPECT_TRUE(parsed.ok()) << network;
  return parsed->Contains(Address(address));
}

TEST(Network, ContainsItsAddressesOnly) {
  EXPECT_TRUE(Contains("192.0.2.0/24", "192.0.2.255"));
  EXPECT_FALSE(Contains("192.0.2.0/24", "192.0.3.0"));
  EXPECT_TRUE(Contains("192.0.2.128/25", "192.0.2.128"));
  EXPECT_FALSE(Contains("192.0.2.128/25", "192.0.2.127"));
  EXPECT_TRUE(Contains("192.0.2.7", "192.0.2.7"));
  EXPECT_FALSE(Contains("192.0.2.7", "192.0.2.6"));
  EXPECT_TRUE(Contains("0.0.0.0/0", "203.0.113.1"));
  EXPECT_FALSE(Contains("0.0.0.0/0", "[2001:db8::1]"));
  EXPECT_TRUE(Contains("2001:db8::/33", "[2001:db8:7fff::1]"));
  EXPECT_FALSE(Contains("2001:db8::/33", "[2001:db8:8000::1]"));
  EXPECT_TRUE(Contains("::1", "[::1]"));
}

TEST(Network, AMappedAddressIsIpv4) {
  EXPECT_TRUE(Contains("192.0.2.0/24", "[::ffff:192.0.2.9]"));
  EXPECT_FALSE(Contains("::/0", "[::ffff:192.0.2.9]"));
}

TEST(Network, ALocalSocketIsInNone) {
  EXPECT_FALSE(Network::Parse("0.0.0.0/0")->Contains(*SocketAddress::FromPath("/run/x")));
  EXPECT_FALSE(Network().Contains(Address("192.0.2.1")));
}

TEST(Network, PrintsWhatItParses) {
  for (const std::string_view text : {"192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0", "192.0.2.1/32"}) {
    EXPECT_EQ(Network::Parse(text)->ToString(), text);
  }
}

TEST(Network, RefusesWhatIsNone) {
  for (const std::string_view text :
       {"", "/", "192.0.2.0/33", "192.0.2.0/", "192.0.2/24", "192.0.2.0/-1", "2001:db8::/129", "name/8",
        "192.0.2.1/24", "192.0.2.0/24 ", "[::1]/128", "192.0.2.0/2a"}) {
    EXPECT_FALSE(Network::Parse(text).ok()) << text;
  }
}

}  // namespace
}  // namespace bivalve::net
