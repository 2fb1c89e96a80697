// Network: a range of IP addresses as settings write it, such as "192.0.2.0/24" or "2001:db8::/32". A value.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "net/address.h"

namespace bivalve::net {

class Network {
 public:
  Network() = default;  // contains nothing

  // An address without "/bits" is a network of one address. Bits behind the prefix must be zero, because a
  // full address with a prefix is usually a mistake. The error says what is wrong with the value.
  static absl::StatusOr<Network> Parse(std::string_view text);

  // IPv4-mapped IPv6 addresses count as IPv4.
  bool Contains(const SocketAddress& address) const;
  std::string ToString() const;
  friend bool operator==(const Network&, const Network&) = default;

 private:
  int family_ = 0;
  std::array<uint8_t, 16> prefix_ = {};
  uint32_t bits_ = 0;
};

}  // namespace bivalve::net
