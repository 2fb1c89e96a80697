#include "net/transparent.h"

#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

#include "net/socket_name.h"

namespace bivalve::net {
namespace {

// linux/netfilter_ipv6/ip6_tables.h, which does not compile as C++.
constexpr int kIp6OriginalDestination = 80;

sockaddr* Raw(sockaddr_storage& storage) { return reinterpret_cast<sockaddr*>(&storage); }

bool IsAny(const SocketAddress& address) {
  if (address.family() == AF_INET) {
    return reinterpret_cast<const sockaddr_in*>(address.raw())->sin_addr.s_addr == htonl(INADDR_ANY);
  }
  return address.family() == AF_INET6 &&
         IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6*>(address.raw())->sin6_addr);
}

}  // namespace

SocketAddress OriginalDestination(int fd) {
  SocketAddress own = SocketName(fd);
  if (own.family() != AF_INET && own.family() != AF_INET6) return {};
  const bool ipv4 = own.family() == AF_INET;
  sockaddr_storage storage = {};
  socklen_t bytes = ipv4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  // Fails if the connection is in no table (no such rules at all, or TPROXY alone): then the destination is
  // the socket's own address.
  if (getsockopt(fd, ipv4 ? SOL_IP : SOL_IPV6, ipv4 ? SO_ORIGINAL_DST : kIp6OriginalDestination, &storage,
                 &bytes) != 0) {
    return own;
  }
  SocketAddress before = SocketAddress::FromRaw(Raw(storage), bytes);
  return before.family() == own.family() ? before : own;
}

bool IsLocalAddress(const SocketAddress& address) {
  if (address.family() != AF_INET && address.family() != AF_INET6) return false;
  if (address.is_loopback()) return true;
  // Packets to one of our own addresses also have that address as their source. A datagram socket sends
  // nothing on connect.
  const core::UniqueFd fd(socket(address.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
  SocketAddress to = address;
  to.set_port(9);
  if (!fd.valid() || connect(fd.get(), to.raw(), to.raw_size()) != 0) return false;
  SocketAddress from = SocketName(fd.get());
  from.set_port(9);
  return from.Host() == to.Host();
}

bool ReachesListener(const SocketAddress& address, std::span<const SocketAddress> listening) {
  return std::ranges::any_of(listening, [&](const SocketAddress& one) {
    if (one.family() != address.family() || one.port() != address.port()) return false;
    return one == address || (IsAny(one) && IsLocalAddress(address));
  });
}

bool MakeTransparent(int fd, int family) {
  const int on = 1;
  if (family == AF_INET) return setsockopt(fd, SOL_IP, IP_TRANSPARENT, &on, sizeof(on)) == 0;
  return family == AF_INET6 && setsockopt(fd, SOL_IPV6, IPV6_TRANSPARENT, &on, sizeof(on)) == 0;
}

uint16_t BindOutgoing(int fd, int family, const SocketAddress* client) {
  if (client != nullptr && client->family() == family && MakeTransparent(fd, family)) {
    SocketAddress source = *client;
    source.set_port(0);
    if (bind(fd, source.raw(), source.raw_size()) == 0) return SocketName(fd).port();
  }
  const SocketAddress any = family == AF_INET ? SocketAddress::FromIpv4({htonl(INADDR_ANY)}, 0)
                                              : SocketAddress::FromIpv6(in6addr_any, 0);
  return bind(fd, any.raw(), any.raw_size()) == 0 ? SocketName(fd).port() : 0;
}

}  // namespace bivalve::net
