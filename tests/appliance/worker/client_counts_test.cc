#include "appliance/worker/client_counts.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <string>

namespace bivalve::appliance {
namespace {

net::SocketAddress V4(uint32_t host) { return net::SocketAddress::FromIpv4({htonl(host)}, 1); }
net::SocketAddress V6(const char* text) {
  in6_addr address;
  EXPECT_EQ(inet_pton(AF_INET6, text, &address), 1);
  return net::SocketAddress::FromIpv6(address, 1);
}

TEST(ClientCounts, CountsEachClient) {
  ClientCounts counts;
  EXPECT_EQ(counts.Add(V4(1)), 1u);
  EXPECT_EQ(counts.Add(V4(1)), 2u);
  EXPECT_EQ(counts.Add(V4(2)), 1u);
  counts.Remove(V4(1));
  EXPECT_EQ(counts.Add(V4(1)), 2u);
}

TEST(ClientCounts, AnIpv6ClientHasItsWhole64) {
  ClientCounts counts;
  EXPECT_EQ(counts.Add(V6("2001:db8::1")), 1u);
  EXPECT_EQ(counts.Add(V6("2001:db8::ffff:1")), 2u);
  EXPECT_EQ(counts.Add(V6("2001:db8:0:1::1")), 1u);
}

TEST(ClientCounts, AMappedAddressIsIpv4) {
  ClientCounts counts;
  EXPECT_EQ(counts.Add(V4(0xc0000207)), 1u);
  EXPECT_EQ(counts.Add(V6("::ffff:192.0.2.7")), 2u);
}

TEST(ClientCounts, LocalSocketsDoNotCount) {
  ClientCounts counts;
  const auto local = net::SocketAddress::FromPath("/run/x");
  ASSERT_TRUE(local.ok());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(counts.Add(*local), 1u);
}

TEST(ClientCounts, OthersDoNotTakeAClientsRoom) {
  ClientCounts counts;
  for (uint32_t i = 0; i < 20000; ++i) (void)counts.Add(V4(0x0a000000 + i));
  int wrong = 0;
  for (uint32_t i = 0; i < 1000; ++i) wrong += counts.Add(V4(0xc0000000 + i)) != 1 ? 1 : 0;
  EXPECT_LE(wrong, 3);
}

}  // namespace
}  // namespace bivalve::appliance
