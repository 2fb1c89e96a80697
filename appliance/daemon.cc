#include "appliance/daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "appliance/control/control.h"
#include "appliance/control/limits_reader.h"
#include "appliance/control/live_settings.h"
#include "appliance/control/watchdog.h"
#include "appliance/log/log_sink.h"
#include "appliance/process/config_check.h"
#include "appliance/process/handover.h"
#include "appliance/process/hot_restart.h"
#include "appliance/process/listening.h"
#include "appliance/process/machine.h"
#include "appliance/process/pid_file.h"
#include "appliance/process/privileges.h"
#include "appliance/process/service_notify.h"
#include "appliance/settings/config.h"
#include "appliance/settings/config_file.h"
#include "appliance/worker/worker.h"
#include "core/shrunken_file.h"
#include "core/text.h"
#include "net/listener.h"
#include "net/socket_name.h"

#ifndef BIVALVE_VERSION
#define BIVALVE_VERSION "unknown"
#endif

namespace bivalve::appliance {
namespace {

constexpr int kExitOk = 0;
constexpr int kExitSystem = 1;
constexpr int kExitUsage = 2;

// The time after ShutdownTimeOut in which the process must have ended.
constexpr std::chrono::seconds kStopMargin{30};

// Tells the shell that started a daemon how the start went. Does nothing in the foreground.
class StartReport {
 public:
  explicit StartReport(int pipe_fd = -1) : pipe_(pipe_fd) {}
  void Done(int status) {
    if (!pipe_.valid()) return;
    const char byte = static_cast<char>(status);
    (void)!write(pipe_.get(), &byte, 1);
    pipe_.Reset();
  }

 private:
  core::UniqueFd pipe_;
};

void Say(const CommandLine& command_line, std::string_view text) {
  std::fprintf(stderr, "%s: %.*s\n", std::string(ToString(command_line.program)).c_str(),
               static_cast<int>(text.size()), text.data());
}

// Reads the settings and reports every problem. If the settings cannot be used, returns the exit status; it
// differs if the machine is the problem.
int ReadSettings(const CommandLine& command_line, const Predecessor& predecessor, const Situation& situation,
                 Config& config) {
  for (const std::string& warning : command_line.warnings) Say(command_line, warning);
  Parsed parsed = LoadConfig(command_line);
  const bool understood = parsed.ok();
  if (understood) {
    for (Problem& problem : CheckSurroundings(parsed, command_line.config_file, situation))
      parsed.problems.push_back(std::move(problem));
  }
  for (const Problem& problem : parsed.problems) {
    const bool warning = problem.kind == Problem::Kind::kWarning;
    Say(command_line, core::Cat(warning ? "warning: " : "", ToString(problem)));
    if (!warning) predecessor.Failed(ToString(problem));
  }
  config = std::move(parsed.config);
  if (parsed.ok()) return kExitOk;
  return understood && situation.stage == Situation::Stage::kStart ? kExitSystem : kExitUsage;
}

// The program that the next hot restart runs: the file that is then at the path that was used now.
Successor::Program NextProgram(const CommandLine& command_line) {
  std::error_code error;
  Successor::Program program;
  program.arguments = command_line.arguments;
  program.directory = std::filesystem::current_path(error).string();
  if (error || program.directory.empty()) program.directory = "/";
  const std::string& name = command_line.arguments.front();
  program.path = name.find('/') != std::string::npos
                     ? std::filesystem::absolute(name, error).string()
                     : std::filesystem::read_symlink("/proc/self/exe", error).string();
  program.new_session = !command_line.foreground_level.has_value();
  return program;
}

// The queues of the workers' rings. BIVALVE_RING_SLOTS makes them tiny, so that a test can fill them.
core::Ring::Options RingOptions() {
  core::Ring::Options options;
  const char* slots = std::getenv("BIVALVE_RING_SLOTS");
  uint32_t number = 0;
  if (slots == nullptr) return options;
  const std::string_view text = slots;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 4 || number > options.submissions)
    return options;
  options.submissions = number;
  options.completions = number * 2;
  options.buffers = std::bit_floor(number);
  return options;
}

// Goes to the background. In the starting process it does not return: it waits for the report and ends with
// its status.
absl::Status Detach(StartReport& report) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "cannot make a pipe");
  const pid_t child = fork();
  if (child < 0) return absl::ErrnoToStatus(errno, "cannot go to the background");
  if (child > 0) {
    close(ends[1]);
    char status = kExitSystem;
    while (read(ends[0], &status, 1) < 0 && errno == EINTR) {
    }
    _exit(status);
  }
  close(ends[0]);
  report = StartReport(ends[1]);
  setsid();
  if (chdir("/") != 0) return absl::ErrnoToStatus(errno, "cannot change to /");
  return absl::OkStatus();
}

