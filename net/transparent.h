// Transparent proxying: where a client wanted to connect before the packet filter sent it here, and how to
// connect there in its place. Linux only: REDIRECT and DNAT rules leave the destination in the connection
// table, TPROXY leaves it as the socket's own address.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

#include "core/fd.h"
#include "net/address.h"

namespace bivalve::net {

// The original destination of the accepted connection. Empty for a local socket. If no rule has changed the
// connection, the destination is one of our own addresses. Never waits.
SocketAddress OriginalDestination(int fd);

// Whether the address is one of this machine's.
bool IsLocalAddress(const SocketAddress& address);

// Whether a connection to `address` would arrive at one of the listening addresses, which may include 0.0.0.0
// and [::].
bool ReachesListener(const SocketAddress& address, std::span<const SocketAddress> listening);

// Allows a socket to have addresses that are not this machine's (IP_TRANSPARENT). Needs CAP_NET_ADMIN; false
// without it.
bool MakeTransparent(int fd, int family);

// The local ports of our own connections to servers, so that we recognise one that comes back (by a rule that
// redirects what this machine itself sends). Each port is recorded before the connection begins. Any thread.
class OutgoingPorts {
 public:
  void Add(uint16_t port) { ports_[port].store(1, std::memory_order_relaxed); }
  void Remove(uint16_t port) { ports_[port].store(0, std::memory_order_relaxed); }
  bool Has(uint16_t port) const { return ports_[port].load(std::memory_order_relaxed) != 0; }

 private:
  std::array<std::atomic<uint8_t>, 65536> ports_ = {};
};

// Binds a socket that will connect to a server: to the address of `client` if requested and permitted,
// otherwise to any address, and to a port. Returns the port; 0 on failure.
uint16_t BindOutgoing(int fd, int family, const SocketAddress* client);

}  // namespace bivalve::net
