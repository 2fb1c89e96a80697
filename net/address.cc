#include "net/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <optional>

#include "absl/status/status.h"
#include "core/text.h"
#include "net/smtp_command.h"

namespace bivalve::net {
namespace {

constexpr size_t kPathBytesMax = sizeof(sockaddr_un::sun_path) - 1;
constexpr size_t kPathOffset = offsetof(sockaddr_un, sun_path);
constexpr size_t kHostNameBytesMax = 253;  // RFC 1035 section 2.3.4, without the length bytes
constexpr size_t kLabelBytesMax = 63;

template <typename... Pieces>
absl::Status Invalid(const Pieces&... pieces) {
  return absl::InvalidArgumentError(core::Cat(pieces...));
}

std::string Quoted(std::string_view text) {
  std::string quoted = "'";
  core::AppendEscaped(quoted, text, 200);
  quoted.push_back('\'');
  return quoted;
}

template <typename Address>
std::optional<Address> ParseNumeric(int family, std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return std::nullopt;  // inet_pton would stop there
  Address address;
  if (inet_pton(family, std::string(text).c_str(), &address) != 1) return std::nullopt;
  return address;
}

// The IPv4 address in an IPv4-mapped IPv6 address, which a socket for both families shows for IPv4 peers.
std::optional<in_addr> MappedIpv4(const in6_addr& address) {
  if (!IN6_IS_ADDR_V4MAPPED(&address)) return std::nullopt;
  in_addr mapped;
  std::memcpy(&mapped, &address.s6_addr[12], sizeof mapped);
  return mapped;
}

bool IsLoopback(in_addr address) { return ntohl(address.s_addr) >> 24 == 127; }

template <typename Address>
std::string Print(int family, const Address& address) {
  std::array<char, INET6_ADDRSTRLEN> text;
  return inet_ntop(family, &address, text.data(), text.size());
}

// The name of a local socket: empty for an unnamed socket; an abstract name of Linux starts with a NUL.
std::string_view LocalName(const sockaddr_un& address, socklen_t size) {
  const std::string_view name(address.sun_path, std::min(size - kPathOffset, sizeof address.sun_path));
  if (name.starts_with('\0') && name.size() > 1) return name;
  return name.substr(0, std::min(name.find('\0'), name.size()));
}

constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }

constexpr bool IsNameCharacter(char c) {
  const char lower = core::AsciiLower(c);
  return (lower >= 'a' && lower <= 'z') || IsDigit(c) || c == '-' || c == '_';
}

bool IsLabel(std::string_view label) {
  return !label.empty() && label.size() <= kLabelBytesMax && label.front() != '-' && label.back() != '-' &&
         std::all_of(label.begin(), label.end(), IsNameCharacter);
}

// RFC 1123 section 2.1, and '_', which local names use. One dot at the end is allowed.
bool IsHostName(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  if (name.size() > kHostNameBytesMax) return false;
  for (;;) {
    const size_t dot = std::min(name.find('.'), name.size());
    if (!IsLabel(name.substr(0, dot))) return false;
    if (dot == name.size()) return true;
    name.remove_prefix(dot + 1);
  }
}

// No host name ends in a label of digits only (RFC 1123 section 2.1), so this was meant as an address.
bool LooksLikeIpv4(std::string_view host) {
  if (host.ends_with('.')) host.remove_suffix(1);
  const std::string_view last_label = host.substr(host.rfind('.') + 1);  // npos + 1 is 0
  return !last_label.empty() && std::all_of(last_label.begin(), last_label.end(), IsDigit);
}

absl::StatusOr<uint16_t> ParsePort(std::string_view text) {
  const std::optional<uint64_t> number = ParseNumber(text);
  if (!number.has_value() || *number == 0 || *number > 65535) {
    return Invalid(Quoted(text), " is not a port; a port is a number between 1 and 65535");
  }
  return static_cast<uint16_t>(*number);
}

// The port behind the host: ":port", or nothing if there is a default.
absl::StatusOr<uint16_t> ParsePortAfterHost(std::string_view text, std::string_view rest,
                                            uint16_t default_port) {
  if (rest.starts_with(':')) return ParsePort(rest.substr(1));
  if (!rest.empty()) {
    return Invalid(Quoted(text), " has ", Quoted(rest),
                   " after the bracket, where only ':' and a port may stand");
  }
  if (default_port == 0) return Invalid(Quoted(text), " has no port; write ", Quoted(core::Cat(text, ":25")));
  return default_port;
}

absl::StatusOr<Endpoint> ParseBracketed(std::string_view text, uint16_t default_port) {
  const size_t close = text.find(']');
  if (close == std::string_view::npos) {
    return Invalid(Quoted(text),
                   " lacks the closing bracket; write an IPv6 address as in '[2001:db8::1]:25'");
  }
  const std::string_view host = text.substr(1, close - 1);
  const std::optional<in6_addr> address = ParseNumeric<in6_addr>(AF_INET6, host);
  if (!address.has_value()) {
    return Invalid(Quoted(host),
                   " is not an IPv6 address, and only those stand in brackets, as in '[2001:db8::1]:25'");
  }
  const absl::StatusOr<uint16_t> port = ParsePortAfterHost(text, text.substr(close + 1), default_port);
  if (!port.ok()) return port.status();
  return Endpoint(SocketAddress::FromIpv6(*address, *port));
}

absl::StatusOr<Endpoint> ParseHostAndPort(std::string_view text, uint16_t default_port) {
  const size_t colon = std::min(text.find(':'), text.size());
  const std::string_view host = text.substr(0, colon);
  if (host.empty()) {
    return Invalid(Quoted(text), " has no host before the colon; a port alone is written without a colon");
  }
  const std::optional<in_addr> address = ParseNumeric<in_addr>(AF_INET, host);
  if (!address.has_value() && LooksLikeIpv4(host)) {
    return Invalid(Quoted(host), " is not an IPv4 address, which has four numbers between 0 and 255");
  }
  if (!address.has_value() && !IsHostName(host)) {
    return Invalid(Quoted(host),
                   " is neither an address nor a host name, which has letters, digits, '-' and '.' only");
  }
  const absl::StatusOr<uint16_t> port = ParsePortAfterHost(text, text.substr(colon), default_port);
  if (!port.ok()) return port.status();
  if (address.has_value()) return Endpoint(SocketAddress::FromIpv4(*address, *port));
  return Endpoint(HostName{.name = std::string(host), .port = *port});
}

}  // namespace

