#include "appliance/process/listening.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <variant>

#include "net/socket_name.h"

namespace bivalve::appliance {
namespace {

std::string NameOf(int fd) { return net::SocketName(fd).ToString(); }

// Takes the sockets that listen at `address`.
std::vector<core::UniqueFd> TakeAt(const std::string& address, std::vector<Inheritance::Socket>& sockets) {
  std::vector<core::UniqueFd> found;
  for (Inheritance::Socket& socket : sockets) {
    if (NameOf(socket.fd.get()) == address) found.push_back(std::move(socket.fd));
  }
  std::erase_if(sockets, [](const auto& socket) { return !socket.fd.valid(); });
  return found;
}

}  // namespace

absl::Status Listening::Open(const std::vector<net::Endpoint>& endpoints, size_t workers, FileMode mode,
                             std::vector<Inheritance::Socket> inherited, bool by_manager) {
  mode_ = static_cast<mode_t>(mode);
  by_worker_.assign(workers, {});
  by_manager_ = by_manager;
  if (by_manager) {
    // As with our own sockets; accepted connections inherit it. Fails, harmlessly, for local sockets.
    const int on = 1;
    for (const Inheritance::Socket& socket : inherited)
      setsockopt(socket.fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    while (!inherited.empty()) Share(TakeAt(NameOf(inherited.front().fd.get()), inherited), 0, workers);
    return absl::OkStatus();
  }
  for (size_t i = 0; i < endpoints.size(); ++i) {
    if (absl::Status status = OpenEndpoint(endpoints[i], i, workers, inherited); !status.ok()) return status;
  }
  for (const Inheritance::Socket& socket : inherited) left_.push_back(socket.number);
  return absl::OkStatus();
}

absl::Status Listening::OpenEndpoint(const net::Endpoint& endpoint, size_t listener, size_t workers,
                                     std::vector<Inheritance::Socket>& inherited) {
  absl::StatusOr<std::vector<net::SocketAddress>> addresses = net::ListenAddresses(endpoint);
  if (!addresses.ok()) return addresses.status();
  size_t opened = 0;
  absl::Status failure;
  for (const net::SocketAddress& address : *addresses) {
    std::vector<core::UniqueFd> taken = TakeAt(address.ToString(), inherited);
    if (!taken.empty()) {
      // More sockets for more workers. This fails without root's rights; the workers then share.
      while (address.family() != AF_UNIX && taken.size() < workers) {
        absl::StatusOr<core::UniqueFd> fd = net::OpenListener(address, true, mode_);
        if (!fd.ok()) break;
        taken.push_back(std::move(*fd));
      }
      Share(std::move(taken), listener, workers);
      ++opened;
      continue;
    }
    const absl::Status status = OpenAddress(address, listener, workers);
    if (status.ok()) {
      ++opened;
    } else {
      failure = status;
    }
  }
  // A port alone means IPv6 and IPv4. A machine that has only one of them serves that one.
  if (opened == 0 || (!failure.ok() && !std::holds_alternative<net::PortOnly>(endpoint))) return failure;
  if (!failure.ok() && failure.message().find("Address already in use") != absl::string_view::npos)
    return failure;
  return absl::OkStatus();
}

absl::Status Listening::OpenAddress(const net::SocketAddress& address, size_t listener, size_t workers) {
  const bool local = address.family() == AF_UNIX;
  // First without sharing: with SO_REUSEPORT alone, two daemons could run on one port and split the mail
  // between them.
  if (!local) {
    absl::StatusOr<core::UniqueFd> probe = net::OpenListener(address, false);
    if (!probe.ok()) return probe.status();
  }
  std::vector<core::UniqueFd> sockets;
  for (size_t i = 0; i < (local ? 1 : workers); ++i) {
    absl::StatusOr<core::UniqueFd> fd = net::OpenListener(address, true, mode_);
    if (!fd.ok()) return fd.status();
    sockets.push_back(std::move(*fd));
  }
  Share(std::move(sockets), listener, workers);
  return absl::OkStatus();
}

// Every worker gets a socket, and every socket gets a worker.
void Listening::Share(std::vector<core::UniqueFd> sockets, size_t listener, size_t workers) {
  for (size_t i = 0; i < std::max(workers, sockets.size()); ++i)
    by_worker_[i % workers].push_back({.fd = sockets[i % sockets.size()].get(), .listener = listener});
  for (core::UniqueFd& fd : sockets) owned_.push_back(std::move(fd));
}

std::vector<int> Listening::descriptors() const {
  std::vector<int> all;
  for (const core::UniqueFd& fd : owned_) all.push_back(fd.get());
  return all;
}

std::vector<std::string> Listening::addresses() const {
  std::vector<std::string> names;
  for (const core::UniqueFd& fd : owned_) {
    std::string name = NameOf(fd.get());
    if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
  }
  return names;
}

void Listening::RemovePaths(const std::vector<int>& kept) const {
  if (by_manager_) return;  // the files are the service manager's
  for (const core::UniqueFd& fd : owned_) {
    const net::SocketAddress address = net::SocketName(fd.get());
    if (address.family() != AF_UNIX || std::ranges::find(kept, fd.get()) != kept.end()) continue;
    unlink(reinterpret_cast<const sockaddr_un*>(address.raw())->sun_path);
  }
}

}  // namespace bivalve::appliance
