#include "appliance/control/resolver.h"

#include <netdb.h>
#include <sys/socket.h>

#include <thread>
#include <utility>

namespace bivalve::appliance {

std::vector<net::SocketAddress> LookUp(const net::HostName& name) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  std::vector<net::SocketAddress> addresses;
  if (getaddrinfo(name.name.c_str(), nullptr, &hints, &found) != 0) return addresses;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    addresses.push_back(net::SocketAddress::FromRaw(one->ai_addr, one->ai_addrlen));
    addresses.back().set_port(name.port);
  }
  freeaddrinfo(found);
  return addresses;
}

struct NameLookUp::State {
  std::mutex mutex;
  bool wanted = true;
};

NameLookUp::NameLookUp(std::vector<net::HostName> names, Done done) : state_(std::make_shared<State>()) {
  // Detached for the same reason as below.
  std::thread([state = state_, names = std::move(names), done = std::move(done)] {
    std::vector<std::vector<net::SocketAddress>> addresses;
    for (const net::HostName& name : names) addresses.push_back(LookUp(name));
    const std::lock_guard lock(state->mutex);
    if (state->wanted) done(std::move(addresses));
  }).detach();
}

NameLookUp::~NameLookUp() {
  const std::lock_guard lock(state_->mutex);
  state_->wanted = false;
}

struct Resolver::State {
  struct Watched {
    net::HostName name;
    Found found;
  };
  std::vector<Watched> names;
  std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;

  void Run() {
    std::unique_lock lock(mutex);
    while (!stopping) {
      for (Watched& one : names) {
        lock.unlock();
        const std::vector<net::SocketAddress> addresses = LookUp(one.name);
        lock.lock();
        // Under the lock, so that nobody is called after the destructor.
        if (stopping) return;
        // A look-up that fails leaves the last answer in place: name servers have bad moments too.
        if (!addresses.empty()) one.found(addresses);
      }
      changed.wait_for(lock, kInterval, [this] { return stopping; });
    }
  }
};

Resolver::Resolver() : state_(std::make_shared<State>()) {}

Resolver::~Resolver() {
  const std::lock_guard lock(state_->mutex);
  state_->stopping = true;
  state_->changed.notify_all();
}

void Resolver::Watch(const net::HostName& name, Found found) {
  state_->names.push_back({name, std::move(found)});
}

void Resolver::Start() {
  if (state_->names.empty()) return;
  // Detached, because a look-up may take minutes and the end of the process does not wait for it. The state
  // lives as long as the thread.
  std::thread([state = state_] { state->Run(); }).detach();
}

}  // namespace bivalve::appliance
