// The part of a session that handles messages: DATA, BDAT and the delivery. The scan between them is in
// session_verdict.cc. Every path through both files that has received a message ends in exactly one
// Conclude().
#include <algorithm>
#include <chrono>
#include <utility>

#include "appliance/worker/message_fault.h"
#include "appliance/worker/replies.h"
#include "appliance/worker/session.h"
#include "appliance/worker/session_limits.h"
#include "core/text.h"
#include "net/header_section.h"
#include "net/smtp_reply.h"

namespace bivalve::appliance {
namespace {

CloseReason ReasonOf(net::MailDataResult::Status status) {
  switch (status) {
    case net::MailDataResult::Status::kComplete:
      return CloseReason::kNone;
    case net::MailDataResult::Status::kClientGone:
      return CloseReason::kClientGone;
    case net::MailDataResult::Status::kTimeout:
      return CloseReason::kClientTimeout;
    case net::MailDataResult::Status::kTooSlow:
      return CloseReason::kTooSlow;
  }
  BV_CHECK(false);
}

}  // namespace

core::Task<CloseReason> Session::Data(std::string_view arguments, std::string_view line) {
  // RFC 3030: DATA and BDAT do not mix in one transaction (section 2), and binary mail needs BDAT (section
  // 3).
  if (transaction_.in_chunks() || transaction_.binary_mime) {
    Answer(replies::kBadSequence);
    co_return CloseReason::kNone;
  }
  if (!arguments.empty()) {
    // Some servers ignore arguments and say 354.
    counters().Add(Metric::kProtocolErrors);
    Answer(replies::kBadArguments);
    co_return CloseReason::kNone;
  }
  if (!transaction_.has_recipients()) co_return co_await DataWithoutRecipients(line);
  SetPhase(SessionPhase::kRoom);
  std::unique_ptr<core::Body> body = co_await AcquireBody();
  if (body == nullptr) {
    counters().Set(Metric::kRoomWaits, services_.bodies.waits());
    counters().Add(Metric::kOutOfRoom);
    LogText(Severity::kError, "no room for a message");
    Answer(replies::kNoRoom);
    co_return CloseReason::kNone;
  }
  account_.Begin();
  Answer(replies::kStartMail);
  server_.StartKeepAlive();
  SetPhase(SessionPhase::kReceive);
  incoming_ = body.get();
  const net::MailDataResult data =
      co_await net::ReceiveData(services_.loop, client_, services_.bodies, *body, DataCheck(), DataLimits(),
                                core::Patience(config().timeout));
  incoming_ = nullptr;
  co_return co_await FinishMessage(std::move(body), data);
}

core::Task<std::unique_ptr<core::Body>> Session::AcquireBody() {
  std::unique_ptr<core::Body> body;
  if (!services_.bodies.crowded()) body = co_await services_.bodies.Acquire(transaction_.declared_bytes);
  if (body != nullptr) co_return body;
  client_.stream().Flush();  // The replies before this one do not wait for room.
  const core::MonoTime wait_until =
      services_.loop.Now() + std::min<core::Duration>(config().timeout, net::kRoomWaitMax);
  co_return co_await services_.bodies.AcquireInTime(transaction_.declared_bytes, wait_until);
}

// The server has accepted no recipient, so the refusal is the server's to word. One that says 354 all the
// same gets no mail, and its transaction has nobody to go to (RFC 2920 section 3.1).
core::Task<CloseReason> Session::DataWithoutRecipients(std::string_view line) {
  ServerReply reply = co_await server_.Ask(line, net::kStartMail);
  if (reply.ok() && reply.code == net::kStartMail) {
    reply = co_await server_.Ask(".");
    ForgetTransaction();
    if (reply.ok() && net::IsPositive(reply.code)) {
      Answer(replies::kNoRecipients);
      co_return CloseReason::kNone;
    }
  }
  co_return Relay(reply);
}

// RFC 3030 section 2. The chunk follows the command at once, so it is read even if it is refused.
core::Task<CloseReason> Session::Bdat(std::string_view arguments) {
  const std::optional<net::BdatArguments> chunk = net::ParseBdat(arguments);
  if (!extensions().chunking || !chunk.has_value()) {
    counters().Add(Metric::kProtocolErrors);
    if (chunk.has_value()) co_return co_await RefuseChunk(chunk->chunk_bytes, replies::kNotImplemented);
    // The size of the chunk is unknown, so its bytes cannot be told from commands: the session ends.
    Answer(extensions().chunking ? replies::kBadArguments : replies::kNotImplemented);
    co_return CloseReason::kBadChunk;
  }
  Transaction& t = transaction_;
  if (!t.has_recipients()) co_return co_await RefuseChunk(chunk->chunk_bytes, replies::kBadSequence);
  std::unique_ptr<core::Body> body = std::move(t.chunks);
  if (body == nullptr && t.chunks_fault == net::MailDataFault::kNone) {
    account_.Begin();
    const core::MonoTime wait_until =
        account_.began_at() + std::min<core::Duration>(config().timeout, net::kRoomWaitMax);
    SetPhase(SessionPhase::kRoom);
    body =
        co_await services_.bodies.AcquireInTime(std::max(t.declared_bytes, chunk->chunk_bytes), wait_until);
    if (body == nullptr) t.chunks_fault = net::MailDataFault::kNoRoom;
    bdat_patience_.Start(services_.loop.Now());
  }
  server_.StartKeepAlive();
  const bool discard = t.chunks_fault != net::MailDataFault::kNone;
  SetPhase(SessionPhase::kReceive);
  incoming_ = body.get();
  net::MailDataResult data =
      co_await net::ReceiveChunk(services_.loop, client_, services_.bodies, body.get(), chunk->chunk_bytes,
                                 discard, DataLimits(), bdat_patience_);
  incoming_ = nullptr;
  data.Add(t.chunks_fault);
  t.chunks_fault = data.fault;
  // Many tiny chunks can be as slow as a slow chunk.
  const bool slow = !chunk->last && !bdat_patience_.Check(services_.loop.Now());
  if (slow && data.status == net::MailDataResult::Status::kComplete)
    data.status = net::MailDataResult::Status::kTooSlow;
  if (data.status != net::MailDataResult::Status::kComplete || chunk->last) {
    data.has_stuffed_dots = true;  // the lines of the content were not looked at
    co_return co_await FinishMessage(std::move(body), data);
  }
  const bool server_lives = co_await server_.SettleKeepAlive();
  t.chunks = std::move(body);
  const OwnReply* const refusal = InfoOf(data.fault).reply;
  Answer(refusal != nullptr ? *refusal : replies::kChunkTaken);
  if (chunk->chunk_bytes == 0) ++commands_without_message_;
  co_return server_lives ? CloseReason::kNone : CloseReason::kServerLost;
}

// The bytes of the chunk are no commands, so they are read and thrown away.
core::Task<CloseReason> Session::RefuseChunk(uint64_t chunk_bytes, const OwnReply& reply) {
  core::Patience patience(config().timeout);
  patience.Start(services_.loop.Now());
  const net::MailDataResult data = co_await net::ReceiveChunk(
      services_.loop, client_, services_.bodies, nullptr, chunk_bytes, true, DataLimits(), patience);
  ++commands_without_message_;
  const CloseReason reason = ReasonOf(data.status);
  if (reason == CloseReason::kNone) Answer(reply);
  co_return reason;
}

// The received data is now a message, unless the client left before its end.
core::Task<CloseReason> Session::FinishMessage(std::unique_ptr<core::Body> body, net::MailDataResult data) {
  counters().Set(Metric::kRoomWaits, services_.bodies.waits());
  if (data.status != net::MailDataResult::Status::kComplete) {
    counters().Add(Metric::kAborted);
    LogText(Severity::kInfo, "client left before the end of the message");
    services_.bodies.Release(std::move(body));
    co_return ReasonOf(data.status);
  }
  commands_without_message_ = 0;
  errors_in_a_row_ = 0;
  const std::string_view content = body != nullptr ? body->content() : std::string_view();
  account_.Received(content.size());
  header_ = net::ExamineHeaderSection(content, limits::kHeaderSectionBytesMax);
  if (account_.MemoryWasCut()) data.Add(net::MailDataFault::kMemoryCut);
  if (header_.bytes > limits::kHeaderSectionBytesMax) data.Add(net::MailDataFault::kHeaderTooLarge);
  if (data.fault == net::MailDataFault::kNone)
    co_return co_await ScanAndAct(std::move(body), data.has_stuffed_dots);

  const MessageFaultInfo& info = InfoOf(data.fault);
  if (info.metric.has_value()) counters().Add(*info.metric);
  const CloseReason reason = co_await AnswerAndReset(*info.reply, info.outcome, info.status);
  services_.bodies.Release(std::move(body));
  ForgetTransaction();
  co_return reason;
}

core::Task<CloseReason> Session::DeliverMessage(core::Body& body, const Onward& onward) {
  const net::WholeMessage message{
      .content = body.content(),
      .header = onward.header,
      .header_offset = onward.header.empty() || onward.header_at_top ? 0 : header_.bytes,
  };
  const net::DeliveryOptions options{
      .may_need_stuffing = onward.may_need_stuffing,
      .shrunken_files = account_.shrunken_files(),
  };
  MessageRecord& record = account_.record();
  const core::MonoTime began = services_.loop.Now();
  SetPhase(SessionPhase::kDeliver);
  std::string text;
  const net::DeliveryResult result = co_await server_.Deliver(message, options, text);
  record.deliver = services_.loop.Now() - began;
  services_.stats.Record(Phase::kDeliver, record.deliver);
  if (result.status == net::DeliveryResult::Status::kLost) {
    LogText(Severity::kError, result.early ? "mail server answered before it had the whole message"
                                           : "connection to the mail server was lost before its final reply");
    Answer(replies::kLocalError);
    record.reply = LineOf(replies::kLocalError);
    Conclude(Outcome::kLost, onward.status);
    co_return CloseReason::kServerLost;
  }
  Answer(text, result.code);
  record.reply = text;
  record.reply_is_servers = true;
  const bool replied = result.status == net::DeliveryResult::Status::kReplied;
  const bool delivered = replied && net::IsPositive(result.code);
  Conclude(delivered ? Outcome::kDelivered : Outcome::kRefused, onward.status, onward.infected);
  if (result.code == net::kClosing) co_return CloseReason::kQuit;
  // What the server says next may be replies to lines of the message.
  if (replied && result.no_chunking) co_return CloseReason::kServerGone;
  // If the message was refused before the data, the transaction is still open. After a BDAT that failed, the
  // server's state is unknown (RFC 3030 section 2).
  if (!replied || (!delivered && extensions().chunking)) co_return co_await ResetServer();
  co_return CloseReason::kNone;
}

// Answers for a message that is not sent to the server, and resets the transaction that is still open there.
core::Task<CloseReason> Session::AnswerAndReset(const OwnReply& reply, Outcome outcome,
                                                std::string_view status) {
  Answer(reply);
  account_.record().reply = LineOf(reply);
  Conclude(outcome, status);
  co_return co_await ResetServer();
}

core::Task<CloseReason> Session::ResetServer() {
  SetPhase(SessionPhase::kServer);
  const ServerReply reply = co_await server_.Reset();
  co_return reply.ok() ? CloseReason::kNone : Relay(reply);
}

void Session::Conclude(Outcome outcome, std::string_view status, bool infected_passed) {
  account_.Conclude(outcome, status, infected_passed,
                    {.client = client_host_,
                     .helo = helo_,
                     .original_client = original_client_,
                     .transaction = transaction_});
}

std::string Session::UsualHeader() {
  if (settings_->header.empty()) return {};
  if (local_host_.empty()) local_host_ = client_.local().Host();
  return settings_->header.Expand(client_host_, local_host_, std::chrono::system_clock::now());
}

net::EndOfData::Check Session::DataCheck() const {
  switch (config().bare_newline) {
    case BareNewline::kGuard:
      return net::EndOfData::Check::kGuard;
    case BareNewline::kReject:
      return net::EndOfData::Check::kBareNewline;
    case BareNewline::kPass:
      return net::EndOfData::Check::kNone;
  }
  BV_CHECK(false);
}

net::MailDataLimits Session::DataLimits() const {
  return {.message_bytes_max = MessageBytesMax(),
          // By BDAT a server gets exactly the scanned bytes, so its reading of dots does not matter.
          .bare_dot_is_ambiguous = config().bare_newline == BareNewline::kGuard && !extensions().chunking};
}

// The limit that SIZE told the client: the smaller of our limit and the server's; 0: none.
uint64_t Session::MessageBytesMax() const {
  const uint64_t own = config().message_bytes_max;
  const uint64_t servers = extensions().size_bytes;
  return own == 0 || servers == 0 ? std::max(own, servers) : std::min(own, servers);
}

}  // namespace bivalve::appliance
