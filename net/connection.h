// Connection: lines over a core::Stream. What the client and the server sides of a session have in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/stream.h"
#include "net/address.h"

namespace bivalve::net {

class Connection {
 public:
  // `line_bytes_max`: longest line accepted, its line end included.
  Connection(core::Loop& loop, core::Condition& wake, size_t line_bytes_max)
      : stream_(loop, wake), line_bytes_max_(line_bytes_max) {}

  core::Stream& stream() { return stream_; }
  const core::Stream& stream() const { return stream_; }

  // The addresses of both sides; where the peer wanted to connect, before a rule of the gateway changed that
  // (net/transparent.h). All ask the kernel. Never wait.
  SocketAddress local() const;
  SocketAddress peer() const;
  SocketAddress original_destination() const;

  // The peer is gone, and has left nothing to be read. One that has only ended its side (printf … | nc) and
  // left commands may still be waiting for replies.
  bool PeerLeft() const {
    return stream_.error() != 0 || stream_.write_error() != 0 || (stream_.ended() && stream_.input().empty());
  }

  enum class LineState : uint8_t {
    kLine,     // text is a line, without its CRLF or LF
    kNone,     // no whole line has arrived
    kTooLong,  // reported once for each line that is too long; its bytes are thrown away
  };
  struct Line {
    LineState state = LineState::kNone;
    std::string_view text;  // valid until the stream reads on
  };
  // Takes the next line out of what has arrived. Never suspends.
  Line NextLine();
  // The same line without taking it.
  Line PeekLine();

 private:
  core::Stream stream_;
  size_t line_bytes_max_;
  bool discarding_ = false;  // inside a line that was reported as too long
};

}  // namespace bivalve::net
