#include "net/keep_alive.h"

#include <optional>
#include <string>

#include "net/reply_reader.h"
#include "net/smtp_reply.h"

namespace bivalve::net {

void KeepAlive::Start(core::Duration interval) {
  interval_ = interval;
  if (interval_ > core::Duration::zero()) wake_.loop().timers().Set(*this, wake_.loop().Now() + interval_);
}

void KeepAlive::OnTimer() {
  TakeReply();
  if (failed_ || server_.stream().ended()) return;  // the next user of the server will notice
  if (!unanswered_ && server_.stream().input().empty()) {
    server_.stream().Write("NOOP\r\n");
    server_.stream().Flush();
    unanswered_ = true;
  }
  server_.stream().StartReading();
  wake_.loop().timers().Set(*this, wake_.loop().Now() + interval_);
}

// Reads the part of the reply that has arrived. If more lines follow, they are left for the next call.
void KeepAlive::TakeReply() {
  while (unanswered_) {
    const Connection::Line line = server_.NextLine();
    if (line.state == Connection::LineState::kNone) return;
    const std::optional<ReplyLine> reply = ParseReplyLine(line.text);
    failed_ = line.state != Connection::LineState::kLine || !reply.has_value() || reply->code == kClosing;
    if (failed_ || reply->last) unanswered_ = false;
  }
}

core::Task<bool> KeepAlive::Settle(core::Duration timeout) {
  Drop();
  TakeReply();
  if (unanswered_) {
    unanswered_ = false;
    std::string text;
    const Reply reply = co_await ReadReply(server_, wake_, timeout, text);
    failed_ = !reply.ok() || reply.code == kClosing;
  }
  co_return !failed_;
}

}  // namespace bivalve::net