SocketAddress SocketAddress::FromIpv4(in_addr address, uint16_t port) {
  SocketAddress result;
  result.in4_.sin_family = AF_INET;
  result.in4_.sin_addr = address;
  result.in4_.sin_port = htons(port);
  result.size_ = sizeof(sockaddr_in);
  return result;
}

SocketAddress SocketAddress::FromIpv6(const in6_addr& address, uint16_t port) {
  SocketAddress result;
  result.in6_.sin6_family = AF_INET6;
  result.in6_.sin6_addr = address;
  result.in6_.sin6_port = htons(port);
  result.size_ = sizeof(sockaddr_in6);
  return result;
}

SocketAddress SocketAddress::FromRaw(const sockaddr* address, socklen_t size) {
  if (address == nullptr || size < sizeof(sa_family_t)) return {};
  socklen_t size_min = 0;
  socklen_t size_max = 0;
  switch (address->sa_family) {
    case AF_INET:
      size_min = size_max = sizeof(sockaddr_in);
      break;
    case AF_INET6:
      size_min = size_max = sizeof(sockaddr_in6);
      break;
    case AF_UNIX:
      size_min = kPathOffset;
      size_max = sizeof(sockaddr_un);
      break;
    default:
      return {};
  }
  if (size < size_min) return {};
  SocketAddress result;
  result.size_ = std::min(size, size_max);
  std::memcpy(&result.storage_, address, result.size_);
  return result;
}

absl::StatusOr<SocketAddress> SocketAddress::FromPath(std::string_view path) {
  if (path.empty()) return Invalid("the path of a local socket must not be empty");
  if (path.size() > kPathBytesMax) {
    return Invalid(Quoted(path), " has ", path.size(), " bytes; the path of a local socket has at most ",
                   kPathBytesMax);
  }
  if (path.find('\0') != std::string_view::npos) {
    return Invalid(Quoted(path), " holds a NUL, which the path of a local socket must not");
  }
  SocketAddress result;
  result.un_.sun_family = AF_UNIX;
  std::memcpy(result.un_.sun_path, path.data(), path.size());
  result.size_ = static_cast<socklen_t>(kPathOffset + path.size() + 1);
  return result;
}