// Connects standard input, output and error of a daemon to /dev/null. Called after the start, so that errors
// of the start are still seen.
void CloseTerminal() {
  const core::UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null.get(), fd);
}

class Daemon {
 public:
  Daemon(CommandLine command_line, Config config, Inheritance inheritance, Predecessor predecessor,
         Successor::Program program)
      : command_line_(std::move(command_line)),
        config_(std::move(config)),
        inheritance_(std::move(inheritance)),
        predecessor_(std::move(predecessor)),
        program_(std::move(program)),
        sink_(std::string(ToString(command_line_.program)), command_line_.foreground_level.has_value(),
              static_cast<Severity>(SeverityMax(command_line_)), config_.log_format),
        settings_(command_line_, shared_, SettingsCallbacks()) {}

  int Run() {
    const absl::Status started = Start();
    if (!started.ok()) {
      Say(command_line_, std::string(started.message()));
      predecessor_.Failed(std::string(started.message()));
      StopWorkers();
      sink_.FlushBlocking();
      report_.Done(kExitSystem);
      return kExitSystem;
    }
    report_.Done(kExitOk);
    if (serves_) Ready();
    if (!command_line_.foreground_level.has_value()) CloseTerminal();
    const int status = control_->Run();
    for (const auto& worker : workers_) worker->Join();
    if (serves_) {
      listening_.RemovePaths({});
      RemoveStatsPath();
    }
    return status;
  }

 private:
  static int SeverityMax(const CommandLine& command_line) {
    return command_line.foreground_level.value_or(static_cast<int>(Severity::kInfo));
  }

  absl::Status Start() {
    const size_t count = config_.workers != 0 ? config_.workers : UsableCpus();
    const bool follows = predecessor_.present();
    if (absl::Status status = listening_.Open(config_.listen, count, config_.socket_mode,
                                              std::move(inheritance_.smtp), inheritance_.smtp_by_manager);
        !status.ok()) {
      return status;
    }
    left_ = listening_.left();
    if (config_.transparent_proxy) PrepareTransparentProxy();
    core::UniqueFd stats_fd;
    if (absl::Status status = OpenStats(stats_fd); !status.ok()) return status;
    NoteStatsPath(stats_fd.get());
    const bool daemon = !command_line_.foreground_level.has_value();
    if (daemon && follows) {
      // The process is already in the background.
      if (chdir("/") != 0) return absl::ErrnoToStatus(errno, "cannot change to /");
    } else if (daemon && !ServiceManagerListens()) {
      // A service manager that waits for a message about the start follows the process that it has started.
      if (absl::Status status = Detach(report_); !status.ok()) return status;
    }
    if (!config_.pid_file.empty()) {
      absl::Status status = pid_file_.Open(config_.pid_file, config_.user, inheritance_.pid_file);
      if (status.ok() && !follows) status = pid_file_.Write();
      if (!status.ok()) return status;
    }
    if (inheritance_.pid_file.fd.valid()) left_.push_back(inheritance_.pid_file.number);
    if (!config_.user.empty()) {
      if (absl::Status status = BecomeUser(config_.user, config_.transparent_proxy); !status.ok())
        return status;
    }
    Control::BlockSignals();
    core::SurviveShrunkenFiles();
    shared_.log_reader.severity_max = SeverityMax(command_line_);
    return StartThreads(count, std::move(stats_fd));
  }

