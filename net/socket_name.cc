#include "net/socket_name.h"

#include <sys/socket.h>

namespace bivalve::net {
namespace {

sockaddr* Raw(sockaddr_storage& storage) { return reinterpret_cast<sockaddr*>(&storage); }

}  // namespace

SocketAddress SocketName(int fd) {
  sockaddr_storage storage = {};
  socklen_t bytes = sizeof(storage);
  if (getsockname(fd, Raw(storage), &bytes) != 0) return {};
  return SocketAddress::FromRaw(Raw(storage), bytes);
}

SocketAddress PeerName(int fd) {
  sockaddr_storage storage = {};
  socklen_t bytes = sizeof(storage);
  if (getpeername(fd, Raw(storage), &bytes) != 0) return {};
  return SocketAddress::FromRaw(Raw(storage), bytes);
}

}  // namespace bivalve::net
