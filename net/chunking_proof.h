// ChunkingProof: what a worker knows of servers that list CHUNKING (RFC 3030). A server that lists it but
// does not know BDAT would take the content of a chunk for commands. Therefore each server is tested first,
// and if it refuses, chunks are not used with it for an hour. Worker-local; never suspends.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

#include "core/mono_time.h"
#include "net/address.h"

namespace bivalve::net {

class ChunkingProof {
 public:
  // A transparent proxy may meet any number of servers: the one known for longest is forgotten.
  static constexpr size_t kServersMax = 64;
  static constexpr core::Duration kRefusalHolds = std::chrono::hours(1);

  // Whether the server has taken a chunk.
  bool Has(const SocketAddress& server) const {
    const auto one = Find(server);
    return one != servers_.end() && one->refused_until == core::MonoTime();
  }
  bool Refuses(const SocketAddress& server, core::MonoTime now) const {
    const auto one = Find(server);
    return one != servers_.end() && now < one->refused_until;
  }
  void Accept(const SocketAddress& server) { Note(server, {}); }
  void Refuse(const SocketAddress& server, core::MonoTime now) { Note(server, now + kRefusalHolds); }

 private:
  struct Server {
    SocketAddress address;
    core::MonoTime refused_until;
  };

  std::vector<Server>::const_iterator Find(const SocketAddress& server) const {
    return std::find_if(servers_.begin(), servers_.end(),
                        [&](const Server& one) { return one.address == server; });
  }
  void Note(const SocketAddress& server, core::MonoTime refused_until) {
    if (const auto one = Find(server); one != servers_.end()) servers_.erase(one);
    if (servers_.size() == kServersMax) servers_.erase(servers_.begin());
    servers_.push_back({server, refused_until});
  }

  std::vector<Server> servers_;
};

}  // namespace bivalve::net
