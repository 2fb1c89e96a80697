#include "appliance/process/service_notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/fd.h"
#include "core/text.h"

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

void NotifyReloading() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  NotifyServiceManager(
      core::Cat("RELOADING=1\nMONOTONIC_USEC=", int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000));
}

std::chrono::microseconds WatchdogInterval() {
  const char* interval = std::getenv("WATCHDOG_USEC");
  const char* pid = std::getenv("WATCHDOG_PID");
  if (interval == nullptr || !ServiceManagerListens()) return {};
  // The variables are meant for another process, such as our parent.
  if (pid != nullptr && std::string_view(pid) != std::to_string(getpid())) return {};
  const std::string_view text = interval;
  int64_t microseconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), microseconds);
  const bool good = error == std::errc() && end == text.data() + text.size() && microseconds > 0;
  return std::chrono::microseconds(good ? microseconds : 0);
}

}  // namespace bivalve::appliance
