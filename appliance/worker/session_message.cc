// The part of a session that handles messages: DATA and BDAT, and the delivery; between them stands
// session_scan.cc. Every path through both that has received a message ends in exactly one Conclude().
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "appliance/worker/replies.h"
#include "appliance/worker/session.h"
#include "appliance/worker/session_limits.h"
#include "core/shrunken_file.h"
#include "core/text.h"
#include "net/header_section.h"
#include "net/smtp_reply.h"

namespace bivalve::appliance {

core::Task<Session::CloseReason> Session::Data(std::string_view arguments, std::string_view line) {
  // RFC 3030: DATA and BDAT do not mix in one transaction (section 2), and binary mail needs BDAT (section
  // 3).
  if (transaction_.in_chunks() || transaction_.binary_mime) {
    Answer(replies::kBadSequence);
    co_return CloseReason::kNone;
  }
  if (!arguments.empty()) {
    // Some servers pass over them and say 354.
    counters().Add(Metric::kProtocolErrors);
    Answer(replies::kBadArguments);
    CountReply(501);
    co_return CloseReason::kNone;
  }
  if (!transaction_.has_recipients()) co_return co_await DataWithoutRecipients(line);
  const core::MonoTime wait_until =
      services_.loop.Now() + std::min<core::Duration>(config().timeout, net::kRoomWaitMax);
  Enter(SessionPhase::kRoom);
  std::unique_ptr<core::Body> body =
      co_await services_.bodies.AcquireInTime(transaction_.declared_bytes, wait_until);
  if (body == nullptr) {
    counters().Set(Metric::kRoomWaits, services_.bodies.waits());
    counters().Add(Metric::kOutOfRoom);
    LogText(Severity::kError, "no room for a message");
    Answer(replies::kNoRoom);
    co_return CloseReason::kNone;
  }
  BeginMessage();
  Answer(replies::kStartMail);
  keep_alive_.Start(config().keep_alives);
  Enter(SessionPhase::kReceive);
  incoming_ = body.get();
  const net::MailDataResult data =
      co_await net::ReceiveData(services_.loop, client_, services_.bodies, *body, DataCheck(), DataLimits());
  incoming_ = nullptr;
  co_return co_await FinishMessage(std::move(body), data);
}

// The server has accepted no recipient, so the refusal is the server's to word. One that says 354 all the
// same gets no mail, and its transaction has nobody to go to (RFC 2920 section 3.1).
core::Task<Session::CloseReason> Session::DataWithoutRecipients(std::string_view line) {
  server_.stream().Write(line);
  server_.stream().Write("\r\n");
  server_.stream().Flush();
  std::string text;
  net::Reply reply = co_await ServerReply(text);
  if (reply.ok() && reply.code == 354) {
    text.clear();
    server_.stream().Write(".\r\n");
    server_.stream().Flush();
    reply = co_await ServerReply(text);
    ForgetTransaction();
    if (reply.ok() && !net::IsTransient(reply.code) && !net::IsPermanent(reply.code))
      text = replies::kNoRecipients;
  }
  if (!reply.ok()) co_return ReasonOf(reply.status);
  if (net::IsIntermediate(reply.code)) co_return CloseReason::kServerNonsense;
  Answer(text);
  CountReply(reply.code);
  co_return reply.code == 421 ? CloseReason::kQuit : CloseReason::kNone;
}

// RFC 3030 section 2. The chunk follows the command at once, so it is read whatever becomes of it.
core::Task<Session::CloseReason> Session::Bdat(std::string_view arguments) {
  const std::optional<net::BdatArguments> chunk = net::ParseBdat(arguments);
  if (!extensions_.chunking || !chunk.has_value()) {
    counters().Add(Metric::kProtocolErrors);
    if (chunk.has_value()) co_return co_await RefuseChunk(chunk->chunk_bytes, replies::kNotImplemented);
    // How much follows is not known, so nothing that follows can be told from a command: the session ends.
    Answer(extensions_.chunking ? replies::kBadArguments : replies::kNotImplemented);
    co_return CloseReason::kBadChunk;
  }
  Transaction& t = transaction_;
  if (!t.has_recipients()) co_return co_await RefuseChunk(chunk->chunk_bytes, replies::kBadSequence);
  std::unique_ptr<core::Body> body = std::move(t.chunks);
  if (body == nullptr && !t.chunks_no_room) {
    BeginMessage();
    const core::MonoTime wait_until =
        data_began_at_ + std::min<core::Duration>(config().timeout, net::kRoomWaitMax);
    Enter(SessionPhase::kRoom);
    body =
        co_await services_.bodies.AcquireInTime(std::max(t.declared_bytes, chunk->chunk_bytes), wait_until);
    t.chunks_no_room = body == nullptr;
    bdat_rate_.Start(services_.loop.Now(), config().timeout);
  }
  keep_alive_.Start(config().keep_alives);
  const bool discard = t.chunks_too_large || t.chunks_no_room;
  Enter(SessionPhase::kReceive);
  incoming_ = body.get();
  net::MailDataResult data =
      co_await net::ReceiveChunk(services_.loop, client_, services_.bodies, body.get(), chunk->chunk_bytes,
                                 discard, DataLimits(), bdat_rate_);
  incoming_ = nullptr;
  t.chunks_too_large |= data.too_large;
  t.chunks_no_room |= data.no_room;
  data.too_large = t.chunks_too_large;
  data.no_room = t.chunks_no_room;
  // A dribble of tiny chunks is a dribble.
  const bool slow = !chunk->last && !bdat_rate_.Check(services_.loop.Now());
  if (slow && data.status == net::MailDataResult::Status::kComplete)
    data.status = net::MailDataResult::Status::kTooSlow;
  if (data.status != net::MailDataResult::Status::kComplete || chunk->last) {
    data.has_stuffed_dots = true;  // nothing is known of the content's lines
    co_return co_await FinishMessage(std::move(body), data);
  }
  const bool server_lives = co_await keep_alive_.Settle(config().timeout);
  t.chunks = std::move(body);
  Answer(data.too_large ? replies::kTooLarge : data.no_room ? replies::kNoRoom : replies::kChunkTaken);
  if (chunk->chunk_bytes == 0) ++commands_without_message_;
  co_return server_lives ? CloseReason::kNone : CloseReason::kServerLost;
}

// Its bytes are no commands, so they are read and thrown away.
core::Task<Session::CloseReason> Session::RefuseChunk(uint64_t chunk_bytes, std::string_view reply) {
  net::DataRate rate;
  rate.Start(services_.loop.Now(), config().timeout);
  const net::MailDataResult data = co_await net::ReceiveChunk(services_.loop, client_, services_.bodies,
                                                              nullptr, chunk_bytes, true, DataLimits(), rate);
  ++commands_without_message_;
  switch (data.status) {
    case net::MailDataResult::Status::kComplete:
      break;
    case net::MailDataResult::Status::kClientGone:
      co_return CloseReason::kClientGone;
    case net::MailDataResult::Status::kTimeout:
      co_return CloseReason::kClientTimeout;
    case net::MailDataResult::Status::kTooSlow:
      co_return CloseReason::kTooSlow;
  }
  Answer(reply);
  CountReply(503);
  co_return CloseReason::kNone;
}

// What was received is a message now, unless the client left before its end.
core::Task<Session::CloseReason> Session::FinishMessage(std::unique_ptr<core::Body> body,
                                                        const net::MailDataResult& data) {
  counters().Set(Metric::kRoomWaits, services_.bodies.waits());
  if (data.status != net::MailDataResult::Status::kComplete) {
    counters().Add(Metric::kAborted);
    LogText(Severity::kInfo, "client left before the end of the message");
    services_.bodies.Release(std::move(body));
    if (data.status == net::MailDataResult::Status::kTooSlow) co_return CloseReason::kTooSlow;
    co_return data.status == net::MailDataResult::Status::kTimeout ? CloseReason::kClientTimeout
                                                                   : CloseReason::kClientGone;
  }
  commands_without_message_ = 0;
  errors_in_a_row_ = 0;
  const std::string_view content = body != nullptr ? body->content() : std::string_view();
  CountReceived(content.size());
  header_ = net::ExamineHeaderSection(content, limits::kHeaderSectionBytesMax);
  const bool dot_in_doubt = data.dot_after_bare_newline && config().bare_newline == BareNewline::kGuard;
  CloseReason reason = CloseReason::kNone;
  if (data.too_large) {
    reason = co_await AnswerAndReset(replies::kTooLarge, Outcome::kRejected, "REJECTED:size");
  } else if (data.no_room) {
    counters().Add(Metric::kOutOfRoom);
    reason = co_await AnswerAndReset(replies::kNoRoom, Outcome::kTempfailed, "REJECTED:no room");
  } else if (core::ShrunkenFilesMet() != shrunken_files_) {
    reason = co_await AnswerAndReset(replies::kNoRoom, Outcome::kTempfailed, "REJECTED:memory lost");
  } else if (data.ambiguous) {
    reason =
        co_await AnswerAndReset(replies::kAmbiguousEnd, Outcome::kRejected, "REJECTED:ambiguous end of data");
  } else if (dot_in_doubt && !extensions_.chunking) {
    // Some servers take the dot out and others do not. By BDAT a server gets what was scanned.
    reason = co_await AnswerAndReset(replies::kAmbiguousDot, Outcome::kRejected, "REJECTED:ambiguous dot");
  } else if (data.bare_newline) {
    reason = co_await AnswerAndReset(replies::kBareNewline, Outcome::kRejected, "REJECTED:bare newline");
  } else if (header_.bytes > limits::kHeaderSectionBytesMax) {
    counters().Add(Metric::kHeaderTooLarge);
    reason = co_await AnswerAndReset(replies::kHeaderTooLarge, Outcome::kRejected, "REJECTED:header size");
  } else {
    co_return co_await ScanAndAct(std::move(body), data.has_stuffed_dots);
  }
  services_.bodies.Release(std::move(body));
  ForgetTransaction();
  co_return reason;
}

core::Task<Session::CloseReason> Session::DeliverMessage(core::Body& body, const Onward& onward) {
  const net::Delivery delivery{
      .content = body.content(),
      .header = onward.header,
      .header_offset = onward.header.empty() || onward.header_at_top ? 0 : header_.bytes,
      .chunking = extensions_.chunking,
      .chunking_proven = services_.chunking_proof.Has(server_address_),
      .may_need_stuffing = onward.may_need_stuffing,
      .shrunken_files = shrunken_files_,
      .timeout = config().timeout,
  };
  const core::MonoTime began = services_.loop.Now();
  Enter(SessionPhase::kDeliver);
  std::string text;
  net::DeliveryResult result;  // lost
  const bool server_lives = co_await keep_alive_.Settle(config().timeout);
  if (server_lives) result = co_await net::Deliver(server_, wake_, delivery, text);
  record_.deliver = services_.loop.Now() - began;
  services_.stats.Record(Phase::kDeliver, record_.deliver);
  record_.reply = result.status == net::DeliveryResult::Status::kLost ? replies::kLocalError : text;
  if (result.no_chunking) {
    LogText(Severity::kWarning,
            "mail server lists CHUNKING and refuses BDAT; it gets no more of it for an hour");
    services_.chunking_proof.Refuse(server_address_, services_.loop.Now());
  } else if (delivery.chunking && !delivery.chunking_proven &&
             result.status == net::DeliveryResult::Status::kReplied) {
    services_.chunking_proof.Accept(server_address_);
  }
  record_.reply_is_servers = result.status != net::DeliveryResult::Status::kLost;
  switch (result.status) {
    case net::DeliveryResult::Status::kReplied:
      Answer(text);
      Conclude(net::IsPositive(result.code) ? Outcome::kDelivered : Outcome::kRefused, onward.status,
               onward.infected);
      if (result.code == 421) co_return CloseReason::kQuit;
      // What it says next may be replies to lines of the message.
      if (result.no_chunking) co_return CloseReason::kServerGone;
      // After a BDAT that failed the server's state is not known (RFC 3030 section 2).
      if (!net::IsPositive(result.code) && extensions_.chunking) co_return co_await ResetServer();
      co_return CloseReason::kNone;
    case net::DeliveryResult::Status::kRefusedData:
      Answer(text);
      Conclude(Outcome::kRefused, onward.status);
      if (result.code == 421) co_return CloseReason::kQuit;
      co_return co_await ResetServer();
    case net::DeliveryResult::Status::kLost:
      LogText(Severity::kError, result.early
                                    ? "mail server answered before it had the whole message"
                                    : "connection to the mail server was lost before its final reply");
      Answer(replies::kLocalError);
      Conclude(Outcome::kLost, onward.status);
      co_return CloseReason::kServerLost;
  }
  BV_CHECK(false);
}

// Answers for a message that does not go to the server, where its transaction is still open.
core::Task<Session::CloseReason> Session::AnswerAndReset(std::string_view reply, Outcome outcome,
                                                         std::string_view status) {
  Answer(reply);
  record_.reply = reply;
  Conclude(outcome, status);
  co_return co_await ResetServer();
}

core::Task<Session::CloseReason> Session::ResetServer() {
  Enter(SessionPhase::kServer);
  const bool server_lives = co_await keep_alive_.Settle(config().timeout);
  if (!server_lives) co_return CloseReason::kServerLost;
  server_.stream().Write("RSET\r\n");
  server_.stream().Flush();
  std::string text;
  const net::Reply reply = co_await ServerReply(text);
  if (!reply.ok()) co_return ReasonOf(reply.status);
  if (reply.code == 421) {
    Answer(text);
    co_return CloseReason::kQuit;
  }
  if (!net::IsPositive(reply.code)) co_return CloseReason::kServerNonsense;
  co_return CloseReason::kNone;
}

void Session::BeginMessage() {
  data_began_at_ = services_.loop.Now();
  shrunken_files_ = core::ShrunkenFilesMet();
}

void Session::CountReceived(uint64_t content_bytes) {
  received_at_ = services_.loop.Now();
  record_.content_bytes = content_bytes;
  record_.receive = received_at_ - data_began_at_;
  services_.stats.Record(Phase::kReceive, record_.receive);
  BV_CHECK(!in_progress_);
  in_progress_ = true;
  ++messages_received_;
  content_bytes_received_ += content_bytes;
  MetricCounters::Update update(counters());
  counters().Add(Metric::kReceived);
  counters().Add(Metric::kInProgress);
  counters().Add(Metric::kBytes, content_bytes);
}

void Session::Conclude(Outcome outcome, std::string_view status, bool infected_passed) {
  static constexpr std::array kOutcomeMetrics = {Metric::kDelivered, Metric::kRefused,    Metric::kDropped,
                                                 Metric::kBounced,   Metric::kTempfailed, Metric::kRejected,
                                                 Metric::kLost};
  BV_CHECK(in_progress_);
  in_progress_ = false;
  {
    MetricCounters::Update update(counters());
    counters().Subtract(Metric::kInProgress);
    counters().Add(kOutcomeMetrics[static_cast<size_t>(outcome)]);
    if (outcome == Outcome::kDelivered && infected_passed) counters().Add(Metric::kPassed);
  }
  services_.stats.Record(Phase::kTotal, services_.loop.Now() - data_began_at_);
  if (services_.log.Wants(Severity::kInfo)) LogMessage(kOutcomeMetrics[static_cast<size_t>(outcome)], status);
  record_ = {};
}

std::string Session::UsualHeader() {
  if (settings_->header.empty()) return {};
  if (local_host_.empty()) local_host_ = LocalAddress().Host();
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
  return {.message_bytes_max = MessageBytesMax(), .timeout = config().timeout};
}

// What the client was told in SIZE: the smaller of our limit and the server's; 0: none.
uint64_t Session::MessageBytesMax() const {
  const uint64_t own = config().message_bytes_max;
  const uint64_t servers = extensions_.size_bytes;
  return own == 0 || servers == 0 ? std::max(own, servers) : std::min(own, servers);
}

}  // namespace bivalve::appliance
