// What a host name means. Waits for name servers, so no worker calls it.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "net/address.h"

namespace bivalve::net {

// What the addresses are for. To connect, only those of a family that this machine has an address of.
enum class LookUpFor : uint8_t { kConnecting, kListening };

// The addresses of a name, with its port; at least one. An error names the name and says why. Blocks.
absl::StatusOr<std::vector<SocketAddress>> LookUp(const HostName& name, LookUpFor use);

}  // namespace bivalve::net