int SocketAddress::family() const { return size_ == 0 ? AF_UNSPEC : storage_.ss_family; }

const sockaddr* SocketAddress::raw() const { return &base_; }

socklen_t SocketAddress::raw_size() const { return size_; }

uint16_t SocketAddress::port() const {
  if (family() == AF_INET) return ntohs(in4_.sin_port);
  if (family() == AF_INET6) return ntohs(in6_.sin6_port);
  return 0;
}

void SocketAddress::set_port(uint16_t port) {
  if (family() == AF_INET) in4_.sin_port = htons(port);
  if (family() == AF_INET6) in6_.sin6_port = htons(port);
}

bool SocketAddress::is_loopback() const {
  switch (family()) {
    case AF_INET:
      return IsLoopback(in4_.sin_addr);
    case AF_INET6:
      if (const auto mapped = MappedIpv4(in6_.sin6_addr); mapped.has_value()) return IsLoopback(*mapped);
      return IN6_IS_ADDR_LOOPBACK(&in6_.sin6_addr);
    default:
      return family() == AF_UNIX;
  }
}

std::string SocketAddress::Host() const {
  switch (family()) {
    case AF_INET:
      return Print(AF_INET, in4_.sin_addr);
    case AF_INET6:
      if (const auto mapped = MappedIpv4(in6_.sin6_addr); mapped.has_value()) return Print(AF_INET, *mapped);
      return Print(AF_INET6, in6_.sin6_addr);
    case AF_UNIX: {
      const std::string_view name = LocalName(un_, size_);
      if (name.empty()) return "unix";
      // ss and systemd also write "@" for the NUL.
      return name.front() == '\0' ? core::Cat('@', name.substr(1)) : std::string(name);
    }
    default:
      return "";
  }
}

std::string SocketAddress::ToString() const {
  if (family() != AF_INET && family() != AF_INET6) return Host();
  const std::string host = Host();
  if (host.find(':') == std::string::npos) return core::Cat(host, ':', port());
  return core::Cat('[', host, "]:", port());
}

bool operator==(const SocketAddress& a, const SocketAddress& b) {
  if (a.family() != b.family() || a.port() != b.port()) return false;
  switch (a.family()) {
    case AF_INET:
      return a.in4_.sin_addr.s_addr == b.in4_.sin_addr.s_addr;
    case AF_INET6:
      return IN6_ARE_ADDR_EQUAL(&a.in6_.sin6_addr, &b.in6_.sin6_addr) &&
             a.in6_.sin6_scope_id == b.in6_.sin6_scope_id;
    case AF_UNIX:
      return LocalName(a.un_, a.size_) == LocalName(b.un_, b.size_);
    default:
      return true;  // both empty
  }
}

absl::StatusOr<Endpoint> ParseEndpoint(std::string_view text, uint16_t default_port) {
  text = core::Trim(text);
  if (text.empty()) {
    return Invalid(
        "an address is missing; write '/path', 'port', '1.2.3.4:port', '[2001:db8::1]:port' or 'name:port'");
  }
  if (text.starts_with('/')) {
    absl::StatusOr<SocketAddress> path = SocketAddress::FromPath(text);
    if (!path.ok()) return path.status();
    return Endpoint(*path);
  }
  if (std::all_of(text.begin(), text.end(), IsDigit)) {
    const absl::StatusOr<uint16_t> port = ParsePort(text);
    if (!port.ok()) return port.status();
    return Endpoint(PortOnly{.port = *port});
  }
  if (text.starts_with('[')) return ParseBracketed(text, default_port);
  if (std::count(text.begin(), text.end(), ':') > 1) {
    return Invalid(Quoted(text),
                   " has more than one colon; an IPv6 address stands in brackets, as in '[2001:db8::1]:25'");
  }
  return ParseHostAndPort(text, default_port);
}

std::string ToString(const Endpoint& endpoint) {
  if (const auto* address = std::get_if<SocketAddress>(&endpoint)) return address->ToString();
  if (const auto* port = std::get_if<PortOnly>(&endpoint)) return core::Cat(port->port);
  const auto& host = std::get<HostName>(endpoint);
  return core::Cat(host.name, ':', host.port);
}

}  // namespace bivalve::net
