// Listening sockets, and the acceptor that hands each connection to the acceptor's worker.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/fd.h"
#include "core/loop.h"
#include "core/task.h"
#include "net/address.h"

namespace bivalve::net {

// Only user and group may connect.
inline constexpr mode_t kLocalSocketMode = 0660;

// A socket opened for a listener; each Listen setting is one.
struct ListeningSocket {
  int fd = -1;          // borrowed
  size_t listener = 0;  // index of the listener, from 0
};

// Binds and listens. With `shared`, the sockets of several workers share a TCP port (SO_REUSEPORT); for a
// path, every worker accepts from the same socket. A stale path (nobody listens there) is replaced. The
// socket of a path is made with `mode`: the umask is changed for this and restored. To connect, a user needs
// the right to write to the socket. The error names the address and the reason. Blocks; for the start, while
// there is only one thread.
absl::StatusOr<core::UniqueFd> OpenListener(const SocketAddress& address, bool shared,
                                            mode_t mode = kLocalSocketMode);

// The addresses that one Listen setting means: a port alone means all addresses, IPv6 and IPv4. A name is
// looked up. Blocks; for the start.
absl::StatusOr<std::vector<SocketAddress>> ListenAddresses(const Endpoint& endpoint);

// Accepts connections from one listening socket until stopped. Worker-local.
class Acceptor final : private core::IoOp, private core::Timer {
 public:
  // `accepted` takes ownership of the connection's descriptor; it must not suspend. `failed` is called with
  // an errno; after a pause the acceptor continues, so running out of descriptors is not the end.
  Acceptor(core::Loop& loop, int listen_fd, std::function<void(int fd)> accepted,
           std::function<void(int error)> failed);

  void Start();
  // Checks the socket's queue once more. Needed when another process has stopped accepting from the same
  // socket: the kernel wakes only one of the waiting processes (EPOLLEXCLUSIVE), and that one may no longer
  // have accepted.
  void LookAgain();
  // Stops accepting. stopped() becomes true when nothing is in flight any more (some turns later).
  void Stop();
  bool stopped() const { return stopping_ && !in_flight(); }

 private:
  static constexpr core::Duration kPause = std::chrono::milliseconds(100);
  void OnComplete(core::IoResult result) override;
  void OnTimer() override { Start(); }

  core::Loop& loop_;
  std::function<void(int)> accepted_;
  std::function<void(int)> failed_;
  bool stopping_ = false;
  bool again_ = false;  // the cancel in progress is LookAgain's
};

}  // namespace bivalve::net
