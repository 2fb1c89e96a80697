// Listening: the sockets on which mail is accepted, and which worker accepts from which.
//
// The kernel keeps a queue of connections for each socket, and a closed socket loses its queue. So some
// worker accepts from every socket that was handed over, whatever the number of workers was before.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "appliance/process/handover.h"
#include "appliance/settings/config.h"
#include "core/fd.h"
#include "net/address.h"
#include "net/listener.h"

namespace bivalve::appliance {

class Listening {
 public:
  // Opens the sockets for `endpoints`. Takes the inherited sockets of these addresses; the others are closed
  // here, and left() names them. With `by_manager` all inherited sockets are taken, for the first listener,
  // and `endpoints` has no meaning. A TCP address gets a socket for each worker if possible, so that the
  // kernel spreads the connections; otherwise several workers accept from one. A path has one socket for all
  // workers. Sockets that are created at a path get `mode`. Blocks.
  absl::Status Open(const std::vector<net::Endpoint>& endpoints, size_t workers, FileMode mode,
                    std::vector<Inheritance::Socket> inherited, bool by_manager);

  // The sockets of the worker with that index.
  const std::vector<net::ListeningSocket>& of_worker(size_t index) const { return by_worker_[index]; }
  std::vector<int> descriptors() const;
  // The inherited sockets that are not wanted, by their number in the process that handed them over, which
  // empties them.
  const std::vector<int>& left() const { return left_; }
  // The addresses as text, each one once.
  std::vector<std::string> addresses() const;

  // Removes the files of local sockets, except those whose descriptors are in `kept`.
  void RemovePaths(const std::vector<int>& kept) const;

 private:
  absl::Status OpenEndpoint(const net::Endpoint& endpoint, size_t listener, size_t workers,
                            std::vector<Inheritance::Socket>& inherited);
  absl::Status OpenAddress(const net::SocketAddress& address, size_t listener, size_t workers);
  void Share(std::vector<core::UniqueFd> sockets, size_t listener, size_t workers);

  std::vector<core::UniqueFd> owned_;
  std::vector<std::vector<net::ListeningSocket>> by_worker_;
  std::vector<int> left_;
  mode_t mode_ = 0;  // of new local sockets
  bool by_manager_ = false;
};

}  // namespace bivalve::appliance
