// Transparent proxying: where a client wanted to connect before the packet filter sent it here, and what is
// needed to go there in its stead. Linux only: REDIRECT and DNAT rules leave the destination in the
// connection table, TPROXY leaves it as the socket's own address.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

#include "core/fd.h"
#include "net/address.h"

namespace bivalve::net {

// Where the accepted connection was meant to go. Empty for a local socket. A connection that no rule touched
// was meant for us, and so has one of our own addresses. Never waits.
SocketAddress OriginalDestination(int fd);

// Whether the address is one of this machine's.
bool IsLocalAddress(const SocketAddress& address);

// Whether a connection to `address` would arrive at one of the listening addresses, 0.0.0.0 and [::] among
// them.
bool ReachesListener(const SocketAddress& address, std::span<const SocketAddress> listening);

// Lets a socket have addresses that are not this machine's (IP_TRANSPARENT). Needs CAP_NET_ADMIN; false
// without.
bool MakeTransparent(int fd, int family);

// The local ports of our own connections to servers, so that one that comes back (a rule that redirects what
// this machine itself sends) is known. Each port is taken before the connection is begun. Any thread.
class OutgoingPorts {
 public:
  void Add(uint16_t port) { ports_[port].store(1, std::memory_order_relaxed); }
  void Remove(uint16_t port) { ports_[port].store(0, std::memory_order_relaxed); }
  bool Has(uint16_t port) const { return ports_[port].load(std::memory_order_relaxed) != 0; }

 private:
  std::array<std::atomic<uint8_t>, 65536> ports_ = {};
};

// Binds a socket that is to connect to a server: to the address of `client` where that is asked for and
// permitted, else to whatever the system takes, and to a port. Returns the port; 0 on failure.
uint16_t BindOutgoing(int fd, int family, const SocketAddress* client);

}  // namespace bivalve::net
