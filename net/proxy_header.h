// The PROXY protocol's header, versions 1 and 2 (HAProxy, doc/proxy-protocol.txt): what a proxy says before
// the first byte of the client about who that is. Pure: looks at bytes, never suspends. Whether the sender
// may be believed is for the caller to know.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "net/address.h"

namespace bivalve::net {

// Longest header that is accepted. Version 1 has at most 107 bytes; version 2 has 232 with the longest
// addresses, and behind them what it adds (TLVs: AWS and Azure use tens of bytes, a client certificate's name
// some hundreds).
inline constexpr size_t kProxyHeaderBytesMax = 2048;

struct ProxyHeader {
  enum class State : uint8_t {
    kWhole,
    kIncomplete,  // what is there may become a header; read on
    kBad,         // no header, whatever follows
  };
  State state = State::kBad;
  size_t bytes = 0;  // kWhole: its length
  // kWhole: whom the connection is from and what it was made to. Both empty with LOCAL (the proxy's own
  // health check) and UNKNOWN or a kind of socket that is none of ours: the connection's own addresses are
  // meant then.
  SocketAddress client = {};
  SocketAddress local = {};
};

// Parses the header that `input` must begin with.
ProxyHeader ParseProxyHeader(std::string_view input);

// Whether `input` begins as headers of either version do, whatever becomes of it.
bool BeginsProxyHeader(std::string_view input);

}  // namespace bivalve::net
