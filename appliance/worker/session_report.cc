// What a session gives to the control thread: messages to keep (Quarantine, DebugFiles), messages to run
// VirusAction for, and the description of itself.
#include <fcntl.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "appliance/worker/session.h"
#include "core/text.h"

namespace bivalve::appliance {

void Session::ReportMessage(core::Body& body, const scan::Verdict& verdict) {
  const bool infected = verdict.kind == scan::VerdictKind::kInfected;
  const bool keep = config().debug_files || (infected && config().quarantine);
  const bool act = infected && !config().virus_action.empty();
  if (services_.reports == nullptr || (!keep && !act)) return;

  VirusReport report;
  report.session = number_;
  report.quarantine = infected && config().quarantine;
  report.debug = keep && !report.quarantine;
  report.act = act;
  if (infected) {
    report.virus = verdict.text;
    report.found_at = std::chrono::system_clock::now();
    report.client = client_host_;
    report.server = server_.host();
    report.sender = transaction_.reverse_path;
    report.recipients = transaction_.recipients;
    report.recipients_left_out = transaction_.recipients_left_out();
    report.mail_parameters = transaction_.mail_parameters;
    report.helo = helo_;
    report.remote = original_client_.address;
    report.remote_helo = original_client_.helo;
    report.scanner = account_.record().scanner;
  }
  if (keep) {
    report.content_offset = body.content_offset();
    report.content_bytes = body.content_bytes();
    report.body.Reset(fcntl(body.fd(), F_DUPFD_CLOEXEC, 0));
    if (!report.body.valid()) {
      LogText(Severity::kError,
              core::Cat("the message cannot be kept: ", std::string_view(std::strerror(errno))));
      report.quarantine = report.debug = false;
    }
  }
  if (report.body.valid()) body.Share();
  if (services_.reports->Send(std::move(report))) return;
  counters().Add(Metric::kReportsLost);
  LogText(Severity::kError,
          "too many messages wait for Quarantine or VirusAction: this one is neither kept nor reported");
}

SessionInfo Session::Describe() const {
  const auto seconds_since = [this](core::MonoTime then) {
    return std::chrono::duration<double>(services_.loop.Now() - then).count();
  };
  SessionInfo info;
  info.number = number_;
  info.client = client_host_;
  info.helo = helo_;
  info.phase = phase_;
  info.age_seconds = seconds_since(began_at_);
  info.phase_seconds = seconds_since(phase_since_);
  info.messages = account_.messages();
  info.bytes = account_.content_bytes();
  const core::Body* incoming = incoming_ != nullptr ? incoming_ : transaction_.chunks.get();
  if (incoming != nullptr) info.bytes += incoming->content_bytes();
  if (transaction_.mail_accepted)
    info.from = transaction_.reverse_path.empty() ? "<>" : transaction_.reverse_path;
  if (scan_ != nullptr) {
    const scan::Request& request = scan_->current();
    info.scanner = request.held_by();
    if (info.scanner.empty()) {
      info.phase = SessionPhase::kWait;
    } else {
      info.phase_seconds = seconds_since(request.handed_at().value_or(phase_since_));
    }
  }
  return info;
}

}  // namespace bivalve::appliance