  // Call while still root: TPROXY gives connections only to sockets that may have foreign addresses. REDIRECT
  // works without that.
  void PrepareTransparentProxy() {
    shared_.outgoing_ports = std::make_unique<net::OutgoingPorts>();
    bool permitted = true;
    for (const int fd : listening_.descriptors()) {
      const int family = net::SocketName(fd).family();
      if (family != AF_UNIX) permitted &= net::MakeTransparent(fd, family);
    }
    if (!permitted) {
      sink_.Add(Severity::kWarning,
                "TransparentProxy: TPROXY rules need CAP_NET_ADMIN; only REDIRECT will work");
    }
  }

  absl::Status OpenStats(core::UniqueFd& fd) {
    Inheritance::Socket inherited = std::move(inheritance_.stats);
    if (inheritance_.stats_by_manager) {
      fd = std::move(inherited.fd);
      return absl::OkStatus();
    }
    // It counts as left, unless it is taken below.
    if (inherited.fd.valid()) left_.push_back(inherited.number);
    if (!config_.stats_address.has_value()) return absl::OkStatus();
    const auto addresses = net::ListenAddresses(*config_.stats_address);
    absl::Status status = addresses.status();
    if (status.ok()) {
      if (inherited.fd.valid() && net::SocketName(inherited.fd.get()) == addresses->front()) {
        left_.pop_back();
        fd = std::move(inherited.fd);
        return absl::OkStatus();
      }
      auto opened = net::OpenListener(addresses->front(), false, static_cast<mode_t>(config_.socket_mode));
      if (opened.ok()) {
        fd = std::move(*opened);
        return absl::OkStatus();
      }
      status = opened.status();
    }
    const std::string text = core::Cat("StatsAddress: ", std::string(status.message()));
    if (config_.stats_address_set) return absl::UnavailableError(text);
    sink_.Add(Severity::kWarning, core::Cat(text, "; there will be no statistics"));
    return absl::OkStatus();
  }

  // As with the other listeners: remembers our own local socket, unless a service manager made it.
  void NoteStatsPath(int fd) {
    if (fd < 0 || inheritance_.stats_by_manager) return;
    const net::SocketAddress address = net::SocketName(fd);
    if (address.family() == AF_UNIX)
      stats_path_ = reinterpret_cast<const sockaddr_un*>(address.raw())->sun_path;
  }
  void RemoveStatsPath() const {
    if (!stats_path_.empty()) unlink(stats_path_.c_str());
  }

