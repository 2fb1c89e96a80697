// XFORWARD and XCLIENT, Postfix's two ways to tell the next server about the client: attributes in xtext (RFC
// 3461 section 4). XFORWARD is read as it passes by, XCLIENT is made here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "net/address.h"

namespace bivalve::net {

// What XFORWARD says of the original client. Empty: not said, or said to be unknown ([UNAVAILABLE],
// [TEMPUNAVAIL]).
struct OriginalClient {
  std::string address;  // without "IPV6:"
  std::string name;
  std::string helo;
};

// Takes over the attributes of an XFORWARD command, given its arguments. Others stay as they are. What does
// not decode, and what holds control characters, counts as unknown. Never suspends.
void ApplyXForward(std::string_view arguments, OriginalClient& client);

// xtext: "+XX" for what is not printable, '+' and '='.
std::string EncodeXtext(std::string_view text);
std::optional<std::string> DecodeXtext(std::string_view xtext);

// Who the client is, for XCLIENT.
struct ClientIdentity {
  SocketAddress address;
  SocketAddress local_address;  // the one it connected to; empty: not known
  std::string_view helo = {};
  bool extended = false;  // it said EHLO
};

// The XCLIENT command, without line end, with those of the attributes that the server lists behind its
// XCLIENT keyword and that are known. A NAME that is listed is said to be unavailable: left out, the server
// would go on with the name of this machine. The same holds for the address of a client that has none. Empty
// when the server does not list ADDR.
std::string XClientCommand(std::string_view offered, const ClientIdentity& client);

}  // namespace bivalve::net
