// What a session hands to the control thread: messages to keep (Quarantine, DebugFiles) and to run
// VirusAction for.
#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "appliance/session.h"
#include "core/text.h"

namespace bivalve::appliance {

void Session::ReportMessage(core::Body& body, std::string_view virus) {
  const bool infected = !virus.empty();
  const bool keep = config().debug_files || (infected && config().quarantine);
  const bool act = infected && !config().virus_action.empty();
  if (services_.reports == nullptr || (!keep && !act)) return;

  VirusReport report;
  report.session = number_;
  report.quarantine = infected && config().quarantine;
  report.debug = keep && !report.quarantine;
  report.act = act;
  report.virus = virus;
  if (act) {
    report.client = client_host_;
    report.server = server_host_;
    report.sender = transaction_.reverse_path;
    report.recipients = transaction_.recipient_lines;
    report.remote = original_client_.address;
    report.remote_helo = original_client_.helo;
  }
  if (keep) {
    report.content_offset = core::Body::kContentOffset;
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

}  // namespace bivalve::appliance
