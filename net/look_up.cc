#include "net/look_up.h"

#include <netdb.h>
#include <sys/socket.h>

#include "core/text.h"

namespace bivalve::net {

absl::StatusOr<std::vector<SocketAddress>> LookUp(const HostName& name, LookUpFor use) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = use == LookUpFor::kConnecting ? AI_ADDRCONFIG : AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(name.name.c_str(), nullptr, &hints, &found); error != 0) {
    return absl::UnavailableError(core::Cat("cannot look up '", name.name, "': ", gai_strerror(error)));
  }
  std::vector<SocketAddress> addresses;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    addresses.push_back(SocketAddress::FromRaw(one->ai_addr, one->ai_addrlen));
    addresses.back().set_port(name.port);
  }
  freeaddrinfo(found);
  return addresses;
}

}  // namespace bivalve::net
