#include "net/listener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "core/text.h"
#include "net/look_up.h"

namespace bivalve::net {
namespace {

constexpr int kBacklog = 4096;  // the kernel limits it to net.core.somaxconn

absl::Status SystemError(const SocketAddress& address, std::string_view what) {
  return absl::UnavailableError(
      core::Cat("cannot ", what, " ", address.ToString(), ": ", std::strerror(errno)));
}

// A socket file on which nobody listens was left by a process that was killed.
void RemoveStaleSocket(const SocketAddress& address) {
  const auto* local = reinterpret_cast<const sockaddr_un*>(address.raw());
  struct stat status = {};
  if (lstat(local->sun_path, &status) != 0 || !S_ISSOCK(status.st_mode)) return;
  core::UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (probe.valid() && connect(probe.get(), address.raw(), address.raw_size()) != 0 &&
      errno == ECONNREFUSED) {
    unlink(local->sun_path);
  }
}

// A new socket file has all rights that the umask leaves. A chmod after the bind would be too late: somebody
// could connect before it.
bool Bind(int fd, const SocketAddress& address, mode_t mode) {
  if (address.family() != AF_UNIX) return bind(fd, address.raw(), address.raw_size()) == 0;
  const mode_t before = umask(~mode & 0777);
  const bool bound = bind(fd, address.raw(), address.raw_size()) == 0;
  umask(before);  // does not change errno
  return bound;
}

}  // namespace

absl::StatusOr<core::UniqueFd> OpenListener(const SocketAddress& address, bool shared, mode_t mode) {
  core::UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return SystemError(address, "open a socket for");
  const int on = 1;
  if (address.family() == AF_UNIX) {
    RemoveStaleSocket(address);
  } else {
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    // Accepted sockets inherit the option: a reply must not wait for the acknowledgement of the previous one.
    setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    // IPv4 has a socket of its own, so the IPv6 one must not take its port.
    if (address.family() == AF_INET6) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (shared && setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0) {
      return SystemError(address, "share");
    }
  }
  if (!Bind(fd.get(), address, mode)) return SystemError(address, "listen on");
  if (listen(fd.get(), kBacklog) != 0) return SystemError(address, "listen on");
  return fd;
}

absl::StatusOr<std::vector<SocketAddress>> ListenAddresses(const Endpoint& endpoint) {
  std::vector<SocketAddress> addresses;
  if (const auto* address = std::get_if<SocketAddress>(&endpoint)) {
    addresses.push_back(*address);
  } else if (const auto* port = std::get_if<PortOnly>(&endpoint)) {
    addresses.push_back(SocketAddress::FromIpv6(in6addr_any, port->port));
    addresses.push_back(SocketAddress::FromIpv4({htonl(INADDR_ANY)}, port->port));
  } else {
    return LookUp(std::get<HostName>(endpoint), LookUpFor::kListening);
  }
  return addresses;
}

Acceptor::Acceptor(core::Loop& loop, int listen_fd, std::function<void(int)> accepted,
                   std::function<void(int)> failed)
    : loop_(loop), accepted_(std::move(accepted)), failed_(std::move(failed)) {
  request = core::IoRequest::Accept(listen_fd);
}

void Acceptor::Start() {
  if (!stopping_ && !in_flight()) loop_.io().Submit(*this);
}

void Acceptor::LookAgain() {
  if (stopping_ || !in_flight()) return;  // a start looks at the queue anyway
  again_ = true;
  loop_.io().Cancel(*this);
}

void Acceptor::Stop() {
  stopping_ = true;
  Drop();
  loop_.io().Cancel(*this);
}

void Acceptor::OnComplete(core::IoResult result) {
  if (result.ok()) {
    accepted_(static_cast<int>(result.value()));
  } else if (result.error() != ECANCELED) {
    failed_(result.error());
  }
  if (in_flight() || stopping_) return;
  // The multishot has ended. After an error (no descriptors, no memory) the acceptor pauses, so that it does
  // not spin.
  if (std::exchange(again_, false) || result.ok()) {
    Start();
  } else {
    loop_.timers().Set(*this, loop_.Now() + kPause);
  }
}

}  // namespace bivalve::net
