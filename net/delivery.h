// Delivers a body to a server whose mail transaction is open: by BDAT (RFC 3030) where it can, else by DATA
// with the dot-stuffing put back; a dot behind a bare LF gets a CR before the LF there. A header is put in by
// reference; the body is not changed, and not copied but where many lines begin with a dot (into 64 KB that
// live as long as the delivery).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/body.h"
#include "core/condition.h"
#include "core/mono_time.h"
#include "core/task.h"
#include "net/connection.h"

namespace bivalve::net {

struct Delivery {
  std::string_view content = {};
  std::string_view header = {};    // whole lines with CRLF; empty: none
  size_t header_offset = 0;        // where in the content it goes; at the end of a line
  bool chunking = false;           // the server lists CHUNKING
  bool chunking_proven = false;    // and has taken chunks before; else one of a single byte goes ahead
  bool may_need_stuffing = false;  // some line of the content may begin with a dot
  uint64_t shrunken_files = 0;     // core::ShrunkenFilesMet() when the message began
  core::Duration timeout{};
};

struct DeliveryResult {
  enum class Status : uint8_t {
    kReplied,      // the server's final reply is in the text
    kRefusedData,  // refused before the message; its reply is in the text, and the transaction is still open
    kLost,         // the connection ended, timed out or spoke nonsense before the final reply
  };
  Status status = Status::kLost;
  uint16_t code = 0;
  bool early = false;  // with kLost: the server took the message before it had all of it
  // The server answered BDAT by 500 to 504. It may have taken what was in the chunk for commands, so nothing
  // more is to be sent on this connection. With kLost that was one byte.
  bool no_chunking = false;
};

// A reply that is there before the end of the message went out says nothing about the message: a refusal may
// be meant so, and the message goes out to its end behind it; behind anything else the end is not sent, so
// that the server cannot take the message while the client is told otherwise (kLost).
//
// Appends the server's reply to `text`. `wake` is the server stream's Condition. The views in `delivery` must
// live until it returns; the kernel may refer to the content's pages until the reply is there, and with kLost
// until the stream is closed. Suspends.
core::Task<DeliveryResult> Deliver(Connection& server, core::Condition& wake, const Delivery& delivery,
                                   std::string& text);

}  // namespace bivalve::net
