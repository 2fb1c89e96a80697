// Connection: lines over a core::Stream, for the client's and the server's side of a session.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/stream.h"
#include "net/address.h"

namespace bivalve::net {

class Connection {
 public:
  // `line_bytes_max`: length of the longest accepted line, line end included.
  Connection(core::Loop& loop, core::Condition& wake, size_t line_bytes_max)
      : stream_(loop, wake), line_bytes_max_(line_bytes_max) {}

  core::Stream& stream() { return stream_; }
  const core::Stream& stream() const { return stream_; }

  // The addresses of both sides, and the address that the peer wanted to reach before a rule of the gateway
  // changed it (net/transparent.h). All ask the kernel. Never wait.
  SocketAddress local() const;
  SocketAddress peer() const;
  SocketAddress original_destination() const;

  // The peer is gone and has left nothing to read. A peer that has only ended its side (printf … | nc) and
  // has left commands may still be waiting for replies.
  bool PeerLeft() const {
    return stream_.error() != 0 || stream_.write_error() != 0 || (stream_.ended() && stream_.input().empty());
  }

  enum class LineState : uint8_t {
    kLine,     // text is a line, without its CRLF or LF
    kNone,     // no whole line has arrived
    kTooLong,  // reported once for each too long line; its bytes are thrown away
  };
  struct Line {
    LineState state = LineState::kNone;
    std::string_view text;  // valid until the stream reads on
  };
  // Takes the next line from the received bytes. Never suspends.
  Line NextLine();
  // The same line without taking it.
  Line PeekLine();

 private:
  core::Stream stream_;
  size_t line_bytes_max_;
  bool discarding_ = false;  // inside a line that was reported as too long
};

}  // namespace bivalve::net
