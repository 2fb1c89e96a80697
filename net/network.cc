#include "net/network.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstring>

#include "core/text.h"

namespace bivalve::net {
namespace {

using Bytes = std::array<uint8_t, 16>;

uint8_t MaskOfByte(uint32_t bits, size_t byte) {
  const size_t first = byte * 8;
  if (bits >= first + 8) return 0xff;
  if (bits <= first) return 0;
  return static_cast<uint8_t>(0xff << (first + 8 - bits));
}

absl::Status Bad(std::string_view text) {
  std::string message = "'";
  core::AppendEscaped(message, text, 100);
  message += "' is not a network such as 192.0.2.0/24 or 2001:db8::/32";
  return absl::InvalidArgumentError(message);
}

}  // namespace

absl::StatusOr<Network> Network::Parse(std::string_view text) {
  const size_t slash = text.find('/');
  const std::string host(text.substr(0, slash));
  Network network;
  if (host.find('\0') != std::string::npos) return Bad(text);
  network.family_ = host.find(':') == std::string::npos ? AF_INET : AF_INET6;
  if (inet_pton(network.family_, host.c_str(), network.prefix_.data()) != 1) return Bad(text);
  const uint32_t bits_max = network.family_ == AF_INET ? 32 : 128;
  network.bits_ = bits_max;
  if (slash != std::string_view::npos) {
    const std::string_view digits = text.substr(slash + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), network.bits_);
    if (error != std::errc() || end != digits.data() + digits.size() || network.bits_ > bits_max)
      return Bad(text);
  }
  for (size_t i = 0; i < network.prefix_.size(); ++i) {
    if ((network.prefix_[i] & ~MaskOfByte(network.bits_, i)) != 0) {
      std::string message = "'";
      core::AppendEscaped(message, text, 100);
      message += "' has bits behind its prefix";
      return absl::InvalidArgumentError(message);
    }
  }
  return network;
}

bool Network::Contains(const SocketAddress& address) const {
  Bytes bytes = {};
  int family = address.family();
  if (family == AF_INET) {
    std::memcpy(bytes.data(), &reinterpret_cast<const sockaddr_in*>(address.raw())->sin_addr, 4);
  } else if (family == AF_INET6) {
    const in6_addr& in6 = reinterpret_cast<const sockaddr_in6*>(address.raw())->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&in6)) {
      family = AF_INET;
      std::memcpy(bytes.data(), in6.s6_addr + 12, 4);
    } else {
      std::memcpy(bytes.data(), in6.s6_addr, 16);
    }
  }
  if (family_ == 0 || family != family_) return false;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if ((bytes[i] & MaskOfByte(bits_, i)) != prefix_[i]) return false;
  }
  return true;
}

std::string Network::ToString() const {
  std::array<char, INET6_ADDRSTRLEN> text = {};
  if (family_ == 0 || inet_ntop(family_, prefix_.data(), text.data(), text.size()) == nullptr) return {};
  return core::Cat(std::string_view(text.data()), '/', bits_);
}

}  // namespace bivalve::net
