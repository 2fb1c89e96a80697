// The part of a session that has a message scanned and acts on the verdict.
#include <array>
#include <memory>
#include <utility>

#include "appliance/worker/replies.h"
#include "appliance/worker/session.h"
#include "core/text.h"

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

}  // namespace

core::Task<CloseReason> Session::ScanAndAct(std::unique_ptr<core::Body> body, bool may_need_stuffing) {
  MessageScan scan(services_, wake_, client_, server_);
  const core::MonoTime began = services_.loop.Now();
  SetPhase(SessionPhase::kScan);
  scan_ = &scan;
  const MessageScan::End end = co_await scan.Run(*body, header_, began + config().clam_timeout);
  scan_ = nullptr;
  scan::Verdict& verdict = scan.verdict();
  if (account_.MemoryWasCut() && verdict.kind == scan::VerdictKind::kClean) {
    verdict.kind = scan::VerdictKind::kNone;
    verdict.cause = scan::NoVerdict::kError;
    verdict.text = "the message's memory was cut short while it was scanned";
  }
  const scan::Request& request = scan.whole();
  MessageRecord& record = account_.record();
  services_.stats.Record(Phase::kScan, services_.loop.Now() - began);
  const core::MonoTime handed_at = request.handed_at().value_or(services_.loop.Now());
  record.wait = handed_at - began;
  record.scan = services_.loop.Now() - handed_at;
  record.method = request.method();
  if (request.scanner() >= 0) record.scanner = services_.scanners.scanner_name(request.scanner());
  CloseReason reason = CloseReason::kNone;
  if (end == MessageScan::End::kVerdict && verdict.kind != scan::VerdictKind::kNone)
    ReportMessage(*body, verdict);
  switch (end) {
    case MessageScan::End::kClientLeft:
      LogText(Severity::kError, "client left during the scan");
      record.cause = "client left";
      // The client may still read, and then gets this reply. If it does not read, it takes the message for
      // failed, so the message must not be delivered.
      Answer(replies::kClientLeft);
      record.reply = LineOf(replies::kClientLeft);
      Conclude(Outcome::kTempfailed, "CLAMAV-ERROR");
      reason = CloseReason::kClientGone;
      break;
    case MessageScan::End::kTimeout:
      verdict.kind = scan::VerdictKind::kNone;
      verdict.cause = scan::NoVerdict::kTimeout;
      verdict.text = "no scanner answered in time";
      reason = co_await ActOnFailure(*body, scan, may_need_stuffing);
      break;
    case MessageScan::End::kVerdict:
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
          reason = co_await ActOnFailure(*body, scan, may_need_stuffing);
          break;
      }
      break;
  }
  // A scanner that has not answered may still be reading the body.
  scan.Finish(std::move(body));
  ForgetTransaction();
  co_return reason;
}

core::Task<CloseReason> Session::ActOnVirus(core::Body& body, const std::string& name,
                                            bool may_need_stuffing) {
  counters().Add(Metric::kInfected);
  account_.record().virus = name;
  services_.stats.viruses.Add(name);
  services_.stats.recent_viruses.Add(name, EventTime(), number_, client_host_);
  const std::string status = core::Cat("VIRUS:", name);  // the log escapes it
  switch (config().action) {
    case VirusPolicy::kDrop:
      co_return co_await AnswerAndReset(replies::kVirusDropped, Outcome::kDropped, status);
    case VirusPolicy::kBounce:
      co_return co_await AnswerAndReset(replies::kVirusBounced, Outcome::kBounced, status);
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

// No message passes silently without a verdict: the missing verdict has a cause, and ScanFailure decides by
// it.
core::Task<CloseReason> Session::ActOnFailure(core::Body& body, const MessageScan& scan,
                                              bool may_need_stuffing) {
  const scan::Verdict& verdict = scan.verdict();
  const auto cause = static_cast<size_t>(CauseOf(verdict.cause));
  account_.record().cause = kCauseNames[cause];
  counters().Add(Metric::kScanFailed);
  counters().Add(kCauseMetrics[cause]);
  LogText(Severity::kError, verdict.text);
  FailurePolicy policy = config().scan_failure[cause];
  // If the scan was given up between readings, the body is as the scanner has it, and cannot be sent on.
  if (policy == FailurePolicy::kPass && !(body.Untouched() && scan.as_received()))
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
