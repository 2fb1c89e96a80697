// XFORWARD and XCLIENT: stored values hold no control characters and do not depend on how the words are
// arranged. The command sent is one printable line of listed attributes with the known values.
#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <string_view>

#include "net/xforward.h"
#include "tests/fuzz/fuzz.h"

using namespace bivalve;

namespace {

bool Same(const net::OriginalClient& a, const net::OriginalClient& b) {
  return a.address == b.address && a.name == b.name && a.helo == b.helo;
}

bool Printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= ' ' && c < '\x7f'; });
}

bool HasControl(std::string_view text) {
  return std::ranges::any_of(text, [](char c) { return (c >= '\0' && c < ' ') || c == '\x7f'; });
}

void CheckXtext(std::string_view text) {
  const std::string xtext = net::EncodeXtext(text);
  BV_CHECK(Printable(xtext) && xtext.find_first_of(" =") == std::string::npos);
  BV_CHECK(net::DecodeXtext(xtext) == text);
  if (const auto decoded = net::DecodeXtext(text)) BV_CHECK(decoded->size() <= text.size());
}

void CheckXForward(std::string_view arguments) {
  net::OriginalClient client;
  net::ApplyXForward(arguments, client);
  for (const std::string_view value : {client.address, client.name, client.helo})
    BV_CHECK(!HasControl(value));
  net::OriginalClient again = client;
  net::ApplyXForward(arguments, again);
  BV_CHECK(Same(client, again));
  // The same attributes in two commands.
  const size_t space = arguments.find(' ');
  if (space == std::string_view::npos) return;
  net::OriginalClient parts;
  net::ApplyXForward(arguments.substr(0, space), parts);
  net::ApplyXForward(arguments.substr(space), parts);
  BV_CHECK(Same(client, parts));
}

net::SocketAddress Address(fuzz::Choices& choices) {
  const auto port = static_cast<uint16_t>(choices.Number());
  const size_t kind = choices.Below(3);
  if (kind == 0) {
    in_addr address = {};
    address.s_addr = static_cast<in_addr_t>(choices.Number());
    return net::SocketAddress::FromIpv4(address, port);
  }
  if (kind == 1) {
    in6_addr address = {};
    const std::string_view bytes = choices.Text(sizeof(address));
    if (!bytes.empty()) std::memcpy(&address, bytes.data(), bytes.size());
    return net::SocketAddress::FromIpv6(address, port);
  }
  return {};
}

void CheckXClient(std::string_view offered, const net::ClientIdentity& client) {
  const std::string command = net::XClientCommand(offered, client);
  if (command.empty()) return;
  BV_CHECK(command.starts_with("XCLIENT ") && Printable(command));
  std::string upper(offered);
  for (char& c : upper) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  // Each attribute once, and only offered ones. No value contains a blank or a '='.
  std::set<std::string_view> names;
  for (std::string_view rest = std::string_view(command).substr(8); !rest.empty();) {
    const size_t end = std::min(rest.find(' '), rest.size());
    const std::string_view word = rest.substr(0, end);
    const size_t equals = word.find('=');
    BV_CHECK(equals != std::string_view::npos && equals + 1 < word.size());
    BV_CHECK(word.find('=', equals + 1) == std::string_view::npos);
    BV_CHECK(names.insert(word.substr(0, equals)).second);
    BV_CHECK(upper.find(word.substr(0, equals)) != std::string::npos);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  BV_CHECK(names.contains("ADDR"));
  // Read like a server reads XFORWARD, the line names the client.
  net::OriginalClient read;
  net::ApplyXForward(std::string_view(command).substr(8), read);
  BV_CHECK(read.address == client.address.Host() && read.name.empty());
  if (names.contains("HELO") && !read.helo.empty()) BV_CHECK(read.helo == client.helo);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Choices choices(fuzz::Text(data, size));
  net::ClientIdentity client;
  client.address = Address(choices);
  client.local_address = Address(choices);
  client.extended = choices.Below(2) == 0;
  client.helo = choices.Text(choices.Number() % 300);
  const std::string_view words = choices.rest();
  CheckXtext(words);
  CheckXForward(words);
  CheckXClient(words, client);
  return 0;
}
