#include "net/reply_reader.h"

#include <optional>

#include "net/smtp_reply.h"

namespace bivalve::net {

core::Task<Reply> ReadReply(Connection& server, core::Condition& wake, core::Duration timeout,
                            std::string& text) {
  uint16_t code = 0;
  size_t lines = 0;
  core::MonoTime deadline = wake.loop().Now() + timeout;
  for (;;) {
    const Connection::Line line = server.NextLine();
    if (line.state == Connection::LineState::kNone) {
      // A reply that came before the end still counts, so the end is looked at only now.
      if (server.stream().ended()) co_return Reply{ReplyStatus::kEnded, 0};
      server.stream().StartReading();
      const bool in_time = co_await wake.Wait(deadline);
      if (!in_time && server.PeekLine().state == Connection::LineState::kNone) {
        co_return Reply{ReplyStatus::kTimeout, 0};
      }
      continue;
    }
    const std::optional<ReplyLine> parsed = ParseReplyLine(line.text);
    if (!parsed.has_value() || (code != 0 && parsed->code != code) || ++lines > kReplyLinesMax) {
      co_return Reply{ReplyStatus::kGarbage, 0};
    }
    code = parsed->code;
    text.append(line.text);
    text.append("\r\n");
    if (parsed->last) co_return Reply{ReplyStatus::kOk, code};
    deadline = wake.loop().Now() + timeout;
  }
}

}  // namespace bivalve::net
