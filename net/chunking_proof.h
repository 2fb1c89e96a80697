// ChunkingProof: of which servers a worker knows that they take chunks (RFC 3030). One that lists CHUNKING
// and knows no BDAT would take what is in a chunk for commands, so it is tried with an empty chunk first.
// Worker-local; never suspends.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "net/address.h"

namespace bivalve::net {

class ChunkingProof {
 public:
  // Behind a transparent proxy there may be any number of servers: the one known for longest goes.
  static constexpr size_t kServersMax = 64;

  bool Has(const SocketAddress& server) const {
    return std::find(servers_.begin(), servers_.end(), server) != servers_.end();
  }
  void Add(const SocketAddress& server) {
    if (Has(server)) return;
    if (servers_.size() == kServersMax) servers_.erase(servers_.begin());
    servers_.push_back(server);
  }
  void Forget(const SocketAddress& server) { std::erase(servers_, server); }

 private:
  std::vector<SocketAddress> servers_;
};

}  // namespace bivalve::net
