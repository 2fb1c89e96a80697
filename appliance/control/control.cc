#include "appliance/control/control.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <utility>

#include "appliance/control/http_server.h"
#include "appliance/control/stats_service.h"
#include "appliance/log/log_writer.h"
#include "appliance/process/service_notify.h"
#include "appliance/stats/accounting.h"
#include "appliance/viruses/report_keeper.h"
#include "core/await_op.h"
#include "core/ring.h"
#include "core/scope.h"
#include "core/text.h"
#include "net/address.h"
#include "net/socket_name.h"

namespace bivalve::appliance {
namespace {

// Interval between two checks that every message is accounted for.
constexpr core::Duration kAuditInterval = std::chrono::seconds(1);

sigset_t HandledSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR2, SIGCHLD}) sigaddset(&set, signal);
  return set;
}

ReportKeeper::Settings KeeperSettings(const Control::Settings& settings) {
  return {.temp_directory = settings.temp_directory, .virus_action = settings.virus_action};
}

}  // namespace

struct Control::Running {
  Running(Control& owner, std::unique_ptr<core::Ring> opened)
      : control(owner),
        ring(std::move(opened)),
        loop(*ring),
        tasks(loop),
        stop_wake(loop),
        audit_wake(loop),
        log(loop, owner.sink_, owner.shared_.log_reader),
        statistics(loop, owner.mailbox_, owner.workers_, accounting, owner.reports_, owner.options_.about),
        keeper(loop, log, owner.reports_, KeeperSettings(owner.options_.settings),
               owner.options_.debug_prefix,
               {.scanner_version =
                    [this](std::string_view scanner) { return statistics.ScannerVersion(scanner); },
                .done = [this] { stop_wake.Notify(); }}) {
    const sigset_t set = HandledSignals();
    signals.Reset(signalfd(-1, &set, SFD_CLOEXEC));
  }

  core::Task<void> ReadSignals();
  core::Task<void> Supervise();
  core::Task<void> Audit();
  void CheckAccounts();
  void GuardHost();

  Control& control;
  std::unique_ptr<core::Ring> ring;
  core::Loop loop;
  core::Scope tasks;
  core::Condition stop_wake;
  core::Condition audit_wake;
  AccountingCheck accounting;
  LogWriter log;
  StatsService statistics;
  ReportKeeper keeper;
  core::UniqueFd signals;
  std::unique_ptr<HttpServer> http;
  bool http_is_local = false;  // the HTTP listener is on a loopback address
  size_t workers_running = 0;
  bool stop = false;                      // asked to stop
  bool draining = false;                  // another process has the service
  std::vector<int> left;                  // listening sockets that the other process has not taken
  size_t workers_accepting = 0;           // among those that were told to drain
  std::function<void()> accepts_no_more;  // to be called when no worker accepts any more
  bool audit_done = false;                // every message has had its end
  bool signals_done = false;              // nobody needs signals any more
};

void Control::BlockSignals() {
  const sigset_t set = HandledSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // exceeding a file size limit is an error of the one message only
}

Control::Control(Options options, SharedState& shared, LogSink& sink)
    : shared_(shared),
      options_(std::move(options)),
      sink_(sink),
      reports_(options_.settings.report_bytes_max, [this](std::shared_ptr<VirusReport> report) {
        mailbox_.Post([this, report = std::move(report)] { running_->keeper.Add(report); });
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
  running_->keeper.RemoveLeftovers();
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
  if (running_ != nullptr) running_->log.Wake();
}

void Control::Change(Settings settings) {
  options_.settings = std::move(settings);
  running_->keeper.Change(KeeperSettings(options_.settings));
  running_->GuardHost();
  reports_.set_body_bytes_max(options_.settings.report_bytes_max);
}

StatsReport::About& Control::about() { return running_->statistics.about(); }

void Control::WakeLog() {
  mailbox_.Post([this] { running_->log.Wake(); });
}

int Control::Run() {
  Running& r = *running_;
  r.workers_running = workers_.size();
  for (Worker* worker : workers_) r.log.Add(worker->log_queue());
  if (options_.accepts) StartService();
  r.tasks.Spawn(mailbox_.Run(r.loop));
  r.tasks.Spawn(r.log.Run());
  r.tasks.Spawn(r.Supervise());
  r.tasks.Spawn(r.Audit());
  r.tasks.Spawn(r.ReadSignals());
  r.tasks.Spawn(r.keeper.Run());
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

// No guard elsewhere: a browser cannot reach a local socket, and an address in a network is meant for others.
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
      keeper.Reap();
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

// Waits for the order to stop, then for the workers, for ShutdownTimeOut at most.
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
    // Sessions that still run are cut off. None of their messages got 250 without the server's reply.
    log.DrainQueues();
    keeper.RemovePartial();
    control.sink_.Add(Severity::kWarning,
                      core::Cat("stopped with ", control.shared_.connections.load(), " connections open and ",
                                control.reports_.waiting(),
                                " infected messages not yet kept or reported after ShutdownTimeOut"));
    control.sink_.FlushBlocking();
    _exit(0);
  }
  CheckAccounts();
  if (draining) control.Say(Severity::kNotice, statistics.Report().Account());
  keeper.Stop();
  // ReadSignals waits in a read. A signal that it handles wakes it up, so that it sees that it is done.
  signals_done = true;
  kill(getpid(), SIGCHLD);
  audit_done = true;
  audit_wake.Notify();
  log.Stop();
  control.mailbox_.Close();
}

core::Task<void> Control::Running::Audit() {
  while (!audit_done) {
    CheckAccounts();
    (void)co_await audit_wake.Wait(loop.Now() + kAuditInterval);
  }
}

void Control::Running::CheckAccounts() {
  std::vector<MetricCounters::Values> values;
  for (const Worker* worker : control.workers_) values.push_back(worker->stats().counters.Read());
  for (const std::string& sentence : accounting.Look(values)) {
    log.Say(Severity::kError, 0, sentence);
  }
}

}  // namespace bivalve::appliance
