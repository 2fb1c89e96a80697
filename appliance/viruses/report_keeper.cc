#include "appliance/viruses/report_keeper.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "appliance/log/event.h"
#include "core/sha256.h"
#include "core/text.h"

namespace bivalve::appliance {

ReportKeeper::ReportKeeper(core::Loop& loop, LogWriter& log, ReportOutlet& outlet, Settings settings,
                           std::string debug_prefix, Callbacks callbacks)
    : log_(log),
      outlet_(outlet),
      temp_directory_(settings.temp_directory),
      debug_prefix_(std::move(debug_prefix)),
      callbacks_(std::move(callbacks)),
      quarantine_(loop, std::move(settings.temp_directory)),
      actions_(std::move(settings.virus_action)),
      wake_(loop) {}

void ReportKeeper::Change(Settings settings) {
  temp_directory_ = settings.temp_directory;
  quarantine_.set_directory(std::move(settings.temp_directory));
  actions_.set_command(std::move(settings.virus_action));
}

void ReportKeeper::Add(std::shared_ptr<VirusReport> report) {
  reports_.push_back(std::move(report));
  wake_.Notify();
}

void ReportKeeper::Stop() {
  stopping_ = true;
  wake_.Notify();
}

core::Task<void> ReportKeeper::Run() {
  while (!stopping_) {
    if (reports_.empty()) {
      (void)co_await wake_.Wait();
      continue;
    }
    const std::shared_ptr<VirusReport> report = std::move(reports_.front());
    reports_.pop_front();
    co_await Handle(*report);
    callbacks_.done();
  }
}

core::Task<void> ReportKeeper::Handle(VirusReport& report) {
  std::string path;
  if (report.body.valid()) path = co_await Keep(report);
  if (report.act) {
    StartAction(report, report.quarantine ? path : std::string_view());
  } else {
    outlet_.Done();
  }
}

// Returns the file's path; empty if the message could not be kept.
core::Task<std::string> ReportKeeper::Keep(VirusReport& report) {
  std::string path;
  const Quarantine::Content content = {report.body.get(), report.content_offset, report.content_bytes};
  const std::string_view prefix = report.quarantine ? kQuarantinePrefix : std::string_view(debug_prefix_);
  const absl::StatusOr<Quarantine::Kept> kept = co_await quarantine_.Keep(content, prefix);
  if (kept.ok()) {
    path = kept->path;
    if (report.quarantine) co_await KeepRecord(report, *kept);
    log_.Say(Severity::kDebug, report.session, core::Cat("message kept as: ", path));
  } else {
    outlet_.CountNotKept();
    log_.Say(Severity::kError, report.session,
             core::Cat("the message is not kept: ", std::string(kept.status().message())));
  }
  report.body.Reset();
  outlet_.BodyDone(report.content_bytes);
  co_return path;
}

core::Task<void> ReportKeeper::KeepRecord(VirusReport& report, const Quarantine::Kept& kept) {
  report.scanner_version = callbacks_.scanner_version(report.scanner);
  std::string json = ToJson(RecordOf(report, kept));
  const absl::Status recorded = co_await quarantine_.KeepRecord(kept.path, std::move(json));
  if (!recorded.ok()) {
    log_.Say(Severity::kError, report.session,
             core::Cat("the message is kept without its record: ", std::string(recorded.message())));
  }
}

// A report is finished when its command was started or has failed to start.
void ReportKeeper::StartAction(const VirusReport& report, std::string_view path) {
  log_.Say(Severity::kDebug, report.session, "executing virus action");
  const size_t waited = actions_.waiting();
  const absl::Status status = actions_.Add(ActionEnvironment(report, path, temp_directory_));
  if (!status.ok()) log_.Say(Severity::kError, report.session, std::string(status.message()));
  for (size_t i = actions_.waiting(); i < waited + 1; ++i) outlet_.Done();
}

void ReportKeeper::Reap() {
  const size_t waited = actions_.waiting();
  const absl::Status status = actions_.Reap();
  if (!status.ok()) log_.Say(Severity::kError, 0, std::string(status.message()));
  for (size_t i = actions_.waiting(); i < waited; ++i) outlet_.Done();
  callbacks_.done();
}

void ReportKeeper::RemoveLeftovers() {
  const std::string_view prefixes[] = {kQuarantinePrefix, debug_prefix_};
  if (const size_t removed = Quarantine::RemoveLeftovers(temp_directory_, prefixes); removed > 0)
    log_.Say(Severity::kNotice, 0,
             core::Cat("removed ", removed, " unfinished files from ", temp_directory_));
}

QuarantineRecord RecordOf(const VirusReport& report, const Quarantine::Kept& kept) {
  return {.id = kept.path.substr(kept.path.rfind('/') + 1),
          .time = report.found_at,
          .session = SessionText(report.session),
          .virus = report.virus,
          .from = report.sender,
          .mail_parameters = report.mail_parameters,
          .recipients = report.recipients,
          .recipients_left_out = report.recipients_left_out,
          .client = report.client,
          .helo = report.helo,
          .remote = report.remote,
          .remote_helo = report.remote_helo,
          .scanner = report.scanner,
          .scanner_version = report.scanner_version,
          .size_bytes = report.content_bytes,
          .sha256 = core::ToHex(kept.sha256)};
}

}  // namespace bivalve::appliance
