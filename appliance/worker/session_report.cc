// What a session hands to the control thread: messages to keep (Quarantine, DebugFiles) and to run
// VirusAction for; the log's record of a message; and what a session tells of itself.
#include <fcntl.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "appliance/worker/session.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

// Longer values are cut in the log; no more of them goes into its queue than is seen of them.
constexpr size_t kLoggedBytesMax = 1025;

std::string_view MethodName(scan::Method method) {
  switch (method) {
    case scan::Method::kAuto:
      return {};
    case scan::Method::kFildes:
      return "fildes";
    case scan::Method::kInstream:
      return "instream";
  }
  BV_CHECK(false);
}

}  // namespace

void Session::LogMessage(Metric outcome, std::string_view status) {
  EventEncoder& event = services_.log.Begin(EventKind::kMessage, Severity::kInfo, number_);
  // What is empty is not known.
  const auto add = [&event](EventField name, std::string_view value) {
    if (!value.empty()) event.Add(name, value.substr(0, kLoggedBytesMax));
  };
  // The null reverse-path is "<>" in clamsmtpd's log too.
  add(EventField::kFrom,
      transaction_.reverse_path.empty() ? "<>" : std::string_view(transaction_.reverse_path));
  for (const std::string& path : transaction_.forward_paths) {
    event.Add(EventField::kTo, std::string_view(path).substr(0, kLoggedBytesMax));
  }
  event.Add(EventField::kStatus, status);
  if (services_.log.detailed()) {
    const core::MonoTime now = services_.loop.Now();
    const auto add_time = [&event](EventField name, core::Duration duration) {
      event.AddNumber(name, core::Microseconds(duration));
    };
    constexpr std::string_view kRejected = "REJECTED:";
    add(EventField::kClient, client_host_);
    add(EventField::kHelo, helo_);
    add(EventField::kRemote, original_client_.address);
    add(EventField::kRemoteHelo, original_client_.helo);
    event.AddNumber(EventField::kRecipients, transaction_.recipients_accepted);
    event.AddNumber(EventField::kSize, record_.content_bytes);
    add(EventField::kVirus, record_.virus);
    add(EventField::kScanner, record_.scanner);
    add(EventField::kMethod, MethodName(record_.method));
    add_time(EventField::kReceive, record_.receive);
    add_time(EventField::kWait, record_.wait);
    add_time(EventField::kScan, record_.scan);
    add_time(EventField::kDeliver, record_.deliver);
    add_time(EventField::kTotal, now - data_began_at_);
    add(EventField::kOutcome, kMetrics[static_cast<size_t>(outcome)].name);
    add(EventField::kCause, status.starts_with(kRejected) ? status.substr(kRejected.size()) : record_.cause);
    add(EventField::kReply, core::Trim(record_.reply, "\r\n"));
    if (!record_.reply.empty()) add(EventField::kReplyFrom, record_.reply_is_servers ? "server" : "bivalved");
  }
  services_.log.Commit();
}

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
    report.server = server_host_;
    report.sender = transaction_.reverse_path;
    report.recipients = transaction_.recipient_lines;
    report.recipients_left_out = transaction_.recipients_left_out;
    report.mail_parameters = transaction_.mail_parameters;
    report.recipient_parameters = transaction_.recipient_parameters;
    report.helo = helo_;
    report.remote = original_client_.address;
    report.remote_helo = original_client_.helo;
    report.scanner = record_.scanner;
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
  info.messages = messages_received_;
  info.bytes = content_bytes_received_;
  const core::Body* incoming = incoming_ != nullptr ? incoming_ : transaction_.chunks.get();
  if (incoming != nullptr) info.bytes += incoming->content_bytes();
  if (transaction_.mail_accepted)
    info.from = transaction_.reverse_path.empty() ? "<>" : transaction_.reverse_path;
  if (request_ != nullptr) {
    info.scanner = request_->held_by();
    if (info.scanner.empty()) {
      info.phase = SessionPhase::kWait;
    } else {
      info.phase_seconds = seconds_since(request_->handed_at().value_or(phase_since_));
    }
  }
  return info;
}

}  // namespace bivalve::appliance
