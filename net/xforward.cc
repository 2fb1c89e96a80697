#include "net/xforward.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "core/text.h"
#include "net/smtp_command.h"

namespace bivalve::net {
namespace {

constexpr std::string_view kIpv6Prefix = "IPV6:";
// RFC 5321 section 4.5.3.1.2; anything longer is not a client's name.
constexpr size_t kHeloBytesMax = 255;

bool IsControl(char c) { return (c >= '\0' && c < ' ') || c == '\x7f'; }

// The value of an attribute; empty when it is unknown.
std::string KnownValue(std::string_view xtext) {
  std::optional<std::string> value = DecodeXtext(xtext);
  if (!value.has_value() || std::ranges::any_of(*value, IsControl)) return {};
  if (core::EqualsIgnoreCase(*value, "[UNAVAILABLE]") || core::EqualsIgnoreCase(*value, "[TEMPUNAVAIL]"))
    return {};
  return *std::move(value);
}

std::string AddressValue(const SocketAddress& address) {
  const std::string host = address.Host();
  return host.find(':') == std::string::npos ? host : core::Cat(kIpv6Prefix, host);
}

bool IsInternet(const SocketAddress& address) {
  return address.family() == AF_INET || address.family() == AF_INET6;
}

// The known value of the attribute, in xtext; empty if not known.
std::string XClientValue(std::string_view attribute, const ClientIdentity& client) {
  // A client without an address gets none, not that of the connection.
  if (attribute == "ADDR") return IsInternet(client.address) ? AddressValue(client.address) : "[UNAVAILABLE]";
  if (attribute == "PORT" && !IsInternet(client.address)) return {};
  if (attribute == "PORT") return core::Cat(client.address.port());
  if (attribute == "NAME") return "[UNAVAILABLE]";
  if (attribute == "PROTO") return client.extended ? "ESMTP" : "SMTP";
  if (attribute == "HELO" && client.helo.size() <= kHeloBytesMax) return EncodeXtext(client.helo);
  if (!IsInternet(client.local_address)) return {};
  if (attribute == "DESTADDR") return AddressValue(client.local_address);
  if (attribute == "DESTPORT") return core::Cat(client.local_address.port());
  return {};
}

}  // namespace

void ApplyXForward(std::string_view arguments, OriginalClient& client) {
  for (std::string_view word = NextWord(arguments); !word.empty(); word = NextWord(arguments)) {
    const size_t equals = word.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view name = word.substr(0, equals);
    std::string value = KnownValue(word.substr(equals + 1));
    if (core::EqualsIgnoreCase(name, "ADDR")) {
      if (core::StartsWithIgnoreCase(value, kIpv6Prefix)) value.erase(0, kIpv6Prefix.size());
      client.address = std::move(value);
    } else if (core::EqualsIgnoreCase(name, "NAME")) {
      client.name = std::move(value);
    } else if (core::EqualsIgnoreCase(name, "HELO")) {
      client.helo = std::move(value);
    }
  }
}

std::string EncodeXtext(std::string_view text) {
  static constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (c > ' ' && c < '\x7f' && c != '+' && c != '=') {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      core::Append(out, '+', kDigits[byte >> 4], kDigits[byte & 15]);
    }
  }
  return out;
}

std::optional<std::string> DecodeXtext(std::string_view xtext) {
  std::string out;
  for (size_t i = 0; i < xtext.size(); ++i) {
    if (xtext[i] != '+') {
      out += xtext[i];
      continue;
    }
    if (i + 2 >= xtext.size()) return std::nullopt;
    const int high = core::HexValue(xtext[i + 1]);
    const int low = core::HexValue(xtext[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

std::string XClientCommand(std::string_view offered, const ClientIdentity& client) {
  std::string command = "XCLIENT";
  static constexpr std::string_view kAttributes[] = {"ADDR", "PORT",     "NAME",    "PROTO",
                                                     "HELO", "DESTADDR", "DESTPORT"};
  // An attribute that the server lists many times is sent once: the server must not decide the length of the
  // line.
  std::array<bool, std::size(kAttributes)> listed = {};
  for (std::string_view word = NextWord(offered); !word.empty(); word = NextWord(offered)) {
    for (size_t i = 0; i < listed.size(); ++i) {
      if (listed[i] || !core::EqualsIgnoreCase(word, kAttributes[i])) continue;
      listed[i] = true;
      const std::string value = XClientValue(kAttributes[i], client);
      if (!value.empty()) core::Append(command, ' ', kAttributes[i], '=', value);
    }
  }
  return listed[0] ? command : std::string();
}

}  // namespace bivalve::net
