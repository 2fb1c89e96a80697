#include "appliance/control/control.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <utility>

#include "appliance/control/http_server.h"
#include "appliance/control/stats_service.h"
#include "appliance/process/service_notify.h"
#include "appliance/stats/accounting.h"
#include "appliance/viruses/quarantine.h"
#include "appliance/viruses/quarantine_record.h"
#include "appliance/viruses/virus_action.h"
#include "core/await_op.h"
#include "core/ring.h"
#include "core/scope.h"
#include "core/text.h"
#include "net/address.h"
#include "net/socket_name.h"

namespace bivalve::appliance {
namespace {

// Between two looks at the queues while lines keep coming.
constexpr core::Duration kLogInterval = std::chrono::milliseconds(50);
// Between two looks at whether every message is accounted for.
constexpr core::Duration kAuditInterval = std::chrono::seconds(1);

sigset_t HandledSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR2, SIGCHLD}) sigaddset(&set, signal);
  return set;
}

// What is known of a quarantined message.
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

}  // namespace

struct Control::Running {
  Running(Control& owner, std::unique_ptr<core::Ring> opened)
      : control(owner),
        ring(std::move(opened)),
        loop(*ring),
        tasks(loop),
        log_wake(loop),
        stop_wake(loop),
        audit_wake(loop),
        report_wake(loop),
        quarantine(loop, owner.options_.settings.temp_directory),
        actions(owner.options_.settings.virus_action),
        statistics(loop, owner.mailbox_, owner.workers_, accounting, owner.reports_, owner.options_.about) {
    const sigset_t set = HandledSignals();
    signals.Reset(signalfd(-1, &set, SFD_CLOEXEC));
  }

  core::Task<void> ReadSignals();
  core::Task<void> WriteLog();
  core::Task<void> Supervise();
  core::Task<void> Audit();
  void CheckAccounts();
  core::Task<void> HandleReports();
  core::Task<void> HandleReport(VirusReport& report);
  std::string ScannerVersion(std::string_view scanner) const;
  void StartAction(const VirusReport& report, std::string_view path);
  void ReapActions();
  void Log(Severity severity, uint64_t session, std::string_view text);
  bool DrainQueues();
  void GuardHost();

  Control& control;
  std::unique_ptr<core::Ring> ring;
  core::Loop loop;
  core::Scope tasks;
  core::Condition log_wake;
  core::Condition stop_wake;
  core::Condition audit_wake;
  AccountingCheck accounting;
  core::Condition report_wake;
  std::deque<std::shared_ptr<VirusReport>> reports;
  Quarantine quarantine;
  VirusActions actions;
  core::UniqueFd signals;
  StatsService statistics;
  std::unique_ptr<HttpServer> http;
  bool http_is_local = false;  // on a loopback address
  size_t workers_running = 0;
  bool stop = false;                      // asked to stop
  bool draining = false;                  // another process has the service
  std::vector<int> left;                  // by it, of the listening sockets
  size_t workers_accepting = 0;           // of those that have been told to drain
  std::function<void()> accepts_no_more;  // to be called when there is none
  bool log_done = false;                  // nothing will be written any more
  bool reports_done = false;              // nothing will be kept or reported any more
  bool signals_done = false;              // nobody needs signals any more
  std::string record;
};

void Control::BlockSignals() {
  const sigset_t set = HandledSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // a file size limit is an error of the one message
}

Control::Control(Options options, SharedState& shared, LogSink& sink)
    : shared_(shared),
      options_(std::move(options)),
      sink_(sink),
      reports_(options_.settings.report_bytes_max, [this](std::shared_ptr<VirusReport> report) {
        mailbox_.Post([this, report = std::move(report)] {
          running_->reports.push_back(report);
          running_->report_wake.Notify();
        });
      }) {}

Control::~Control() = default;

