#include "scan/scanner_facts.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

#include "core/fd.h"

namespace bivalve::scan {

std::optional<uid_t> ListeningUser(const std::string& socket_path) {
  static constexpr pid_t kServiceManager = 1;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof(address.sun_path)) return std::nullopt;
  std::memcpy(address.sun_path, socket_path.data(), socket_path.size());
  const core::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid() || connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return std::nullopt;
  ucred peer = {};
  socklen_t size = sizeof(peer);
  if (getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return std::nullopt;
  // 0: it listens in another namespace of processes.
  if (peer.pid == kServiceManager || peer.pid == 0) return std::nullopt;
  return peer.uid;
}

}  // namespace bivalve::scan
