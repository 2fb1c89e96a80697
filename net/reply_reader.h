// Reads whole replies of a server, word for word where they are what RFC 5321 section 4.2.1 has.
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
  kGarbage,  // no reply line, or more lines than kReplyLinesMax
};

struct Reply {
  ReplyStatus status = ReplyStatus::kEnded;
  uint16_t code = 0;
  bool ok() const { return status == ReplyStatus::kOk; }
};

// Waits for the server's next reply and appends its lines, each with CRLF, to `text` (as far as it came, when
// it is not ok). Lines with different codes all get the last one's, as Postfix reads them. Control characters
// but tab are '?': a CR alone would end the line for some (section 2.3.8). `timeout` bounds the wait for each
// line. `wake` is the server stream's Condition. Suspends.
core::Task<Reply> ReadReply(Connection& server, core::Condition& wake, core::Duration timeout,
                            std::string& text);

}  // namespace bivalve::net