absl::Status Control::Open() {
  core::Ring::Options options;
  options.submissions = 64;
  options.completions = 256;
  options.buffers = 16;
  auto ring = core::Ring::Open(options);
  if (!ring.ok()) return ring.status();
  running_ = std::make_unique<Running>(*this, std::move(*ring));
  const std::string& directory = options_.settings.temp_directory;
  const std::string_view prefixes[] = {kQuarantinePrefix, options_.debug_prefix};
  if (const size_t removed = Quarantine::RemoveLeftovers(directory, prefixes); removed > 0)
    sink_.Add(Severity::kNotice, core::Cat("removed ", removed, " unfinished files from ", directory));
  return absl::OkStatus();
}

void Control::WorkerFinished() {
  mailbox_.Post([this] {
    --running_->workers_running;
    running_->stop_wake.Notify();
  });
}

void Control::Say(Severity severity, std::string_view line) {
  sink_.Add(severity, line);
  if (running_ != nullptr) running_->log_wake.Notify();
}

void Control::Change(Settings settings) {
  options_.settings = std::move(settings);
  running_->quarantine.set_directory(options_.settings.temp_directory);
  running_->actions.set_command(options_.settings.virus_action);
  running_->GuardHost();
  reports_.set_body_bytes_max(options_.settings.report_bytes_max);
}

StatsReport::About& Control::about() { return running_->statistics.about(); }

void Control::WakeLog() {
  mailbox_.Post([this] { running_->log_wake.Notify(); });
}

int Control::Run() {
  Running& r = *running_;
  r.workers_running = workers_.size();
  if (options_.accepts) StartService();
  r.tasks.Spawn(mailbox_.Run(r.loop));
  r.tasks.Spawn(r.WriteLog());
  r.tasks.Spawn(r.Supervise());
  r.tasks.Spawn(r.Audit());
  r.tasks.Spawn(r.ReadSignals());
  r.tasks.Spawn(r.HandleReports());
  while (r.tasks.running() > 0 || (r.http != nullptr && !r.http->stopped())) r.loop.Turn();
  return 0;
}

core::Loop& Control::loop() { return running_->loop; }

void Control::Spawn(core::Task<void> task) { running_->tasks.Spawn(std::move(task)); }

bool Control::AnyScannerUp() const { return running_->statistics.Report().AnyScannerUp(); }

void Control::StartService() {
  Running& r = *running_;
  if (options_.stats_fd.valid()) {
    const net::SocketAddress address = net::SocketName(options_.stats_fd.get());
    r.http_is_local = address.family() != AF_UNIX && address.is_loopback();
    r.http = std::make_unique<HttpServer>(r.loop, std::move(options_.stats_fd), r.statistics.Routes());
    r.GuardHost();
    r.http->Start();
  }
  for (Worker* worker : workers_) worker->Accept();
}

void Control::LookAgain() {
  if (running_->http != nullptr) running_->http->LookAgain();
  for (Worker* worker : workers_) worker->LookAgain();
}

void Control::Drain(std::vector<int> left, std::function<void()> accepts_no_more) {
  running_->accepts_no_more = std::move(accepts_no_more);
  running_->draining = true;
  running_->left = std::move(left);
  running_->stop_wake.Notify();
}

// A local socket cannot be reached by a browser, and an address in a network is meant for others.
void Control::Running::GuardHost() {
  if (http_is_local) http->GuardHost(control.options_.settings.host_name);
}

core::Task<void> Control::Running::ReadSignals() {
  signalfd_siginfo info = {};
  for (;;) {
    const core::IoRequest read = core::IoRequest::Read(signals.get(), core::BytesIn(info));
    const core::IoResult result = co_await core::AwaitOp(loop, read);
    if (signals_done) co_return;
    if (result.ok() && info.ssi_signo == SIGCHLD) {
      ReapActions();
      continue;
    }
    const bool stopped = !result.ok() || info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT;
    if (stopped) {
      stop = true;
      stop_wake.Notify();
      if (!result.ok()) co_return;
      continue;
    }
    if (info.ssi_signo == SIGHUP) {
      if (!stop && control.options_.hang_up) control.options_.hang_up();
      continue;
    }
    if (!stop && control.options_.restart) control.options_.restart();
  }
}