  absl::Status StartThreads(size_t count, core::UniqueFd stats_fd) {
    if (absl::Status status = settings_.Begin(config_, count, inheritance_.smtp_by_manager); !status.ok())
      return status;
    const bool follows = predecessor_.present();
    stats_fd_ = stats_fd.get();
    StatsReport::About about;
    about.program = ToString(command_line_.program);
    about.version = BIVALVE_VERSION;
    about.restarts.generation = inheritance_.generation;
    Control::Options options{.about = std::move(about),
                             .settings = ControlSettings(),
                             .stats_fd = std::move(stats_fd),
                             .debug_prefix = core::Cat(ToString(command_line_.program), "."),
                             .accepts = !follows,
                             .hang_up = [this] { Reload(); },
                             .restart = [this] { Restart(); },
                             .stopping = [this] { Stopping(); }};
    control_ = std::make_unique<Control>(std::move(options), shared_, sink_);
    if (absl::Status status = control_->Open(); !status.ok()) return status;
    SettingsChanged();
    successor_ = std::make_unique<Successor>(control_->loop(), program_, SuccessorCallbacks());
    shared_.log_reader.wake = [this] { control_->WakeLog(); };
    limits_reader_ = std::make_unique<LimitsReader>(
        settings_.scanner_row_count(), [this](size_t row) { return settings_.LimitsOfRow(row); },
        [this](size_t row, const scan::ScannerLimits& found) {
          if (found.known) {
            for (const auto& worker : workers_) worker->SetScannerLimits(row, found);
          }
          control_->Post([this, row, found] { TakeLimits(row, found); });
        });
    std::vector<Worker*> workers;
    for (size_t i = 0; i < count; ++i) {
      Worker::Options worker{.index = i,
                             .workers = count,
                             .settings = settings_.ForWorker(i),
                             .listening = listening_.of_worker(i),
                             .finished = [this] { control_->WorkerFinished(); },
                             .reports = &control_->reports(),
                             .ring = RingOptions(),
                             .scanner_opened =
                                 [this](size_t row, std::optional<uid_t> user) {
                                   limits_reader_->Ask(row);
                                   control_->Post([this, row, user] { TakeUser(row, user); });
                                 }};
      workers_.push_back(std::make_unique<Worker>(shared_, std::move(worker)));
      workers.push_back(workers_.back().get());
      control_->Add(*workers.back());
      if (absl::Status status = workers_.back()->Start(); !status.ok()) {
        workers_.pop_back();
        return status;
      }
    }
    watchdog_ = std::make_unique<Watchdog>(
        control_->loop(), workers,
        Watchdog::Callbacks{
            .say = [this](Severity severity, std::string line) { Log(severity, line); },
            .post = [this](std::function<void()> message) { control_->Post(std::move(message)); }});
    settings_.Follow(std::move(workers));
    limits_reader_->Start();
    sink_.Add(Severity::kNotice, core::Cat("bivalved ", BIVALVE_VERSION, " with ", count, " workers, ",
                                           workers_.front()->ring_description()));
    if (inheritance_.smtp_by_manager) {
      for (const std::string& address : listening_.addresses())
        sink_.Add(Severity::kNotice, core::Cat("mail is accepted on the service manager's socket ", address));
    }
    serves_ = !follows;
    if (follows) control_->Spawn(Follow());
    return absl::OkStatus();
  }

  // --- Reading the settings again.

  Control::Settings ControlSettings() const {
    const Config& config = settings_.config();
    return {.shutdown_timeout = config.shutdown_timeout,
            .drain_timeout = config.drain_timeout,
            .temp_directory = config.temp_directory,
            .host_name = config.host_name,
            .virus_action = config.virus_action,
            .report_bytes_max = settings_.body_memory_bytes() / 4};
  }

  // On the control thread, or before it runs: takes over the settings in force.
  void SettingsChanged() {
    control_->Change(ControlSettings());
    sink_.set_format(settings_.config().log_format);
    shared_.log_reader.detailed = settings_.config().log_format == LogFormat::kJson;
    if (limits_reader_ != nullptr) limits_reader_->set_scanners(settings_.scanner_row_count());
    control_->about().scanners = settings_.scanner_names();
    control_->about().scanner_rows = settings_.scanner_rows();
    control_->about().reloads = settings_.reloads();
  }

