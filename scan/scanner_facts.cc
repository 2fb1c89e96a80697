#include "scan/scanner_facts.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

#include "core/fd.h"
#include "core/text.h"

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
  // 0: the scanner is in another PID namespace.
  if (peer.pid == kServiceManager || peer.pid == 0) return std::nullopt;
  return peer.uid;
}

std::vector<std::string> ScannerWarnings(std::string_view scanner, const ScannerFacts& before,
                                         const ScannerFacts& now, uid_t own_user) {
  std::vector<std::string> warnings;
  if (now.limits_read && !now.limits.known && (!before.limits_read || before.limits.known)) {
    warnings.push_back(
        core::Cat("scanner ", scanner,
                  ": its limits are not known, because no clamd.conf that can be read here says that "
                  "it listens there; its OK for a large message is believed once it has found a test message "
                  "of that size"));
  }
  if (now.runs_as(own_user) && !before.runs_as(own_user)) {
    warnings.push_back(core::Cat("scanner ", scanner, ": ", kSameUserWarning));
  }
  return warnings;
}

}  // namespace bivalve::scan
