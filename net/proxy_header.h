// The header of the PROXY protocol, versions 1 and 2 (HAProxy, doc/proxy-protocol.txt): a proxy sends it
// before the client's first byte, to say who the client is. Pure: reads bytes, never suspends. The caller
// decides whether the sender may be believed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "net/address.h"

namespace bivalve::net {

// Length of the longest accepted header. Version 1 has at most 107 bytes. Version 2 has 232 with the longest
// addresses, and additions behind them (TLVs: AWS and Azure use tens of bytes, a client certificate's name
// some hundreds).
inline constexpr size_t kProxyHeaderBytesMax = 2048;

struct ProxyHeader {
  enum class State : uint8_t {
    kWhole,
    kIncomplete,  // the bytes so far may become a header; read on
    kBad,         // not a header, whatever follows
  };
  State state = State::kBad;
  size_t bytes = 0;  // kWhole: its length
  // kWhole: where the connection comes from and where it was made to. Both are empty with LOCAL (the proxy's
  // own health check), UNKNOWN, or a kind of socket that we do not use: the connection's own addresses count
  // then.
  SocketAddress client = {};
  SocketAddress local = {};
};

// Parses the header that `input` must begin with.
ProxyHeader ParseProxyHeader(std::string_view input);

// Whether `input` begins like a header of either version, even if it turns out not to be one.
bool BeginsProxyHeader(std::string_view input);

}  // namespace bivalve::net
