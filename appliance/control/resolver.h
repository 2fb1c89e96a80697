// Resolver: looks up the names in the settings, once at the start and then at intervals, so that new
// connections follow a name that has moved. Look-ups block, so it has a thread of its own.
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

// The addresses to connect to for a name; empty if the name does not resolve. Blocks.
std::vector<net::SocketAddress> AddressesOf(const net::HostName& name);

// Looks up names once, on a thread of its own.
class NameLookUp {
 public:
  // The addresses, by the index of the name. Called on the look-up's thread.
  using Done = std::function<void(std::vector<std::vector<net::SocketAddress>> addresses)>;

  NameLookUp(std::vector<net::HostName> names, Done done);
  // Does not wait for a look-up under way; `done` is not called afterwards.
  ~NameLookUp();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

class Resolver {
 public:
  static constexpr std::chrono::seconds kInterval{10};

  // Called on the resolver's thread with the addresses of a name; may be called again with the same ones.
  using Found = std::function<void(const std::vector<net::SocketAddress>&)>;

  Resolver();
  // Does not wait for a look-up under way; its result is thrown away.
  ~Resolver();

  // To be called before Start().
  void Watch(const net::HostName& name, Found found);
  // Does nothing if there are no names.
  void Start();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace bivalve::appliance
