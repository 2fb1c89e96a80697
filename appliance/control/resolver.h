// Resolver: looks up the names among the settings, on a thread of its own because look-ups block, once at the
// start and then again and again, so that new connections follow a name that has moved.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "net/address.h"

namespace bivalve::appliance {

// Where to connect for a name; empty when it does not resolve. Blocks.
std::vector<net::SocketAddress> AddressesOf(const net::HostName& name);

// Looks up names once, on a thread of its own.
class NameLookUp {
 public:
  // By the index of the name. Called on the look-up's thread.
  using Done = std::function<void(std::vector<std::vector<net::SocketAddress>> addresses)>;

  NameLookUp(std::vector<net::HostName> names, Done done);
  // Does not wait for a look-up under way; afterwards `done` is not called any more.
  ~NameLookUp();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

class Resolver {
 public:
  static constexpr std::chrono::seconds kInterval{10};

  // Called on the resolver's thread with what a name means; the same result may come again and again.
  using Found = std::function<void(const std::vector<net::SocketAddress>&)>;

  Resolver();
  // Does not wait for a look-up under way; its result is thrown away.
  ~Resolver();

  // Before Start().
  void Watch(const net::HostName& name, Found found);
  // Does nothing when there are no names.
  void Start();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace bivalve::appliance