// Waits for the order to stop, then for the workers, as long as ShutdownTimeOut allows.
core::Task<void> Control::Running::Supervise() {
  while (!stop && !draining) (void)co_await stop_wake.Wait();
  auto busy = [this] { return workers_running > 0 || control.reports_.waiting() > 0; };
  if (draining) {
    if (http != nullptr) co_await http->Stop();
    workers_accepting = control.workers_.size();
    for (Worker* worker : control.workers_) {
      worker->Drain(left, [this] {
        control.mailbox_.Post([this] {
          if (--workers_accepting == 0) accepts_no_more();
        });
      });
    }
    const core::MonoTime until = loop.Now() + control.options_.settings.drain_timeout;
    while (!stop && busy() && loop.Now() < until) (void)co_await stop_wake.Wait(until);
  } else {
    statistics.SetStopping();
    NotifyServiceManager("STOPPING=1");
  }
  if (control.options_.stopping) control.options_.stopping();
  if (!draining) {
    control.sink_.Add(Severity::kNotice, "stopping: no new connections are accepted");
  } else if (busy()) {
    control.sink_.Add(Severity::kNotice, "the sessions that are left are ended");
  }
  for (Worker* worker : control.workers_) worker->Stop();
  const core::MonoTime deadline = loop.Now() + control.options_.settings.shutdown_timeout;
  bool in_time = true;
  while (in_time && busy()) in_time = co_await stop_wake.Wait(deadline) || !busy();
  if (http != nullptr && !draining) co_await http->Stop();
  if (!in_time) {
    // Sessions that go on are cut: none of their messages was answered 250 without the server's reply.
    DrainQueues();
    quarantine.RemovePartial();
    control.sink_.Add(Severity::kWarning,
                      core::Cat("stopped with ", control.shared_.connections.load(), " connections open and ",
                                control.reports_.waiting(),
                                " infected messages not yet kept or reported after ShutdownTimeOut"));
    control.sink_.FlushBlocking();
    _exit(0);
  }
  CheckAccounts();
  if (draining) control.Say(Severity::kNotice, statistics.Report().Account());
  reports_done = true;
  report_wake.Notify();
  // ReadSignals sits in a read; any signal that it looks for lets it see that it is done.
  signals_done = true;
  kill(getpid(), SIGCHLD);
  log_done = true;
  audit_wake.Notify();
  log_wake.Notify();
  control.mailbox_.Close();
}

core::Task<void> Control::Running::Audit() {
  while (!log_done) {
    CheckAccounts();
    (void)co_await audit_wake.Wait(loop.Now() + kAuditInterval);
  }
}

void Control::Running::CheckAccounts() {
  std::vector<MetricCounters::Values> values;
  for (const Worker* worker : control.workers_) values.push_back(worker->stats().counters.Read());
  for (const std::string& sentence : accounting.Look(values)) {
    control.sink_.Add(Severity::kError, sentence);
    log_wake.Notify();
  }
}

// One report after the other: a file, then the command that is told its name.
core::Task<void> Control::Running::HandleReports() {
  while (!reports_done) {
    if (reports.empty()) {
      (void)co_await report_wake.Wait();
      continue;
    }
    const std::shared_ptr<VirusReport> report = std::move(reports.front());
    reports.pop_front();
    co_await HandleReport(*report);
    stop_wake.Notify();
  }
}

// As the scanner said last, to whichever worker asked it; empty when it is not known, or no scanner any more.
std::string Control::Running::ScannerVersion(std::string_view scanner) const {
  const StatsReport::About& about = control.about();
  const auto found = std::ranges::find(about.scanners, scanner);
  const auto index = static_cast<size_t>(found - about.scanners.begin());
  if (found == about.scanners.end()) return {};
  const size_t row = about.scanner_rows.empty() ? index : about.scanner_rows[index];
  for (const Worker* worker : control.workers_) {
    if (row >= worker->stats().scanners.size()) continue;
    if (std::string version = worker->stats().scanners[row]->version.Get(); !version.empty()) return version;
  }
  return {};
}

