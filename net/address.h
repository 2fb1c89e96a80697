// Where to listen and where to connect: the address forms of the settings, and socket addresses as values.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/statusor.h"

namespace bivalve::net {

// One socket address: unix, IPv4 or IPv6, or empty. A value.
class SocketAddress {
 public:
  SocketAddress() = default;
  static SocketAddress FromIpv4(in_addr address, uint16_t port);  // port in host order
  static SocketAddress FromIpv6(const in6_addr& address, uint16_t port);
  static SocketAddress FromRaw(const sockaddr* address, socklen_t size);  // other families become empty
  // A path of up to 107 bytes; an error otherwise.
  static absl::StatusOr<SocketAddress> FromPath(std::string_view path);

  int family() const;  // AF_UNSPEC when empty
  const sockaddr* raw() const;
  socklen_t raw_size() const;
  uint16_t port() const;  // host order; 0 for unix
  void set_port(uint16_t port);
  bool is_loopback() const;  // 127/8, ::1, or unix
  // "192.0.2.7", "2001:db8::1" (IPv4-mapped IPv6 is shown as IPv4), the path, or "unix" for an unnamed peer.
  std::string Host() const;
  // "192.0.2.7:25", "[2001:db8::1]:25", or the path.
  std::string ToString() const;
  friend bool operator==(const SocketAddress& a, const SocketAddress& b);

 private:
  union {
    sockaddr base_;
    sockaddr_in in4_;
    sockaddr_in6 in6_;
    sockaddr_un un_;
    sockaddr_storage storage_ = {};
  };
  socklen_t size_ = 0;
};

// The forms of an address in a setting: "/path", "port", "1.2.3.4:port", "[2001:db8::1]:port", "name:port".
struct PortOnly {
  uint16_t port = 0;
};
struct HostName {
  std::string name;
  uint16_t port = 0;
};
using Endpoint = std::variant<SocketAddress, PortOnly, HostName>;

// Parses one of the forms above. `default_port` (0: none) completes "1.2.3.4", "[::1]" and "name", which have
// no port. The error says what is wrong with the value, without naming a setting. Names are not looked up.
absl::StatusOr<Endpoint> ParseEndpoint(std::string_view text, uint16_t default_port = 0);
// The form that ParseEndpoint accepts.
std::string ToString(const Endpoint& endpoint);

}  // namespace bivalve::net