  // On the control thread: takes the limits of a scanner that were read just now, by its row.
  void TakeLimits(size_t row, const scan::ScannerLimits& limits) {
    scan::ScannerFacts found = FactsOf(row);
    found.limits_read = true;
    found.limits = limits;
    TakeFacts(row, found);
  }
  void TakeUser(size_t row, std::optional<uid_t> user) {
    scan::ScannerFacts found = FactsOf(row);
    found.user = user;
    TakeFacts(row, found);
  }
  scan::ScannerFacts& FactsOf(size_t row) {
    std::vector<scan::ScannerFacts>& known = control_->about().scanner_facts;
    if (known.size() <= row) known.resize(row + 1);
    return known[row];
  }
  void TakeFacts(size_t row, const scan::ScannerFacts& found) {
    const std::vector<size_t>& rows = settings_.scanner_rows();
    const auto scanner = std::find(rows.begin(), rows.end(), row);
    if (scanner != rows.end()) {
      const std::string& name = settings_.scanner_names()[static_cast<size_t>(scanner - rows.begin())];
      for (const std::string& warning : scan::ScannerWarnings(name, FactsOf(row), found, geteuid()))
        Log(Severity::kWarning, warning);
    }
    FactsOf(row) = found;
  }

  LiveSettings::Callbacks SettingsCallbacks() {
    return {.say = [this](Severity severity, std::string line) { Log(severity, line); },
            .post = [this](std::function<void()> message) { control_->Post(std::move(message)); },
            .changed = [this] { SettingsChanged(); }};
  }

  void Log(Severity severity, std::string_view line) {
    if (control_ != nullptr) {
      control_->Say(severity, line);
    } else {
      sink_.Add(severity, line);
    }
  }

  void Reload() {
    if (serves_) {
      settings_.Reload();
    } else {
      Log(Severity::kWarning, "SIGHUP: not now, another process has the service");
    }
  }

  // --- One process after the other.

  void Restart() {
    if (!serves_ || successor_->under_way()) {
      Log(Severity::kWarning, serves_ ? "SIGUSR2: a restart is under way already"
                                      : "SIGUSR2: not now, another process has the service");
      return;
    }
    control_->Spawn(successor_->Start(settings_.config().restart_timeout));
  }

  Successor::Callbacks SuccessorCallbacks() {
    return {.say = [this](Severity severity, std::string line) { Log(severity, line); },
            .legacy =
                [this] {
                  return Legacy{.generation = inheritance_.generation + 1,
                                .smtp_by_manager = inheritance_.smtp_by_manager,
                                .stats_by_manager = inheritance_.stats_by_manager,
                                .smtp = listening_.descriptors(),
                                .stats = stats_fd_,
                                .pid_file = pid_file_.descriptor()};
                },
            .failed =
                [this](std::string why) {
                  control_->LookAgain();
                  ++control_->about().restarts.failed;
                  control_->about().restarts.last_error = why;
                  NotifyServiceManager(core::Cat("STATUS=The restart has failed: ", why));
                },
            .took = [this](pid_t pid, std::vector<int> left) { HandOver(pid, left); }};
  }

  void HandOver(pid_t pid, const std::vector<int>& left) {
    watchdog_->Stop();
    NotifyServiceManager(core::Cat("MAINPID=", pid));
    serves_ = false;
    settings_.Stop();
    if (std::ranges::find(left, pid_file_.descriptor()) == left.end()) pid_file_.GiveAway();
    if (std::ranges::find(left, stats_fd_) != left.end()) RemoveStatsPath();
    std::vector<int> kept = listening_.descriptors();
    std::erase_if(kept, [&left](int fd) { return std::ranges::find(left, fd) != left.end(); });
    listening_.RemovePaths(kept);
    Log(Severity::kNotice, core::Cat("process ", pid, " has taken over; ", shared_.connections.load(),
                                     " connections go on here"));
    control_->Drain(left, [this] { successor_->AcceptsNoMore(); });
  }

  core::Task<void> Follow() {
    Predecessor::Callbacks callbacks{.prepared = [this] { return control_->AnyScannerUp(); },
                                     .take_over = [this] { return TakeOver(); },
                                     .alone = [this] { control_->LookAgain(); },
                                     .left = left_};
    const absl::Status status = co_await predecessor_.TakeOver(control_->loop(), std::move(callbacks));
    if (status.ok()) co_return;
    Log(Severity::kError, std::string(status.message()));
    kill(getpid(), SIGTERM);
  }