core::Task<void> Control::Running::HandleReport(VirusReport& report) {
  std::string path;
  if (report.body.valid()) {
    const Quarantine::Content content = {report.body.get(), report.content_offset, report.content_bytes};
    const std::string_view prefix =
        report.quarantine ? kQuarantinePrefix : std::string_view(control.options_.debug_prefix);
    absl::StatusOr<Quarantine::Kept> kept = co_await quarantine.Keep(content, prefix);
    if (kept.ok()) {
      path = kept->path;
      if (report.quarantine) {
        report.scanner_version = ScannerVersion(report.scanner);
        std::string json = ToJson(RecordOf(report, *kept));
        const absl::Status recorded = co_await quarantine.KeepRecord(path, std::move(json));
        if (!recorded.ok()) {
          Log(Severity::kError, report.session,
              core::Cat("the message is kept without its record: ", std::string(recorded.message())));
        }
      }
      Log(Severity::kDebug, report.session, core::Cat("message kept as: ", path));
    } else {
      control.reports_.CountNotKept();
      Log(Severity::kError, report.session,
          core::Cat("the message is not kept: ", std::string(kept.status().message())));
    }
    report.body.Reset();
    control.reports_.BodyDone(report.content_bytes);
  }
  if (report.act) {
    StartAction(report, report.quarantine ? path : std::string_view());
  } else {
    control.reports_.Done();
  }
}

// A report is done with when its command was started, or could not be.
void Control::Running::StartAction(const VirusReport& report, std::string_view path) {
  Log(Severity::kDebug, report.session, "executing virus action");
  const size_t waited = actions.waiting();
  const absl::Status status =
      actions.Add(ActionEnvironment(report, path, control.options_.settings.temp_directory));
  if (!status.ok()) Log(Severity::kError, report.session, std::string(status.message()));
  for (size_t i = actions.waiting(); i < waited + 1; ++i) control.reports_.Done();
}

void Control::Running::ReapActions() {
  const size_t waited = actions.waiting();
  const absl::Status status = actions.Reap();
  if (!status.ok()) Log(Severity::kError, 0, std::string(status.message()));
  for (size_t i = actions.waiting(); i < waited; ++i) control.reports_.Done();
  stop_wake.Notify();
}

void Control::Running::Log(Severity severity, uint64_t session, std::string_view text) {
  Event event;
  event.severity = severity;
  event.session = session;
  event.time_us = EventTime();
  event.fields.push_back({EventField::kDetail, text});
  control.sink_.Add(event);
  log_wake.Notify();
}

bool Control::Running::DrainQueues() {
  bool any = false;
  Event event;
  for (Worker* worker : control.workers_) {
    while (worker->log_queue().Pop(record)) {
      any = true;
      if (DecodeEvent(record, event)) control.sink_.Add(event);
    }
  }
  return any;
}

// Looks into the queues every kLogInterval while lines come, then sleeps until a worker wakes it.
core::Task<void> Control::Running::WriteLog() {
  std::atomic<bool>& asleep = control.shared_.log_reader.asleep;
  for (;;) {
    const bool last = log_done;
    bool any = DrainQueues();
    co_await control.sink_.Flush(loop);
    if (last) co_return;
    if (any) {
      (void)co_await log_wake.Wait(loop.Now() + kLogInterval);
      continue;
    }
    asleep.store(true);
    // Pairs with EventLog::Commit: a record that came before it saw us asleep is found now.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    any = DrainQueues();
    if (!any) (void)co_await log_wake.Wait();
    asleep.store(false);
  }
}

}  // namespace bivalve::appliance
