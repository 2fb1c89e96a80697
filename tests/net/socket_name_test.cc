#include "net/socket_name.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "core/fd.h"

namespace bivalve::net {
namespace {

TEST(SocketName, TellsBothSidesOfAConnection) {
  const core::UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const SocketAddress any_port = SocketAddress::FromIpv4({.s_addr = htonl(INADDR_LOOPBACK)}, 0);
  ASSERT_EQ(bind(listener.get(), any_port.raw(), any_port.raw_size()), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  const SocketAddress address = SocketName(listener.get());
  EXPECT_EQ(address.Host(), "127.0.0.1");
  EXPECT_NE(address.port(), 0);

  const core::UniqueFd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(connect(client.get(), address.raw(), address.raw_size()), 0);
  const core::UniqueFd accepted(accept(listener.get(), nullptr, nullptr));
  ASSERT_TRUE(accepted.valid());
  EXPECT_EQ(SocketName(accepted.get()), address);
  EXPECT_EQ(PeerName(client.get()), address);
  EXPECT_EQ(PeerName(accepted.get()), SocketName(client.get()));
  EXPECT_FALSE(SocketName(client.get()) == address);
}

TEST(SocketName, IsEmptyForWhatHasNone) {
  const core::UniqueFd alone(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(PeerName(alone.get()).family(), AF_UNSPEC);
  EXPECT_EQ(SocketName(-1).family(), AF_UNSPEC);
}

}  // namespace
}  // namespace bivalve::net
