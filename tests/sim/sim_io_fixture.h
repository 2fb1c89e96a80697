// Shared by the tests of SimIo: a peer that records what it sees, and short ways to submit.
#pragma once

#include <netinet/in.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include "core/fd.h"
#include "tests/core/test_op.h"
#include "tests/sim/sim_io.h"

namespace bivalve::sim {

// A peer that records what it sees.
class Recorder : public SimPeer {
 public:
  void OnConnect(SimSocket& s) override {
    socket = &s;
    if (!greeting.empty()) s.Send(greeting);
  }
  void OnBytes(SimSocket&, std::string_view part) override {
    bytes += part;
    ++parts;
  }
  void OnDescriptor(SimSocket&, int fd) override {
    descriptor.Reset(fd);
    descriptor_position = bytes.size();
  }
  void OnClose(SimSocket&) override {
    ++closes;
    bytes_at_close = bytes.size();
  }

  std::string greeting;
  SimSocket* socket = nullptr;
  std::string bytes;
  size_t parts = 0;
  core::UniqueFd descriptor;
  size_t descriptor_position = 0;
  int closes = 0;
  size_t bytes_at_close = 0;
};

// Waits, without any time passing, until nothing more happens.
inline void Settle(SimIo& io) {
  for (int i = 0; i < 200; ++i) io.Wait(io.Now());
}

inline sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// Receives until the end. Returns the bytes and the last result.
inline std::pair<std::string, int32_t> ReceiveAll(SimIo& io, int fd) {
  std::string bytes;
  for (;;) {
    core::TestOp op(io);
    op.Submit(core::IoRequest::ReceiveBuffer(fd));
    while (op.in_flight() && !io.stalled()) io.Wait(core::kNever);
    bytes += op.bytes;
    if (op.in_flight() || op.results.back() <= 0)
      return {bytes, op.in_flight() ? -EAGAIN : op.results.back()};
  }
}

}  // namespace bivalve::sim
