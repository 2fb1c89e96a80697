// XFORWARD and XCLIENT, Postfix's two ways to tell the next server about the client: attributes in xtext (RFC
// 3461 section 4). XFORWARD is read when a client sends it; XCLIENT is made here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "net/address.h"

namespace bivalve::net {

// What XFORWARD says about the original client. Empty: not said, or said to be unknown ([UNAVAILABLE],
// [TEMPUNAVAIL]).
struct OriginalClient {
  std::string address;  // without "IPV6:"
  std::string name;
  std::string helo;
};

// Stores the attributes of an XFORWARD command, given its arguments. Attributes that it does not have stay as
// they are. A value that does not decode, or that holds control characters, counts as unknown. Never
// suspends.
void ApplyXForward(std::string_view arguments, OriginalClient& client);

// xtext: "+XX" for '+', '=' and characters that are not printable.
std::string EncodeXtext(std::string_view text);
std::optional<std::string> DecodeXtext(std::string_view xtext);

// Who the client is, for XCLIENT.
struct ClientIdentity {
  SocketAddress address;
  SocketAddress local_address;  // that the client connected to; empty: not known
  std::string_view helo = {};
  bool extended = false;  // the client said EHLO
};

// The XCLIENT command, without line end, with the known attributes among those that the server lists behind
// its XCLIENT keyword. If NAME is listed it is sent as unavailable: if we left it out, the server would
// continue with the name of this machine. The same holds for the address of a client that has none. Empty if
// the server does not list ADDR.
std::string XClientCommand(std::string_view offered, const ClientIdentity& client);

}  // namespace bivalve::net