  absl::Status TakeOver() {
    if (absl::Status status = pid_file_.Write(); !status.ok()) return status;
    serves_ = true;
    control_->StartService();
    Log(Severity::kNotice, core::Cat("has taken over from process ", predecessor_.pid(), " as the ",
                                     inheritance_.generation, ". since the start"));
    Ready();
    return absl::OkStatus();
  }

  void Ready() {
    NotifyServiceManager(core::Cat("READY=1\nSTATUS=Accepting mail with ", workers_.size(), " workers."));
    control_->Spawn(watchdog_->Run());
  }

  void Stopping() {
    watchdog_->Stop();
    // Without this, the service manager would take the service for hung while messages take long to finish.
    if (serves_ && WatchdogInterval().count() > 0) {
      const std::chrono::microseconds allowed = settings_.config().shutdown_timeout + kStopMargin;
      NotifyServiceManager(core::Cat("WATCHDOG_USEC=", int64_t{allowed.count()}, "\nWATCHDOG=1"));
    }
    settings_.Stop();
    successor_->Stop();
    predecessor_.Stop();
  }

  void StopWorkers() {
    for (const auto& worker : workers_) worker->Stop();
    for (const auto& worker : workers_) worker->Join();
  }

  const CommandLine command_line_;  // with the absolute path of the file
  const Config config_;             // of the start; later see settings_
  Inheritance inheritance_;         // what was not taken is closed when we end
  Predecessor predecessor_;
  const Successor::Program program_;
  StartReport report_;
  LogSink sink_;
  SharedState shared_;
  PidFile pid_file_;
  Listening listening_;
  bool serves_ = false;     // mail is accepted here, and nowhere else
  std::vector<int> left_;   // listening sockets of the predecessor that we have not taken
  int stats_fd_ = -1;       // owned by the control thread
  std::string stats_path_;  // if that is a local socket
  std::unique_ptr<Control> control_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Successor> successor_;
  std::unique_ptr<Watchdog> watchdog_;
  LiveSettings settings_;                        // posts to the workers
  std::unique_ptr<LimitsReader> limits_reader_;  // asks settings_, and posts to the workers
};

}  // namespace

int RunProgram(const CommandLine& command_line) {
  if (command_line.mode == CommandLine::Mode::kVersion) {
    std::fputs(VersionText(command_line.program, BIVALVE_VERSION).c_str(), stdout);
    return kExitOk;
  }
  if (command_line.mode == CommandLine::Mode::kCheckConfig) {
    Config config;
    if (const int status = ReadSettings(command_line, {}, {}, config); status != kExitOk) return status;
    const size_t workers = config.workers != 0 ? config.workers : UsableCpus();
    for (const std::string& warning : QueueWarnings(config, LimitsOfScanners(config), workers))
      Say(command_line, core::Cat("warning: ", warning));
    return kExitOk;
  }
  InheritableCapabilities::Forget();
  std::string problem;
  Inheritance inheritance = TakeInheritance(problem);
  Predecessor predecessor(inheritance.from, std::move(inheritance.channel));
  Config config;
  if (!problem.empty()) {
    Say(command_line, problem);
    predecessor.Failed(problem);
    return kExitSystem;
  }
  const Situation situation{.stage = Situation::Stage::kStart, .listen_is_void = inheritance.smtp_by_manager};
  if (const int status = ReadSettings(command_line, predecessor, situation, config); status != kExitOk)
    return status;
  Successor::Program program = NextProgram(command_line);
  CommandLine absolute = command_line;
  // A daemon changes to / and reads the file again later, so the path must be absolute.
  std::error_code error;
  const std::filesystem::path file = std::filesystem::absolute(command_line.config_file, error);
  if (!error) absolute.config_file = file.string();
  return Daemon(std::move(absolute), std::move(config), std::move(inheritance), std::move(predecessor),
                std::move(program))
      .Run();
}

}  // namespace bivalve::appliance
