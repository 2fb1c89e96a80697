// AddressList: the addresses of one setting (OutAddress, ClamAddress) to connect to, with the results of the
// last look-up of its names. Worker-local; another thread looks up the names and posts the results.
#pragma once

#include <cstddef>
#include <utility>
#include <variant>
#include <vector>

#include "net/address.h"

namespace bivalve::appliance {

class AddressList {
 public:
  AddressList() = default;
  explicit AddressList(const std::vector<net::Endpoint>& endpoints)
      : endpoints_(endpoints), found_(endpoints.size()) {}

  // The current addresses of the name at that index; empty: the name does not resolve.
  void Set(size_t index, std::vector<net::SocketAddress> addresses) {
    if (index < found_.size()) found_[index] = std::move(addresses);
  }

  // The current addresses of the endpoint at that index: one; for a name none, one or several; for a port
  // alone none.
  std::vector<net::SocketAddress> At(size_t index) const {
    if (const auto* fixed = std::get_if<net::SocketAddress>(&endpoints_[index])) return {*fixed};
    return found_[index];
  }

  // The addresses to try for a client, in the order of OutAddress. A port alone stands for the client's own
  // address with that port (the loopback feature). Never suspends.
  std::vector<net::SocketAddress> For(const net::SocketAddress& client) const {
    std::vector<net::SocketAddress> addresses;
    for (size_t i = 0; i < endpoints_.size(); ++i) {
      if (const auto* port = std::get_if<net::PortOnly>(&endpoints_[i])) {
        if (client.family() != AF_INET && client.family() != AF_INET6) continue;
        addresses.push_back(client);
        addresses.back().set_port(port->port);
      } else {
        const std::vector<net::SocketAddress> here = At(i);
        addresses.insert(addresses.end(), here.begin(), here.end());
      }
    }
    return addresses;
  }

 private:
  std::vector<net::Endpoint> endpoints_;
  std::vector<std::vector<net::SocketAddress>> found_;  // by endpoint; for names only
};

}  // namespace bivalve::appliance
