#include "net/reply_reader.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "core/text.h"
#include "net/smtp_reply.h"

namespace bivalve::net {
namespace {

constexpr size_t kCodeBytes = 3;

// Sets the code of every line of the reply that begins at `begin`.
void CopyCode(std::string_view code, size_t begin, std::string& text) {
  for (size_t line = begin; line < text.size(); line = text.find('\n', line) + 1)
    text.replace(line, kCodeBytes, code);
}

}  // namespace

core::Task<Reply> ReadReply(Connection& server, core::Condition& wake, core::Duration timeout,
                            std::string& text) {
  uint16_t code = 0;
  size_t lines = 0;
  bool mixed = false;
  const size_t begin = text.size();
  core::MonoTime deadline = wake.loop().Now() + timeout;
  for (;;) {
    const Connection::Line line = server.NextLine();
    if (line.state == Connection::LineState::kNone) {
      // A reply that came before the end still counts, so the end is checked only now.
      if (server.stream().ended()) co_return Reply{ReplyStatus::kEnded, 0};
      server.stream().StartReading();
      const bool in_time = co_await wake.Wait(deadline);
      if (!in_time && server.PeekLine().state == Connection::LineState::kNone) {
        co_return Reply{ReplyStatus::kTimeout, 0};
      }
      continue;
    }
    const std::optional<ReplyLine> parsed = ParseReplyLine(line.text);
    if (!parsed.has_value() || ++lines > kReplyLinesMax) co_return Reply{ReplyStatus::kGarbage, 0};
    mixed = mixed || (code != 0 && parsed->code != code);
    code = parsed->code;
    const size_t at = text.size();
    text.append(line.text);
    std::replace_if(text.begin() + static_cast<ptrdiff_t>(at), text.end(), core::IsControl, '?');
    text.append("\r\n");
    if (parsed->last) {
      if (mixed) CopyCode(text.substr(at, kCodeBytes), begin, text);
      co_return Reply{ReplyStatus::kOk, code};
    }
    deadline = wake.loop().Now() + timeout;
  }
}

}  // namespace bivalve::net
