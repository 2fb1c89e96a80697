#include "tools/load/smtp_source_client.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "core/text.h"
#include "net/ehlo.h"
#include "net/smtp_reply.h"

namespace bivalve::tools {
namespace {

using Result = SendOutcome::Result;

// Content up to this size is copied behind its command: less work than to wait for the end of a send.
constexpr uint64_t kCopyBytesMax = 16'384;
// A server that is slow to say goodbye holds up a session, but no message.
constexpr core::Duration kQuitTimeout = std::chrono::seconds(5);

SendOutcome Outcome(Result result, uint16_t code = 0) {
  SendOutcome outcome;
  outcome.result = result;
  outcome.code = code;
  return outcome;
}

SendOutcome Failure(const net::Reply& reply) {
  switch (reply.status) {
    case net::ReplyStatus::kOk:  // a reply, but none that belongs here
    case net::ReplyStatus::kGarbage:
      return Outcome(Result::kGarbage);
    case net::ReplyStatus::kEnded:
      return Outcome(Result::kLost);
    case net::ReplyStatus::kTimeout:
      return Outcome(Result::kTimeout);
  }
  BV_CHECK(false);
}

bool Refuses(uint16_t code) { return net::IsTransient(code) || net::IsPermanent(code); }

net::ServerExtensions ParseExtensions(std::string_view reply) {
  net::EhloReply parser("", {});
  while (!reply.empty()) {
    const size_t end = std::min(reply.find("\r\n"), reply.size());
    if (const auto line = net::ParseReplyLine(reply.substr(0, end)); line.has_value()) parser.Add(line->text);
    reply.remove_prefix(std::min(end + 2, reply.size()));
  }
  return parser.server();
}

}  // namespace

SourceScript::SourceScript(const SourceSettings& settings)
    : pipelining(settings.pipelining),
      bdat(settings.bdat),
      timeout(settings.timeout),
      hello(core::Cat("EHLO ", settings.helo, "\r\n")),
      mail(core::Cat("MAIL FROM:<", settings.from, ">\r\n")) {
  for (uint64_t i = 1; i <= settings.recipients; ++i) {
    const std::string number = settings.recipients > 1 ? core::Cat(i) : "";
    recipients.push_back(core::Cat("RCPT TO:<", number, settings.to, ">\r\n"));
  }
}

SourceClient::SourceClient(core::Loop& loop, const SourceScript& script)
    : wake_(loop), script_(script), connection_(loop, wake_, net::kReplyLineBytesMax) {}

core::Task<net::Reply> SourceClient::ReadReply() {
  reply_text_.clear();
  return net::ReadReply(connection_, wake_, script_.timeout, reply_text_);
}

core::Task<SendOutcome> SourceClient::Open(const net::SocketAddress& server) {
  const core::IoResult connected = co_await connection_.stream().Connect(
      server.raw(), server.raw_size(), wake_.loop().Now() + script_.timeout);
  if (!connected.ok()) {
    SendOutcome outcome = Outcome(Result::kConnectFailed);
    outcome.error = connected.error();
    co_return outcome;
  }
  const SendOutcome outcome = co_await Hello();
  if (outcome.result != Result::kAccepted) co_await Close();
  co_return outcome;
}

core::Task<SendOutcome> SourceClient::Hello() {
  net::Reply reply = co_await ReadReply();
  if (!reply.ok()) co_return Failure(reply);
  if (Refuses(reply.code)) co_return Outcome(Result::kRejected, reply.code);
  if (reply.code != net::kReady) co_return Outcome(Result::kGarbage);
  connection_.stream().Write(script_.hello);
  connection_.stream().Flush();
  reply = co_await ReadReply();
  if (!reply.ok()) co_return Failure(reply);
  if (Refuses(reply.code)) co_return Outcome(Result::kRejected, reply.code);
  if (reply.code != 250) co_return Outcome(Result::kGarbage);
  if (script_.pipelining || script_.bdat) {
    const net::ServerExtensions offered = ParseExtensions(reply_text_);
    if ((script_.pipelining && !offered.pipelining) || (script_.bdat && !offered.chunking)) {
      co_return Outcome(Result::kNotOffered);
    }
  }
  co_return Outcome(Result::kAccepted);
}

core::Task<SendOutcome> SourceClient::Send(const SourceMessage& message) {
  const SendOutcome outcome = co_await Transact(message);
  const bool replied = outcome.result == Result::kAccepted || outcome.result == Result::kRejected;
  if (!replied || outcome.code == net::kClosing) {
    co_await Close();
  } else if (outcome.result == Result::kRejected && !outcome.answered) {
    // The transaction may still be open.
    connection_.stream().Write("RSET\r\n");
    connection_.stream().Flush();
    const net::Reply reply = co_await ReadReply();
    if (!reply.ok() || !net::IsPositive(reply.code)) co_await Close();
  }
  co_return outcome;
}

// With pipelining the whole envelope goes out in one group, together with DATA or with BDAT and the content;
// without, each command waits for the reply to the one before. The replies are the same, and so is what they
// mean.
core::Task<SendOutcome> SourceClient::Transact(const SourceMessage& message) {
  core::Stream& stream = connection_.stream();
  const bool grouped = script_.pipelining;
  const std::string bdat = script_.bdat ? core::Cat("BDAT ", message.bytes, " LAST\r\n") : "";

  stream.Write(script_.mail);
  if (grouped) {
    for (const std::string& recipient : script_.recipients) stream.Write(recipient);
    stream.Write(script_.bdat ? std::string_view(bdat) : "DATA\r\n");
    if (script_.bdat) {
      const core::IoResult sent = co_await SendContent(message, "");
      if (sent.error() == ETIMEDOUT) co_return Outcome(Result::kTimeout);
    }
  }
  stream.Flush();

  uint16_t refused = 0;  // the code that refused the message before its content
  net::Reply reply = co_await ReadReply();
  if (!reply.ok()) co_return Failure(reply);
  if (!net::IsPositive(reply.code)) refused = reply.code;

  uint32_t rejected = 0;
  for (const std::string& recipient : script_.recipients) {
    if (refused == net::kClosing || (refused != 0 && !grouped)) break;
    if (!grouped) {
      stream.Write(recipient);
      stream.Flush();
    }
    reply = co_await ReadReply();
    if (!reply.ok()) co_return Failure(reply);
    if (net::IsPositive(reply.code)) continue;
    if (refused == 0) ++rejected;
    if (reply.code == net::kClosing || (refused == 0 && rejected == script_.recipients.size()))
      refused = reply.code;
  }
  SendOutcome outcome = Outcome(Result::kRejected, refused);
  outcome.recipients_rejected = rejected;
  if (refused == net::kClosing || (refused != 0 && !grouped)) co_return outcome;

  if (script_.bdat) {
    if (!grouped) {
      stream.Write(bdat);
      const core::IoResult sent = co_await SendContent(message, "");
      if (sent.error() == ETIMEDOUT) co_return Outcome(Result::kTimeout);
    }
  } else {
    if (!grouped) {
      stream.Write("DATA\r\n");
      stream.Flush();
    }
    reply = co_await ReadReply();
    if (!reply.ok()) co_return Failure(reply);
    if (reply.code != net::kStartMail) {
      if (refused == 0) outcome.code = reply.code;
      if (!Refuses(outcome.code)) co_return Outcome(Result::kGarbage);
      co_return outcome;
    }
    if (refused == 0) {
      const core::IoResult sent = co_await SendContent(message, ".\r\n");
      if (sent.error() == ETIMEDOUT) co_return Outcome(Result::kTimeout);
    } else {
      // All recipients were refused, and the server takes data all the same (RFC 2920 section 3.1).
      stream.Write(".\r\n");
      stream.Flush();
    }
  }
  reply = co_await ReadReply();
  if (!reply.ok()) co_return Failure(reply);
  if (refused != 0) {
    if (reply.code == net::kClosing) outcome.code = net::kClosing;
    co_return outcome;
  }
  if (!net::IsPositive(reply.code) && !Refuses(reply.code)) co_return Outcome(Result::kGarbage);
  outcome.result = net::IsPositive(reply.code) ? Result::kAccepted : Result::kRejected;
  outcome.code = reply.code;
  outcome.answered = true;
  co_return outcome;
}

core::Task<core::IoResult> SourceClient::SendContent(const SourceMessage& message, std::string_view end) {
  core::Stream& stream = connection_.stream();
  if (message.bytes <= kCopyBytesMax) {
    for (const std::string_view piece : message.pieces) stream.Write(piece);
    stream.Write(end);
    stream.Flush();
    co_return core::IoResult(0);
  }
  std::array<iovec, SourceMessage::kPieces + 1> pieces;
  for (size_t i = 0; i < message.pieces.size(); ++i) {
    pieces[i] = {const_cast<char*>(message.pieces[i].data()), message.pieces[i].size()};
  }
  pieces.back() = {const_cast<char*>(end.data()), end.size()};
  // A server that refuses in mid-message says so and closes, so after a failure there may still be a reply to
  // read.
  co_return co_await stream.SendPieces(pieces, script_.timeout);
}

core::Task<void> SourceClient::Quit() {
  if (!open()) co_return;
  connection_.stream().Write("QUIT\r\n");
  connection_.stream().Flush();
  reply_text_.clear();
  (void)co_await net::ReadReply(connection_, wake_, kQuitTimeout, reply_text_);
  co_await Close();
}

core::Task<void> SourceClient::Close() { co_await connection_.stream().Close(); }

}  // namespace bivalve::tools
