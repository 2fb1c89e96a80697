// Reads whole replies of a server, and keeps them unchanged as far as they follow RFC 5321 section 4.2.1.
#pragma once

#include <cstdint>
#include <string>

#include "core/condition.h"
#include "core/mono_time.h"
#include "core/task.h"
#include "net/connection.h"

namespace bivalve::net {

enum class ReplyStatus : uint8_t {
  kOk,
  kEnded,    // the connection ended or broke before the reply was complete
  kTimeout,  // nothing new for the whole timeout
  kGarbage,  // not a reply line, or more lines than kReplyLinesMax
};

struct Reply {
  ReplyStatus status = ReplyStatus::kEnded;
  uint16_t code = 0;
  bool ok() const { return status == ReplyStatus::kOk; }
};

// Waits for the server's next reply and appends its lines, each with CRLF, to `text` (if the result is not
// ok: the lines that came). If the lines have different codes, all get the last one, as Postfix reads them.
// Control characters except tab become '?', because a CR alone would end the line for some clients (section
// 2.3.8). `timeout` limits the wait for each line. `wake` is the server stream's Condition. Suspends.
core::Task<Reply> ReadReply(Connection& server, core::Condition& wake, core::Duration timeout,
                            std::string& text);

}  // namespace bivalve::net
