#include "net/transparent.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <vector>

#include "net/socket_name.h"

namespace bivalve::net {
namespace {

SocketAddress Ipv4(const char* text, uint16_t port) {
  in_addr address = {};
  EXPECT_EQ(inet_pton(AF_INET, text, &address), 1);
  return SocketAddress::FromIpv4(address, port);
}

TEST(IsLocalAddress, KnowsThisMachine) {
  EXPECT_TRUE(IsLocalAddress(Ipv4("127.0.0.1", 25)));
  EXPECT_TRUE(IsLocalAddress(Ipv4("127.200.0.1", 25)));
  EXPECT_FALSE(IsLocalAddress(Ipv4("198.51.100.77", 25)));
  EXPECT_FALSE(IsLocalAddress(SocketAddress::FromIpv6(in6addr_any, 25)) &&
               IsLocalAddress(*SocketAddress::FromPath("/x")));
}

TEST(ReachesListener, ComparesAddressAndPort) {
  const std::vector<SocketAddress> fixed = {Ipv4("127.0.0.1", 25)};
  EXPECT_TRUE(ReachesListener(Ipv4("127.0.0.1", 25), fixed));
  EXPECT_FALSE(ReachesListener(Ipv4("127.0.0.1", 26), fixed));
  EXPECT_FALSE(ReachesListener(Ipv4("127.0.0.2", 25), fixed));
  EXPECT_FALSE(ReachesListener(SocketAddress(), fixed));
}

TEST(ReachesListener, TakesAnyAddressForAllOfThisMachine) {
  const std::vector<SocketAddress> any = {SocketAddress::FromIpv6(in6addr_any, 25), Ipv4("0.0.0.0", 25)};
  EXPECT_TRUE(ReachesListener(Ipv4("127.0.0.2", 25), any));
  EXPECT_TRUE(ReachesListener(SocketAddress::FromIpv6(in6addr_loopback, 25), any));
  EXPECT_FALSE(ReachesListener(Ipv4("198.51.100.77", 25), any));
}

TEST(OriginalDestination, IsTheSocketsOwnAddressWithoutRules) {
  const core::UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const SocketAddress local = Ipv4("127.0.0.1", 0);
  ASSERT_EQ(bind(listener.get(), local.raw(), local.raw_size()), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  const SocketAddress address = SocketName(listener.get());
  const core::UniqueFd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(connect(client.get(), address.raw(), address.raw_size()), 0);
  const core::UniqueFd accepted(accept(listener.get(), nullptr, nullptr));
  ASSERT_TRUE(accepted.valid());
  EXPECT_EQ(OriginalDestination(accepted.get()), address);
}

TEST(OriginalDestination, IsUnknownForLocalSockets) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const core::UniqueFd first(pair[0]);
  const core::UniqueFd second(pair[1]);
  EXPECT_EQ(OriginalDestination(first.get()).family(), AF_UNSPEC);
}

TEST(BindOutgoing, TakesAPort) {
  OutgoingPorts ports;
  const core::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const uint16_t port = BindOutgoing(fd.get(), AF_INET, nullptr);
  EXPECT_NE(port, 0);
  EXPECT_FALSE(ports.Has(port));
  ports.Add(port);
  EXPECT_TRUE(ports.Has(port));
  ports.Remove(port);
  EXPECT_FALSE(ports.Has(port));
}

}  // namespace
}  // namespace bivalve::net
