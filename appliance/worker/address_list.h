// Where to connect to: the addresses of one setting (OutAddress, ClamAddress) with their names as last looked
// up. Worker-local; names are looked up elsewhere, and the results posted.
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

  // What the name of the endpoint with that index means now; empty: it does not resolve.
  void Set(size_t index, std::vector<net::SocketAddress> addresses) {
    if (index < found_.size()) found_[index] = std::move(addresses);
  }

  // What the endpoint with that index means now: none, one, or several for a name. A port alone means nothing
  // here.
  std::vector<net::SocketAddress> At(size_t index) const {
    if (const auto* fixed = std::get_if<net::SocketAddress>(&endpoints_[index])) return {*fixed};
    return found_[index];
  }

  // The addresses to try for a client, in order: OutAddress by OutAddress. A port alone is the client's own
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
  std::vector<std::vector<net::SocketAddress>> found_;  // by endpoint; names only
};

}  // namespace bivalve::appliance
