#include "tools/load/smtp_sink_session.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <utility>

#include "core/text.h"
#include "net/address.h"
#include "net/end_of_data.h"

namespace bivalve::tools {
namespace {

using net::Verb;

// A client that pipelines and does not read must not make us hold its replies without end.
constexpr size_t kUnsentBytesMax = size_t{64} << 10;

constexpr std::string_view kOk = "250 2.0.0 Ok";
constexpr std::string_view kSenderOk = "250 2.1.0 Ok";
constexpr std::string_view kRecipientOk = "250 2.1.5 Ok";
constexpr std::string_view kChunkOk = "250 2.0.0 Ok, more";
constexpr std::string_view kAccepted = "250 2.0.0 Ok: queued as NONE";
constexpr std::string_view kVerify = "252 2.0.0 Cannot verify, but try it";
constexpr std::string_view kHelp = "214 2.0.0 See RFC 5321";
constexpr std::string_view kBye = "221 2.0.0 Bye";
constexpr std::string_view kStartData = "354 End data with <CR><LF>.<CR><LF>";
constexpr std::string_view kTimeout = "421 4.4.2 Timeout";
constexpr std::string_view kTempFail = "451 4.3.0 Temporary failure, as configured";
constexpr std::string_view kCannotRecord = "452 4.3.1 Cannot record the message";
constexpr std::string_view kUnknown = "500 5.5.2 Command not recognized";
constexpr std::string_view kTooLong = "500 5.5.2 Line too long";
constexpr std::string_view kSyntax = "501 5.5.4 Syntax error in arguments";
constexpr std::string_view kNotImplemented = "502 5.5.1 Command not implemented";
constexpr std::string_view kNeedHello = "503 5.5.1 Send EHLO or HELO first";
constexpr std::string_view kNestedMail = "503 5.5.1 Nested MAIL command";
constexpr std::string_view kNeedMail = "503 5.5.1 Need MAIL command";
constexpr std::string_view kNeedRecipient = "503 5.5.1 Need RCPT command";
constexpr std::string_view kInBdat = "503 5.5.1 Only BDAT or RSET may follow BDAT";
constexpr std::string_view kInTransaction = "503 5.5.1 Mail transaction in progress";
constexpr std::string_view kBinaryNeedsBdat = "503 5.5.1 BODY=BINARYMIME needs BDAT";
constexpr std::string_view kRejectedRecipient = "550 5.1.1 User unknown, as configured";
constexpr std::string_view kTooLarge = "552 5.3.4 Message too large";

using Phase = SinkSession::Phase;
constexpr uint8_t kAnywhere = Phase::kStart | Phase::kReady | Phase::kMail | Phase::kChunks;

// Which commands may stand in which phases. What is not here is not implemented.
struct Rule {
  Verb verb;
  uint8_t phases;
};
constexpr std::array kRules = {
    Rule{Verb::kEhlo, kAnywhere},
    Rule{Verb::kHelo, kAnywhere},
    Rule{Verb::kMail, Phase::kReady},
    Rule{Verb::kRcpt, Phase::kMail},
    Rule{Verb::kData, Phase::kMail},
    Rule{Verb::kBdat, kAnywhere},  // its chunk has to be read in any case
    Rule{Verb::kRset, kAnywhere},
    Rule{Verb::kNoop, kAnywhere},
    Rule{Verb::kVrfy, kAnywhere},
    Rule{Verb::kHelp, kAnywhere},
    Rule{Verb::kQuit, kAnywhere},
    Rule{Verb::kXClient, Phase::kStart | Phase::kReady},
    Rule{Verb::kXForward, Phase::kStart | Phase::kReady},
};

std::string_view WrongPhaseReply(Verb verb, Phase phase) {
  switch (phase) {
    case Phase::kStart:
      return kNeedHello;
    case Phase::kReady:
      return kNeedMail;
    case Phase::kMail:
      return verb == Verb::kMail ? kNestedMail : kInTransaction;
    case Phase::kChunks:
      return kInBdat;
  }
  BV_CHECK(false);
}

// What stands behind "FROM:" or "TO:".
std::string_view BehindColon(std::string_view arguments) {
  return core::Trim(arguments.substr(std::min(arguments.find(':') + 1, arguments.size())));
}

}  // namespace

std::unique_ptr<char[]> ScratchBuffers::Take() {
  if (kept_.empty()) return std::unique_ptr<char[]>(new char[kBytes]);
  std::unique_ptr<char[]> buffer = std::move(kept_.back());
  kept_.pop_back();
  return buffer;
}

std::string MakeEhloReply(const SinkSettings& settings) {
  std::string reply = core::Cat("250-", settings.host_name, "\r\n");
  if (settings.pipelining) core::Append(reply, "250-PIPELINING\r\n");
  core::Append(reply, "250-SIZE");
  if (settings.size_bytes_max != 0) core::Append(reply, ' ', settings.size_bytes_max);
  core::Append(reply, "\r\n250-8BITMIME\r\n");
  if (settings.chunking) core::Append(reply, "250-CHUNKING\r\n250-BINARYMIME\r\n");
  if (settings.xclient) {
    core::Append(reply, "250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n",
                 "250-XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\r\n");
  }
  core::Append(reply, "250 ENHANCEDSTATUSCODES\r\n");
  return reply;
}

core::Task<void> SinkSession::Serve(SinkServices& services, int fd) {
  SinkSession session(services, fd);
  co_await session.Run();
}

SinkSession::SinkSession(SinkServices& services, int fd)
    : services_(services),
      wake_(services.loop),
      connection_(services.loop, wake_, net::kCommandLineBytesMax) {
  connection_.stream().Adopt(fd);
  services_.sessions.insert(this);
  services_.counters.Add(SinkCount::kConnections);
}

SinkSession::~SinkSession() { services_.sessions.erase(this); }

void SinkSession::Abort() {
  connection_.stream().Shutdown();
  wake_.Notify();
}

core::Task<void> SinkSession::Run() {
  core::Stream& stream = connection_.stream();
  if (services_.recorder != nullptr) Note("X-Client-Addr", connection_.peer().ToString());
  stream.Write("220 ");
  stream.Write(services_.settings.host_name);
  Reply(" ESMTP");
  for (bool open = true; open && !services_.stopping;) {
    const net::Connection::Line line = connection_.NextLine();
    switch (line.state) {
      case net::Connection::LineState::kNone: {
        if (stream.ended() || stream.write_error() != 0) {
          open = false;
          break;
        }
        // The replies to all that was pipelined go out together.
        stream.Flush();
        stream.StartReading();
        const bool in_time = co_await wake_.Wait(Deadline());
        if (!in_time && stream.input().empty()) {
          Reply(kTimeout);
          open = false;
        }
        break;
      }
      case net::Connection::LineState::kTooLong:
        Reply(kTooLong);
        break;
      case net::Connection::LineState::kLine:
        switch (Execute(net::ParseCommand(line.text))) {
          case Step::kReplied:
            break;
          case Step::kPauseAndReply:
            co_await Pause(services_.settings.delay_recipient);
            Reply(pending_reply_);
            break;
          case Step::kReceiveData:
            open = co_await ReceiveData();
            break;
          case Step::kReceiveChunk:
            open = co_await ReceiveChunk();
            break;
          case Step::kClose:
            open = false;
            break;
        }
        if (stream.unsent_bytes() > kUnsentBytesMax) {
          const bool sent = co_await stream.Drain(Deadline());
          open = open && sent;
        }
        break;
    }
  }
  if (!leaving_ && !services_.stopping) services_.counters.Add(SinkCount::kLost);
  (void)co_await stream.Drain(services_.loop.Now() + std::chrono::seconds(1));
  co_await stream.Close();
}

SinkSession::Step SinkSession::Execute(const net::Command& command) {
  const auto* const rule =
      std::find_if(kRules.begin(), kRules.end(), [&](const Rule& r) { return r.verb == command.verb; });
  if (command.verb == Verb::kUnknown) return Refuse(kUnknown);
  if (rule == kRules.end()) return Refuse(kNotImplemented);
  const bool of_postfix = command.verb == Verb::kXClient || command.verb == Verb::kXForward;
  if (of_postfix && !services_.settings.xclient) return Refuse(kNotImplemented);
  if ((rule->phases & phase_) == 0) return Refuse(WrongPhaseReply(command.verb, phase_));
  switch (command.verb) {
    case Verb::kEhlo:
    case Verb::kHelo:
      return Hello(command);
    case Verb::kMail:
      return Mail(command.arguments);
    case Verb::kRcpt:
      return Recipient(command.arguments);
    case Verb::kData:
      if (!command.arguments.empty()) return Refuse(kSyntax);
      if (recipients_ == 0) return Refuse(kNeedRecipient);
      if (binary_) return Refuse(kBinaryNeedsBdat);
      Reply(kStartData);
      return Step::kReceiveData;
    case Verb::kBdat:
      return Bdat(command.arguments);
    case Verb::kRset:
      Reset();
      Reply(kOk);
      return Step::kReplied;
    case Verb::kVrfy:
      Reply(kVerify);
      return Step::kReplied;
    case Verb::kHelp:
      Reply(kHelp);
      return Step::kReplied;
    case Verb::kXClient:
      return XClient();
    case Verb::kXForward:
      if (services_.recorder != nullptr) Note("X-Xforward-Args", command.arguments);
      Reply(kOk);
      return Step::kReplied;
    case Verb::kQuit:
      leaving_ = true;
      Reply(kBye);
      return Step::kClose;
    default:  // NOOP; the table has no others
      Reply(kOk);
      return Step::kReplied;
  }
}

SinkSession::Step SinkSession::Hello(const net::Command& command) {
  if (command.arguments.empty()) return Refuse(kSyntax);
  Reset();
  phase_ = Phase::kReady;
  const bool extended = command.verb == Verb::kEhlo;
  if (services_.recorder != nullptr) {
    Note("X-Client-Proto", extended ? "ESMTP" : "SMTP");
    Note("X-Helo-Args", command.arguments);
  }
  if (extended) {
    connection_.stream().Write(services_.ehlo_reply);
  } else {
    connection_.stream().Write("250 ");
    Reply(services_.settings.host_name);
  }
  return Step::kReplied;
}

SinkSession::Step SinkSession::Mail(std::string_view arguments) {
  if (!core::StartsWithIgnoreCase(arguments, "FROM:") || !net::ParsePath(arguments).has_value()) {
    return Refuse(kSyntax);
  }
  if (const auto size = net::FindParameter(arguments, "SIZE"); size.has_value()) {
    const auto bytes = net::ParseNumber(*size);
    if (!bytes.has_value()) return Refuse(kSyntax);
    const uint64_t most = services_.settings.size_bytes_max;
    if (most != 0 && *bytes > most) return Refuse(kTooLarge);
  }
  const std::string_view body = net::FindParameter(arguments, "BODY").value_or("");
  binary_ = core::EqualsIgnoreCase(body, "BINARYMIME");
  if (binary_ && !services_.settings.chunking) return Refuse(kSyntax);
  phase_ = Phase::kMail;
  if (services_.recorder != nullptr) {
    envelope_ = session_lines_;
    core::Append(envelope_, "X-Mail-Args: ", BehindColon(arguments), '\n');
  }
  Reply(kSenderOk);
  return Step::kReplied;
}

SinkSession::Step SinkSession::Recipient(std::string_view arguments) {
  if (!core::StartsWithIgnoreCase(arguments, "TO:") || net::ParsePath(arguments).value_or("").empty()) {
    return Refuse(kSyntax);
  }
  if (services_.random.Happens(services_.settings.reject_recipient_share)) {
    services_.counters.Add(SinkCount::kRejectedRecipients);
    pending_reply_ = kRejectedRecipient;
  } else {
    ++recipients_;
    if (services_.recorder != nullptr) {
      core::Append(envelope_, "X-Rcpt-Args: ", BehindColon(arguments), '\n');
    }
    pending_reply_ = kRecipientOk;
  }
  if (services_.settings.delay_recipient > core::Duration::zero()) return Step::kPauseAndReply;
  Reply(pending_reply_);
  return Step::kReplied;
}

SinkSession::Step SinkSession::Bdat(std::string_view arguments) {
  if (!services_.settings.chunking) return Refuse(kNotImplemented);
  const auto chunk = net::ParseBdat(arguments);
  if (!chunk.has_value()) {
    // How much of what follows is data cannot be known.
    Reply(kSyntax);
    return Step::kClose;
  }
  chunk_ = *chunk;
  return Step::kReceiveChunk;
}

// XCLIENT is followed by a greeting and starts the session over.
SinkSession::Step SinkSession::XClient() {
  Reset();
  phase_ = Phase::kStart;
  connection_.stream().Write("220 ");
  connection_.stream().Write(services_.settings.host_name);
  Reply(" ESMTP");
  return Step::kReplied;
}

SinkSession::Step SinkSession::Refuse(std::string_view reply) {
  Reply(reply);
  return Step::kReplied;
}

core::Task<bool> SinkSession::ReceiveData() {
  core::Stream& stream = connection_.stream();
  stream.Flush();
  std::unique_ptr<char[]> buffer = services_.scratch.Take();
  const std::span<char> room(buffer.get(), ScratchBuffers::kBytes);
  net::EndOfData end(net::EndOfData::Check::kNone);
  bool whole = false;
  for (size_t held = 0; !whole;) {
    const core::IoResult received = co_await stream.Receive(room.subspan(held), Deadline());
    if (!received.ok() || received.eof()) break;
    const std::span<char> block = room.first(held + received.value());
    const net::EndOfData::Result found = end.Process(block);
    TakeContent({room.data(), found.content_bytes});
    held = found.held_bytes;
    whole = found.ended;
    if (whole) {
      stream.Unread({room.data() + found.rest_offset, block.size() - found.rest_offset});
    } else {
      std::memmove(room.data(), room.data() + found.content_bytes, held);
    }
  }
  services_.scratch.Return(std::move(buffer));
  if (!whole) co_return false;
  co_return co_await AnswerMessage();
}

core::Task<bool> SinkSession::ReceiveChunk() {
  const bool wanted = (phase_ == Phase::kMail || phase_ == Phase::kChunks) && recipients_ > 0;
  std::unique_ptr<char[]> buffer = services_.scratch.Take();
  uint64_t left = chunk_.chunk_bytes;
  while (left > 0) {
    const std::span<char> room(buffer.get(), std::min<uint64_t>(left, ScratchBuffers::kBytes));
    const core::IoResult received = co_await connection_.stream().Receive(room, Deadline());
    if (!received.ok() || received.eof()) break;
    left -= received.value();
    if (wanted) TakeContent({room.data(), received.value()});
  }
  services_.scratch.Return(std::move(buffer));
  if (left > 0) co_return false;
  const uint64_t most = services_.settings.size_bytes_max;
  if (!wanted) {
    Reply(phase_ == Phase::kStart ? kNeedHello : phase_ == Phase::kReady ? kNeedMail : kNeedRecipient);
  } else if (chunk_.last) {
    co_return co_await AnswerMessage();
  } else if (most != 0 && content_bytes_ > most) {
    // RFC 3030 section 2: what follows in this transaction fails too.
    services_.counters.Add(SinkCount::kRejected);
    Reset();
    Reply(kTooLarge);
  } else {
    phase_ = Phase::kChunks;
    Reply(kChunkOk);
  }
  co_return true;
}

core::Task<bool> SinkSession::AnswerMessage() {
  const SinkSettings& settings = services_.settings;
  if (settings.delay > core::Duration::zero()) co_await Pause(settings.delay);
  const std::string_view reply = JudgeMessage();
  Reset();
  Reply(reply);
  leaving_ = settings.close_after != 0 && messages_ >= settings.close_after;
  co_return !leaving_;
}

std::string_view SinkSession::JudgeMessage() {
  const SinkSettings& settings = services_.settings;
  std::string_view reply = kAccepted;
  if (settings.size_bytes_max != 0 && content_bytes_ > settings.size_bytes_max) {
    reply = kTooLarge;
  } else if (services_.random.Happens(settings.tempfail_share)) {
    reply = kTempFail;
  } else if (services_.recorder != nullptr) {
    if (const absl::Status status = services_.recorder->Record(envelope_, content_); !status.ok()) {
      std::fprintf(stderr, "smtp_sink: %s\n", std::string(status.message()).c_str());
      reply = kCannotRecord;
    }
  }
  if (reply != kAccepted) {
    services_.counters.Add(SinkCount::kRejected);
    return reply;
  }
  const SinkCounters::Update update(services_.counters);
  services_.counters.Add(SinkCount::kMessages);
  services_.counters.Add(SinkCount::kBytes, content_bytes_);
  ++messages_;
  return reply;
}

core::Task<void> SinkSession::Pause(core::Duration time) {
  connection_.stream().Flush();
  const core::MonoTime until = services_.loop.Now() + time;
  while (services_.loop.Now() < until && !services_.stopping) (void)co_await wake_.Wait(until);
}

void SinkSession::Reply(std::string_view line) {
  connection_.stream().Write(line);
  connection_.stream().Write("\r\n");
}

void SinkSession::TakeContent(std::string_view content) {
  content_bytes_ += content.size();
  const uint64_t most = services_.settings.size_bytes_max;
  if (services_.recorder == nullptr || (most != 0 && content_bytes_ > most)) return;
  content_.append(content);
}

void SinkSession::Reset() {
  if (phase_ != Phase::kStart) phase_ = Phase::kReady;
  binary_ = false;
  recipients_ = 0;
  content_bytes_ = 0;
  envelope_.clear();
  content_.clear();
}

// Keeps one line of the kind for the messages of this session.
void SinkSession::Note(std::string_view name, std::string_view value) {
  const std::string start = core::Cat(name, ": ");
  if (const size_t old = session_lines_.find(start); old != std::string::npos) {
    session_lines_.erase(old, session_lines_.find('\n', old) + 1 - old);
  }
  core::Append(session_lines_, start, value, '\n');
}

}  // namespace bivalve::tools
