// The part of a session that has a message scanned, in all its readings, and acts on the verdict.
#include <algorithm>
#include <array>
#include <memory>
#include <span>
#include <utility>

#include "appliance/worker/replies.h"
#include "appliance/worker/session.h"
#include "appliance/worker/session_limits.h"
#include "core/shrunken_file.h"
#include "core/text.h"
#include "net/header_section.h"
#include "net/line_survey.h"
#include "net/mime_parts.h"
#include "net/plain_mime.h"
#include "net/transfer_encoding.h"

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
scan::Verdict CannotBeShown(std::string_view why, scan::NoVerdict cause = scan::NoVerdict::kLimits) {
  scan::Verdict verdict;
  verdict.cause = cause;
  verdict.text = core::Cat("the message cannot be scanned as all its readers see it: ", why);
  return verdict;
}

// The content is moved to the front of its body in such steps, each of which takes less than a millisecond.
constexpr size_t kMoveBytesMax = size_t{4} << 20;
// A part is decoded in such steps, likewise.
constexpr size_t kDecodeBytesMax = size_t{512} << 10;

}  // namespace

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
      // It may read still, and would take a delivered message for failed if it does not.
      Answer(replies::kClientLeft);
      record_.reply = replies::kClientLeft;
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
  const net::LineSurvey survey = net::SurveyLines(body.content());
  verdict.kind = scan::VerdictKind::kClean;
  ScanEnd end = co_await ScanAsMail(request, body, header_, survey, deadline, verdict);
  if (survey.bare_cr && end == ScanEnd::kVerdict && !Settled(verdict)) {
    // To Exim, and to some mail programs, a CR ends a line.
    if (body.BareCrAsLf()) {
      const net::HeaderSection header =
          net::ExamineHeaderSection(body.content(), limits::kHeaderSectionBytesMax);
      end = co_await ScanAsMail(request, body, header, net::SurveyLines(body.content()), deadline, verdict);
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

// As mail, with the line ends that stand in the body: in the readings of its header section. Where readers
// may find other parts in it than the scanner, each part as a file of its own besides.
core::Task<Session::ScanEnd> Session::ScanAsMail(scan::Request& request, core::Body& body,
                                                 const net::HeaderSection& header, net::LineSurvey survey,
                                                 core::MonoTime deadline, scan::Verdict& verdict) {
  const bool plain = header.well_formed && net::IsPlainMime(body.content(), survey);
  // Then the body itself changes from one to the next.
  if (survey.bare_cr || !header.well_formed) request.SetSeveralReadings();
  ScanEnd end = co_await ScanHeads(request, body, header, deadline, verdict);
  if (plain || end != ScanEnd::kVerdict || Settled(verdict)) co_return end;
  const net::MimeParts parts = net::FindMimeParts(body.content());
  if (parts.too_many) Combine(CannotBeShown("it has too many parts"), verdict);
  co_return co_await ScanParts(body, parts, deadline, verdict);
}

// Each as a file of its own, decoded into a second body.
core::Task<Session::ScanEnd> Session::ScanParts(const core::Body& body, const net::MimeParts& parts,
                                                core::MonoTime deadline, scan::Verdict& verdict) {
  ScanEnd end = ScanEnd::kVerdict;
  scan::Request request(wake_);
  request.SetSeveralReadings();
  const scan::Request* const whole = std::exchange(request_, &request);
  std::unique_ptr<core::Body> decoded = co_await services_.bodies.AcquireInTime(0, deadline);
  bool has_room = decoded != nullptr;
  // What is a message again stands behind the front, as mail does. So these come first.
  for (const bool messages : {true, false}) {
    if (has_room && !messages) decoded->BeginWithoutFront();
    for (const net::MimePart& part : parts.parts) {
      if (part.message != messages || !has_room || end != ScanEnd::kVerdict || Settled(verdict)) continue;
      has_room = co_await DecodePart(body, part, *decoded, deadline);
      if (!has_room || decoded->content_bytes() == 0) continue;
      end = co_await AwaitVerdict(request, *decoded, deadline);
      if (end == ScanEnd::kVerdict) Combine(request.verdict(), verdict);
    }
  }
  if (!has_room)
    Combine(CannotBeShown("there is no room for a part of it", scan::NoVerdict::kError), verdict);
  services_.scanners.Abandon(request, std::move(decoded));
  request_ = whole;
  co_return end;
}

// False when there is no room for it.
core::Task<bool> Session::DecodePart(const core::Body& body, const net::MimePart& part, core::Body& decoded,
                                     core::MonoTime deadline) {
  decoded.Clear();
  net::TransferDecoder decoder(part.encoding, body.content().substr(part.begin, part.end - part.begin));
  for (;;) {
    while (decoded.room().size() < net::TransferDecoder::kRoomBytesMin) {
      const bool grown = co_await services_.bodies.GrowInTime(decoded, deadline);
      if (!grown) co_return false;
    }
    const std::span<char> room = decoded.room();
    const size_t bytes = decoder.Decode(room.first(std::min(room.size(), kDecodeBytesMax)));
    if (bytes == 0) co_return true;
    decoded.Extend(bytes);
    if (bytes + net::TransferDecoder::kRoomBytesMin > kDecodeBytesMax)
      (void)co_await wake_.Wait(services_.loop.Now());
  }
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
  const std::string status = core::Cat("VIRUS:", name);  // the log escapes it
  const bool enhanced = extensions_.enhanced_status_codes;
  switch (config().action) {
    case VirusPolicy::kDrop:
      co_return co_await AnswerAndReset(enhanced ? replies::kVirusDroppedEnhanced : replies::kVirusDropped,
                                        Outcome::kDropped, status);
    case VirusPolicy::kBounce:
      co_return co_await AnswerAndReset(enhanced ? replies::kVirusBouncedEnhanced : replies::kVirusBounced,
                                        Outcome::kBounced, status);
    case VirusPolicy::kPass: {
      std::string header = "X-Virus-Infected: ";
      core::AppendEscaped(header, name, 256, core::EscapeFor::kHeader);
      const Onward onward{.header = header + "\r\n",
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
  if (policy == FailurePolicy::kPass && !(body.Untouched() && body.as_received()))
    policy = FailurePolicy::kTempfail;
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

}  // namespace bivalve::appliance
