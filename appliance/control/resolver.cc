#include "appliance/control/resolver.h"

#include <thread>
#include <utility>

#include "net/look_up.h"

namespace bivalve::appliance {

std::vector<net::SocketAddress> AddressesOf(const net::HostName& name) {
  return net::LookUp(name, net::LookUpFor::kConnecting).value_or(std::vector<net::SocketAddress>());
}

struct NameLookUp::State {
  std::mutex mutex;
  bool wanted = true;
};

NameLookUp::NameLookUp(std::vector<net::HostName> names, Done done) : state_(std::make_shared<State>()) {
  // Detached for the same reason as below.
  std::thread([state = state_, names = std::move(names), done = std::move(done)] {
    std::vector<std::vector<net::SocketAddress>> addresses;
    for (const net::HostName& name : names) addresses.push_back(AddressesOf(name));
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
        const std::vector<net::SocketAddress> addresses = AddressesOf(one.name);
        lock.lock();
        // Checked under the lock, so that nobody is called after the destructor.
        if (stopping) return;
        // After a look-up that fails, the last answer stays: name servers fail at times too.
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
  // Detached, because a look-up may take minutes and the end of the process must not wait for it. The state
  // lives as long as the thread.
  std::thread([state = state_] { state->Run(); }).detach();
}

}  // namespace bivalve::appliance
