#include "appliance/service_notify.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "core/fd.h"

namespace bivalve::appliance {
namespace {

std::string_view SocketName() {
  const char* name = std::getenv("NOTIFY_SOCKET");
  // "@name" is one of Linux's abstract names; everything else must be a path.
  const std::string_view text = name == nullptr ? "" : name;
  const bool usable = text.size() > 1 && (text.front() == '/' || text.front() == '@') &&
                      text.size() < sizeof(sockaddr_un::sun_path);
  return usable ? text : std::string_view();
}

}  // namespace

bool ServiceManagerListens() { return !SocketName().empty(); }

void NotifyServiceManager(std::string_view state) {
  const std::string_view name = SocketName();
  if (name.empty()) return;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  if (name.front() == '@') address.sun_path[0] = '\0';
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  const core::UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return;
  (void)sendto(fd.get(), state.data(), state.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
               reinterpret_cast<const sockaddr*>(&address), bytes);
}

}  // namespace bivalve::appliance
