// The part of a session that handles messages: DATA and BDAT, the scan, and what becomes of the verdict.
// Every path through here that has received a message ends in exactly one Conclude().
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>

#include "appliance/replies.h"
#include "appliance/session.h"
#include "appliance/session_limits.h"
#include "core/shrunken_file.h"
#include "core/text.h"
#include "net/header_section.h"
#include "net/part_headers.h"
#include "net/smtp_reply.h"

namespace bivalve::appliance {
namespace {

FailureCause CauseOf(scan::NoVerdict cause) {
  switch (cause) {
    case scan::NoVerdict::kDown:
      return FailureCause::kDown;
    case scan::NoVerdict::kTimeout:
      return FailureCause::kTimeout;
    case scan::NoVerdict::kError:
      return FailureCause::kError;
    case scan::NoVerdict::kSize:
      return FailureCause::kSize;
    case scan::NoVerdict::kLimits:
      return FailureCause::kLimits;
  }
  BV_CHECK(false);
}

constexpr std::array<std::string_view, kFailureCauses> kCauseNames = {"down", "timeout", "error", "size",
                                                                      "limits"};
constexpr std::array<Metric, kFailureCauses> kCauseMetrics = {Metric::kFailedDown, Metric::kFailedTimeout,
                                                              Metric::kFailedError, Metric::kFailedSize,
                                                              Metric::kFailedLimits};

// What a further reading says, to what the ones before it have said.
void Combine(const scan::Verdict& found, scan::Verdict& verdict) {
  const bool first = verdict.kind == scan::VerdictKind::kClean;
  if (first || found.kind == scan::VerdictKind::kInfected) verdict = found;
}

// No further reading changes it, or would be scanned.
bool Settled(const scan::Verdict& verdict) {
  return verdict.kind == scan::VerdictKind::kInfected ||
         (verdict.kind == scan::VerdictKind::kNone && verdict.cause == scan::NoVerdict::kDown);
}

// A reading that there is no way to show to a scanner.
scan::Verdict CannotBeShown(std::string_view why) {
  scan::Verdict verdict;
  verdict.cause = scan::NoVerdict::kLimits;
  verdict.text = core::Cat("the message cannot be scanned as all its readers see it: ", why);
  return verdict;
}

// The content is moved to the front of its body in such steps, each of which takes less than a millisecond.
constexpr size_t kMoveBytesMax = size_t{4} << 20;

}  // namespace

core::Task<Session::CloseReason> Session::Data(std::string_view arguments, std::string_view line) {
  // RFC 3030: DATA and BDAT do not mix in one transaction (section 2), and binary mail needs BDAT (section
  // 3).
  if (transaction_.in_chunks() || transaction_.binary_mime) {
    Answer(replies::kBadSequence);
    co_return CloseReason::kNone;
  }
  if (!transaction_.has_recipients() || !arguments.empty()) co_return co_await DataWithoutRecipients(line);
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

// The server has accepted no recipient (or DATA has arguments), so the refusal is the server's to word. One
// that says 354 all the same gets no mail (RFC 2920 section 3.1).
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
  } else if (data.dot_after_bare_newline && config().bare_newline == BareNewline::kGuard &&
             !extensions_.chunking) {
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

core::Task<Session::CloseReason> Session::ScanAndAct(std::unique_ptr<core::Body> body,
                                                     bool may_need_stuffing) {
  scan::Request request(wake_);
  const core::MonoTime began = services_.loop.Now();
  Enter(SessionPhase::kScan);
  request_ = &request;
  scan::Verdict verdict;
  const ScanEnd end = co_await ScanReadings(request, *body, verdict);
  if (core::ShrunkenFilesMet() != shrunken_files_ && verdict.kind == scan::VerdictKind::kClean) {
    verdict.kind = scan::VerdictKind::kNone;
    verdict.cause = scan::NoVerdict::kError;
    verdict.text = "the message's memory was cut short while it was scanned";
  }
  request_ = nullptr;
  services_.stats.Record(Phase::kScan, services_.loop.Now() - began);
  const core::MonoTime handed_at = request.handed_at().value_or(services_.loop.Now());
  record_.wait = handed_at - began;
  record_.scan = services_.loop.Now() - handed_at;
  record_.method = request.method();
  if (request.scanner() >= 0) record_.scanner = services_.scanners.scanner_name(request.scanner());
  CloseReason reason = CloseReason::kNone;
  if (end == ScanEnd::kVerdict && verdict.kind != scan::VerdictKind::kNone) ReportMessage(*body, verdict);
  switch (end) {
    case ScanEnd::kClientLeft:
      LogText(Severity::kError, "client left during the scan");
      record_.cause = "client left";
      Conclude(Outcome::kTempfailed, "CLAMAV-ERROR");
      reason = CloseReason::kClientGone;
      break;
    case ScanEnd::kTimeout:
      verdict.kind = scan::VerdictKind::kNone;
      verdict.cause = scan::NoVerdict::kTimeout;
      verdict.text = "no scanner answered in time";
      reason = co_await ActOnFailure(*body, verdict, may_need_stuffing);
      break;
    case ScanEnd::kVerdict:
      switch (verdict.kind) {
        case scan::VerdictKind::kClean: {
          counters().Add(Metric::kClean);
          const Onward onward{.header = UsualHeader(),
                              .header_at_top = settings_->header.at_top(),
                              .may_need_stuffing = may_need_stuffing,
                              .status = "CLEAN"};
          reason = co_await DeliverMessage(*body, onward);
          break;
        }
        case scan::VerdictKind::kInfected:
          reason = co_await ActOnVirus(*body, verdict.text, may_need_stuffing);
          break;
        case scan::VerdictKind::kNone:
          reason = co_await ActOnFailure(*body, verdict, may_need_stuffing);
          break;
      }
      break;
  }
  // A scanner that has not answered may still be reading the body.
  services_.scanners.Abandon(request, std::move(body));
  ForgetTransaction();
  co_return reason;
}

// Scans the message in every way in which somebody may read it. One that is infected makes the message
// infected, also behind one without a verdict: that may be let through (ScanFailure).
core::Task<Session::ScanEnd> Session::ScanReadings(scan::Request& request, core::Body& body,
                                                   scan::Verdict& verdict) {
  const core::MonoTime deadline = services_.loop.Now() + config().clam_timeout;
  const bool bare_cr = net::HasBareCr(body.content());
  verdict.kind = scan::VerdictKind::kClean;
  ScanEnd end = co_await ScanAsMail(request, body, header_, bare_cr, deadline, verdict);
  if (bare_cr && end == ScanEnd::kVerdict && !Settled(verdict)) {
    // To Exim, and to some mail programs, a CR ends a line.
    if (body.BareCrAsLf()) {
      const net::HeaderSection header =
          net::ExamineHeaderSection(body.content(), limits::kHeaderSectionBytesMax);
      end = co_await ScanAsMail(request, body, header, true, deadline, verdict);
      if (end == ScanEnd::kVerdict) body.RestoreBareCr();
    } else {
      Combine(CannotBeShown("it has too many CR without LF"), verdict);
    }
  }
  if (!header_.well_formed && end == ScanEnd::kVerdict && !Settled(verdict)) {
    // As a file, with nothing in front of it. The content stays there, and is delivered from there.
    while (!body.MoveToFront(kMoveBytesMax)) (void)co_await wake_.Wait(services_.loop.Now());
    end = co_await AwaitVerdict(request, body, deadline);
    if (end == ScanEnd::kVerdict) Combine(request.verdict(), verdict);
  }
  co_return end;
}

// As mail, with the line ends that stand in the body: in the readings of its header section, and once more in
// these where header sections of its parts are faulty. `several`: there are other readings besides.
core::Task<Session::ScanEnd> Session::ScanAsMail(scan::Request& request, core::Body& body,
                                                 const net::HeaderSection& header, bool several,
                                                 core::MonoTime deadline, scan::Verdict& verdict) {
  net::PartHeaders parts = net::ExaminePartHeaders(body.content(), header.bytes);
  if (several || !header.well_formed || !parts.edits.empty()) request.SetSeveralReadings();
  ScanEnd end = co_await ScanHeads(request, body, header, deadline, verdict);
  if (end != ScanEnd::kVerdict || Settled(verdict)) co_return end;
  if (parts.unreadable) {
    Combine(CannotBeShown("the header section of a part has no end"), verdict);
  } else if (!parts.edits.empty()) {
    body.Apply(std::move(parts.edits));
    end = co_await ScanHeads(request, body, header, deadline, verdict);
    if (end == ScanEnd::kVerdict) body.UndoEdits();
  }
  co_return end;
}

// The readings of one header section.
core::Task<Session::ScanEnd> Session::ScanHeads(scan::Request& request, core::Body& body,
                                                const net::HeaderSection& header, core::MonoTime deadline,
                                                scan::Verdict& verdict) {
  static constexpr net::Reading kAsItIs;
  const std::span<const net::Reading> readings =
      header.well_formed ? std::span(&kAsItIs, 1) : std::span<const net::Reading>(header.readings);
  for (const net::Reading& reading : readings) {
    if (!reading.as_it_is) body.ReplaceHead(reading.head_bytes, net::ReadHead(body.content(), reading));
    const ScanEnd end = co_await AwaitVerdict(request, body, deadline);
    // A scanner may still read it: it stays as it is.
    if (end != ScanEnd::kVerdict) co_return end;
    body.RestoreHead();
    Combine(request.verdict(), verdict);
    if (Settled(verdict)) break;
  }
  co_return ScanEnd::kVerdict;
}

// Waits for the verdict, as long as the client does.
core::Task<Session::ScanEnd> Session::AwaitVerdict(scan::Request& request, core::Body& body,
                                                   core::MonoTime deadline) {
  services_.scanners.Submit(request, body);
  while (!request.done()) {
    if (ClientLeft()) co_return ScanEnd::kClientLeft;
    // A client that has sent its next commands already is not read from: there is nothing to learn, and the
    // commands must stay where they are.
    if (client_.stream().input().empty()) client_.stream().StartReading();
    // What the server says now is no answer to the message; Deliver looks for it.
    if (server_.stream().input().empty()) server_.stream().StartReading();
    const bool in_time = co_await wake_.Wait(deadline);
    if (!in_time && !request.done()) co_return ScanEnd::kTimeout;
  }
  co_return ScanEnd::kVerdict;
}

core::Task<Session::CloseReason> Session::ActOnVirus(core::Body& body, const std::string& name,
                                                     bool may_need_stuffing) {
  counters().Add(Metric::kInfected);
  record_.virus = name;
  services_.stats.viruses.Add(name);
  services_.stats.recent_viruses.Add(name, EventTime(), number_, client_host_);
  std::string printable;
  core::AppendEscaped(printable, name, 256);
  const std::string status = core::Cat("VIRUS:", printable);
  const bool enhanced = extensions_.enhanced_status_codes;
  switch (config().action) {
    case VirusPolicy::kDrop:
      co_return co_await AnswerAndReset(enhanced ? replies::kVirusDroppedEnhanced : replies::kVirusDropped,
                                        Outcome::kDropped, status);
    case VirusPolicy::kBounce:
      co_return co_await AnswerAndReset(enhanced ? replies::kVirusBouncedEnhanced : replies::kVirusBounced,
                                        Outcome::kBounced, status);
    case VirusPolicy::kPass: {
      const Onward onward{.header = core::Cat("X-Virus-Infected: ", printable, "\r\n"),
                          .may_need_stuffing = may_need_stuffing,
                          .infected = true,
                          .status = status};
      co_return co_await DeliverMessage(body, onward);
    }
  }
  BV_CHECK(false);
}

// There is no silent way through: a message without a verdict has a cause, and ScanFailure says what becomes
// of it.
core::Task<Session::CloseReason> Session::ActOnFailure(core::Body& body, const scan::Verdict& verdict,
                                                       bool may_need_stuffing) {
  const auto cause = static_cast<size_t>(CauseOf(verdict.cause));
  record_.cause = kCauseNames[cause];
  counters().Add(Metric::kScanFailed);
  counters().Add(kCauseMetrics[cause]);
  LogText(Severity::kError, verdict.text);
  FailurePolicy policy = config().scan_failure[cause];
  // Given up in the middle of its readings, it stands as the scanner has it, and cannot be sent on.
  if (policy == FailurePolicy::kPass && !body.as_received()) policy = FailurePolicy::kTempfail;
  switch (policy) {
    case FailurePolicy::kTempfail:
      co_return co_await AnswerAndReset(replies::kScanTempfail[cause], Outcome::kTempfailed, "CLAMAV-ERROR");
    case FailurePolicy::kReject:
      co_return co_await AnswerAndReset(replies::kScanReject[cause], Outcome::kRejected, "CLAMAV-ERROR");
    case FailurePolicy::kPass: {
      const Onward onward{.header = core::Cat("X-Virus-Scanned: not scanned (", kCauseNames[cause], ")\r\n"),
                          .may_need_stuffing = may_need_stuffing,
                          .status = core::Cat("NOT-SCANNED:", kCauseNames[cause])};
      co_return co_await DeliverMessage(body, onward);
    }
  }
  BV_CHECK(false);
}

core::Task<Session::CloseReason> Session::DeliverMessage(core::Body& body, const Onward& onward) {
  const net::Delivery delivery{
      .content = body.content(),
      .header = onward.header,
      .header_offset = onward.header.empty() || onward.header_at_top ? 0 : header_.bytes,
      .chunking = extensions_.chunking,
      .may_need_stuffing = onward.may_need_stuffing,
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
  record_.reply_is_servers = result.status != net::DeliveryResult::Status::kLost;
  switch (result.status) {
    case net::DeliveryResult::Status::kReplied:
      Answer(text);
      Conclude(net::IsPositive(result.code) ? Outcome::kDelivered : Outcome::kRefused, onward.status,
               onward.infected);
      if (result.code == 421) co_return CloseReason::kQuit;
      // After a BDAT that failed the server's state is not known (RFC 3030 section 2).
      if (!net::IsPositive(result.code) && extensions_.chunking) co_return co_await ResetServer();
      co_return CloseReason::kNone;
    case net::DeliveryResult::Status::kRefusedData:
      Answer(text);
      Conclude(Outcome::kRefused, onward.status);
      if (result.code == 421) co_return CloseReason::kQuit;
      co_return co_await ResetServer();
    case net::DeliveryResult::Status::kLost:
      LogText(Severity::kError, "connection to the mail server was lost before its final reply");
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
