#include "net/proxy_header.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <string>

namespace bivalve::net {
namespace {

using State = ProxyHeader::State;

constexpr std::string_view kSignature1 = "PROXY ";
constexpr std::string_view kSignature2{"\r\n\r\n\0\r\nQUIT\n", 12};
constexpr size_t kLine1BytesMax = 107;  // CRLF included
constexpr size_t kFixed2Bytes = 16;

// Whether the bytes received so far could still become `whole`.
bool IsStartOf(std::string_view input, std::string_view whole) {
  return input.substr(0, whole.size()) == whole.substr(0, input.size());
}

// Fields are separated by exactly one blank.
std::optional<std::string_view> TakeField(std::string_view& rest) {
  const size_t end = std::min(rest.find(' '), rest.size());
  if (end == 0) return std::nullopt;
  const std::string_view field = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return field;
}

std::optional<uint16_t> ParsePort(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  const bool leading_zero = text.size() > 1 && text.starts_with('0');
  if (error != std::errc() || end != text.data() + text.size() || leading_zero) return std::nullopt;
  return port;
}

std::optional<SocketAddress> ParseAddress(int family, std::string_view host, std::string_view port_text) {
  const std::optional<uint16_t> port = ParsePort(port_text);
  if (!port.has_value()) return std::nullopt;
  const std::string terminated(host);  // has no NUL: see Parse1
  if (family == AF_INET) {
    in_addr address;
    if (inet_pton(AF_INET, terminated.c_str(), &address) != 1) return std::nullopt;
    return SocketAddress::FromIpv4(address, *port);
  }
  in6_addr address;
  if (inet_pton(AF_INET6, terminated.c_str(), &address) != 1) return std::nullopt;
  return SocketAddress::FromIpv6(address, *port);
}

// "PROXY TCP4 192.0.2.1 198.51.100.1 56324 25" CRLF.
ProxyHeader Parse1(std::string_view input) {
  const std::string_view window = input.substr(0, kLine1BytesMax);
  const size_t end = window.find('\n');
  if (end == std::string_view::npos) {
    const bool may_come = input.size() < kLine1BytesMax && window.find('\0') == std::string_view::npos;
    return {.state = may_come ? State::kIncomplete : State::kBad};
  }
  std::string_view line = window.substr(0, end);
  if (!line.ends_with('\r')) return {};
  line.remove_suffix(1);
  if (line.find_first_of(std::string_view("\r\0", 2)) != std::string_view::npos) return {};
  line.remove_prefix(kSignature1.size());
  ProxyHeader header{.state = State::kWhole, .bytes = end + 1};
  const std::string_view protocol = TakeField(line).value_or("");
  if (protocol == "UNKNOWN") return header;  // the rest of the line is ignored
  if (protocol != "TCP4" && protocol != "TCP6") return {};
  const int family = protocol == "TCP4" ? AF_INET : AF_INET6;
  std::array<std::string_view, 4> fields;
  for (std::string_view& field : fields) {
    const auto taken = TakeField(line);
    if (!taken.has_value()) return {};
    field = *taken;
  }
  if (!line.empty() || input[end - 2] == ' ') return {};
  const auto client = ParseAddress(family, fields[0], fields[2]);
  const auto local = ParseAddress(family, fields[1], fields[3]);
  if (!client.has_value() || !local.has_value()) return {};
  header.client = *client;
  header.local = *local;
  return header;
}

uint16_t BigEndian16(const char* at) {
  return static_cast<uint16_t>(static_cast<unsigned char>(at[0]) << 8 | static_cast<unsigned char>(at[1]));
}

SocketAddress Unix(std::string_view field) {
  // The path ends at a NUL if it is shorter than the field. An abstract or empty name becomes an unnamed
  // socket.
  const std::string_view path = field.substr(0, field.find('\0'));
  const auto address = SocketAddress::FromPath(path);
  if (!path.empty() && address.ok()) return *address;
  sockaddr unnamed = {};
  unnamed.sa_family = AF_UNIX;
  return SocketAddress::FromRaw(&unnamed, sizeof(unnamed.sa_family));
}

ProxyHeader Parse2(std::string_view input) {
  if (input.size() < kFixed2Bytes) return {.state = State::kIncomplete};
  const auto version_command = static_cast<unsigned char>(input[12]);
  const auto family_protocol = static_cast<unsigned char>(input[13]);
  const size_t length = BigEndian16(&input[14]);
  if (version_command != 0x20 && version_command != 0x21) return {};
  if (kFixed2Bytes + length > kProxyHeaderBytesMax) return {};
  if (input.size() < kFixed2Bytes + length) return {.state = State::kIncomplete};
  ProxyHeader header{.state = State::kWhole, .bytes = kFixed2Bytes + length};
  if (version_command == 0x20) return header;  // LOCAL
  // The data behind the addresses (TLVs) is skipped.
  const std::string_view addresses = input.substr(kFixed2Bytes, length);
  switch (family_protocol) {
    case 0x11: {  // TCP over IPv4
      if (length < 12) return {};
      in_addr client;
      in_addr local;
      std::memcpy(&client, addresses.data(), 4);
      std::memcpy(&local, addresses.data() + 4, 4);
      header.client = SocketAddress::FromIpv4(client, BigEndian16(&addresses[8]));
      header.local = SocketAddress::FromIpv4(local, BigEndian16(&addresses[10]));
      return header;
    }
    case 0x21: {  // TCP over IPv6
      if (length < 36) return {};
      in6_addr client;
      in6_addr local;
      std::memcpy(&client, addresses.data(), 16);
      std::memcpy(&local, addresses.data() + 16, 16);
      header.client = SocketAddress::FromIpv6(client, BigEndian16(&addresses[32]));
      header.local = SocketAddress::FromIpv6(local, BigEndian16(&addresses[34]));
      return header;
    }
    case 0x31:  // a local stream socket
      if (length < 216) return {};
      header.client = Unix(addresses.substr(0, 108));
      header.local = Unix(addresses.substr(108, 108));
      return header;
    default:
      return header;  // UNSPEC, datagrams and future kinds: like LOCAL
  }
}

}  // namespace

bool BeginsProxyHeader(std::string_view input) {
  return input.starts_with(kSignature1) || input.starts_with(kSignature2);
}

ProxyHeader ParseProxyHeader(std::string_view input) {
  if (IsStartOf(input, kSignature2)) {
    if (input.size() < kSignature2.size()) return {.state = State::kIncomplete};
    return Parse2(input);
  }
  if (IsStartOf(input, kSignature1)) {
    if (input.size() < kSignature1.size()) return {.state = State::kIncomplete};
    return Parse1(input);
  }
  return {};
}

}  // namespace bivalve::net
