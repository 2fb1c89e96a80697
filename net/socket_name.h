// The addresses of a socket's two sides. Never wait.
#pragma once

#include "net/address.h"

namespace bivalve::net {

// Of our side of a connected or bound socket; empty when there is none.
SocketAddress SocketName(int fd);
// Of the peer's side of a connected one.
SocketAddress PeerName(int fd);

}  // namespace bivalve::net
