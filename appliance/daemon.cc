#include "appliance/daemon.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "appliance/config.h"
#include "appliance/control.h"
#include "appliance/header_template.h"
#include "appliance/limits_reader.h"
#include "appliance/log_sink.h"
#include "appliance/options.h"
#include "appliance/privileges.h"
#include "appliance/resolver.h"
#include "appliance/service_notify.h"
#include "appliance/worker.h"
#include "core/text.h"
#include "net/listener.h"

#ifndef BIVALVE_VERSION
#define BIVALVE_VERSION "unknown"
#endif

namespace bivalve::appliance {
namespace {

constexpr int kExitOk = 0;
constexpr int kExitSystem = 1;
constexpr int kExitUsage = 2;

// Descriptors that are not sessions': listeners, rings, scanner connections, kept bodies, logs.
constexpr uint64_t kDescriptorsReserved = 1024;
// Of a session: the client's, the server's, and while it has a message the body's two.
constexpr uint64_t kDescriptorsPerSession = 2;

// Tells the shell that started a daemon how the start went. In the foreground it does nothing.
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

// Reads the settings and reports every problem. False when they cannot be used.
bool LoadConfig(const CommandLine& command_line, Config& config) {
  for (const std::string& warning : command_line.warnings) Say(command_line, warning);
  absl::StatusOr<std::string> text = ReadConfigFile(command_line.config_file);
  if (!text.ok()) {
    Say(command_line, std::string(text.status().message()));
    return false;
  }
  Parsed parsed = ParseConfig(*text, command_line.config_file, command_line.program, command_line.overrides);
  for (const Problem& problem : parsed.problems) {
    Say(command_line,
        core::Cat(problem.kind == Problem::Kind::kWarning ? "warning: " : "", ToString(problem)));
  }
  config = std::move(parsed.config);
  return parsed.ok();
}

struct Listeners {
  std::vector<core::UniqueFd> owned;
  std::vector<std::vector<int>> by_worker;
};

// A TCP address gets a socket for each worker, so that the kernel spreads the connections; a path has one for
// all.
absl::Status OpenListeners(const Config& config, size_t workers, Listeners& listeners) {
  listeners.by_worker.resize(workers);
  for (const net::Endpoint& endpoint : config.listen) {
    absl::StatusOr<std::vector<net::SocketAddress>> addresses = net::ListenAddresses(endpoint);
    if (!addresses.ok()) return addresses.status();
    size_t opened = 0;
    absl::Status failure;
    for (const net::SocketAddress& address : *addresses) {
      const bool local = address.family() == AF_UNIX;
      const size_t sockets = local ? 1 : workers;
      // Without sharing first: SO_REUSEPORT alone would let two daemons run on one port and split the mail
      // between them.
      if (!local) {
        absl::StatusOr<core::UniqueFd> probe = net::OpenListener(address, false);
        if (!probe.ok()) {
          failure = probe.status();
          continue;
        }
      }
      for (size_t i = 0; i < sockets; ++i) {
        absl::StatusOr<core::UniqueFd> fd = net::OpenListener(address, true);
        if (!fd.ok()) return fd.status();
        for (size_t worker = local ? 0 : i; worker < (local ? workers : i + 1); ++worker) {
          listeners.by_worker[worker].push_back(fd->get());
        }
        listeners.owned.push_back(std::move(*fd));
      }
      ++opened;
    }
    // A port alone means IPv6 and IPv4; a machine without one of them serves the other.
    if (opened == 0 || (!failure.ok() && !std::holds_alternative<net::PortOnly>(endpoint))) return failure;
    if (!failure.ok() && failure.message().find("Address already in use") != absl::string_view::npos)
      return failure;
  }
  return absl::OkStatus();
}

size_t UsableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return static_cast<size_t>(std::max(CPU_COUNT(&set), 1));
}

// A quarter of the machine's memory, or of the container's where that is less.
uint64_t DefaultBodyMemory() {
  uint64_t memory =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  std::ifstream limit("/sys/fs/cgroup/memory.max");
  uint64_t bytes = 0;
  if (limit >> bytes && bytes > 0) memory = std::min(memory, bytes);
  return memory / 4;
}

// Raises the descriptor limit as far as it is needed and allowed, and returns how many connections it
// carries.
uint32_t RaiseDescriptorLimit(uint32_t connections_wanted) {
  const rlim_t wanted = connections_wanted * kDescriptorsPerSession * 2 + kDescriptorsReserved;
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < wanted) {
    rlimit raised = {.rlim_cur = wanted, .rlim_max = std::max(limit.rlim_max, wanted)};
    if (setrlimit(RLIMIT_NOFILE, &raised) != 0) {
      raised = {.rlim_cur = std::min(limit.rlim_max, wanted), .rlim_max = limit.rlim_max};
      setrlimit(RLIMIT_NOFILE, &raised);
    }
    getrlimit(RLIMIT_NOFILE, &limit);
  }
  if (limit.rlim_cur >= wanted) return connections_wanted;
  const uint64_t reserved = std::min<uint64_t>(kDescriptorsReserved, limit.rlim_cur / 2);
  return static_cast<uint32_t>(std::max<uint64_t>((limit.rlim_cur - reserved) / kDescriptorsPerSession, 1));
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

// What a scanner on this machine says of itself.
std::optional<scan::ScannerLimits> LimitsOfScanner(const net::Endpoint& endpoint) {
  const auto* address = std::get_if<net::SocketAddress>(&endpoint);
  if (address == nullptr) return std::nullopt;
  if (address->family() == AF_UNIX) return scan::FindScannerLimits(address->ToString(), 0);
  const std::string host = address->Host();
  if (host != "127.0.0.1" && host != "::1") return std::nullopt;
  return scan::FindScannerLimits("", address->port());
}

std::vector<scan::ScannerLimits> LimitsOfScanners(const Config& config) {
  std::vector<scan::ScannerLimits> limits;
  for (const net::Endpoint& endpoint : config.clam_address)
    limits.push_back(LimitsOfScanner(endpoint).value_or(scan::ScannerLimits{}));
  return limits;
}

// ClamConnections of all workers together must stay below half of MaxQueue. Fewer are held where they would
// not.
std::vector<std::string> QueueWarnings(const Config& config, const std::vector<scan::ScannerLimits>& limits,
                                       size_t workers) {
  std::vector<std::string> warnings;
  for (size_t i = 0; i < limits.size(); ++i) {
    const uint32_t share = scan::ShareOfQueue(limits[i], workers);
    if (share == 0 || uint64_t{2} * config.clam_connections * workers < limits[i].queue_max) continue;
    warnings.push_back(core::Cat("ClamConnections: ", config.clam_connections, " for each of ", workers,
                                 " workers are not below half of the MaxQueue (", limits[i].queue_max,
                                 ") of ", net::ToString(config.clam_address[i]), "; each will hold ",
                                 std::min(share, config.clam_connections)));
  }
  return warnings;
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

// Standard input, output and error of a daemon lead nowhere. After the start, so that its errors are still
// seen.
void CloseTerminal() {
  const core::UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null.get(), fd);
}

class PidFile {
 public:
  // A directory that only root may write to keeps the file; an empty one names no process.
  ~PidFile() {
    if (!path_.empty() && unlink(path_.c_str()) != 0) (void)!ftruncate(fd_.get(), 0);
  }
  absl::Status Write(const std::string& path) {
    fd_.Reset(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
    const std::string text = core::Cat(getpid(), "\n");
    if (!fd_.valid() || write(fd_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
      return absl::ErrnoToStatus(errno, core::Cat("PidFile: cannot write '", path, "'"));
    }
    path_ = path;
    return absl::OkStatus();
  }

 private:
  std::string path_;
  core::UniqueFd fd_;
};

class Daemon {
 public:
  Daemon(const CommandLine& command_line, Config config)
      : command_line_(command_line),
        config_(std::move(config)),
        sink_(std::string(ToString(command_line.program)), command_line.foreground_level.has_value(),
              static_cast<Severity>(SeverityMax(command_line)), config_.log_format) {}

  int Run() {
    const absl::Status started = Start();
    if (!started.ok()) {
      Say(command_line_, std::string(started.message()));
      StopWorkers();
      sink_.FlushBlocking();
      report_.Done(kExitSystem);
      return kExitSystem;
    }
    report_.Done(kExitOk);
    NotifyServiceManager("READY=1");
    if (!command_line_.foreground_level.has_value()) CloseTerminal();
    const int status = control_->Run();
    for (const auto& worker : workers_) worker->Join();
    for (const std::string& path : local_listeners_) unlink(path.c_str());
    return status;
  }

 private:
  static int SeverityMax(const CommandLine& command_line) {
    return command_line.foreground_level.value_or(static_cast<int>(Severity::kInfo));
  }

  absl::Status Start() {
    const size_t count = config_.workers != 0 ? config_.workers : UsableCpus();
    shared_.connections_max = RaiseDescriptorLimit(config_.connections_max);
    if (shared_.connections_max < config_.connections_max) {
      sink_.Add(Severity::kWarning,
                core::Cat("MaxConnections: the descriptor limit carries ", shared_.connections_max,
                          " connections, not ", config_.connections_max, "; raise it (ulimit -n)"));
    }
    if (config_.connections_per_client_max != 0) shared_.client_counts = std::make_unique<ClientCounts>();
    if (absl::Status status = OpenListeners(config_, count, listeners_); !status.ok()) return status;
    for (const net::Endpoint& endpoint : config_.listen) {
      const auto* address = std::get_if<net::SocketAddress>(&endpoint);
      if (address != nullptr && address->family() == AF_UNIX) local_listeners_.push_back(address->ToString());
    }
    if (config_.transparent_proxy) PrepareTransparentProxy();
    core::UniqueFd stats_fd;
    if (absl::Status status = OpenStats(stats_fd); !status.ok()) return status;
    absl::StatusOr<HeaderTemplate> header = HeaderTemplate::Compile(config_.header);
    if (!header.ok()) return header.status();
    // A service manager that is to be told of the start wants the process that it has started.
    if (!command_line_.foreground_level.has_value() && !ServiceManagerListens()) {
      if (absl::Status status = Detach(report_); !status.ok()) return status;
    }
    if (!config_.pid_file.empty()) {
      if (absl::Status status = pid_file_.Write(config_.pid_file); !status.ok()) return status;
    }
    if (!config_.user.empty()) {
      if (absl::Status status = BecomeUser(config_.user, config_.transparent_proxy); !status.ok())
        return status;
    }
    Control::BlockSignals();
    shared_.log_reader.severity_max = SeverityMax(command_line_);
    shared_.log_reader.detailed = config_.log_format == LogFormat::kJson;
    return StartThreads(count, *header, std::move(stats_fd));
  }

  // While still root: TPROXY gives connections only to sockets that may have foreign addresses. REDIRECT does
  // without.
  void PrepareTransparentProxy() {
    shared_.outgoing_ports = std::make_unique<net::OutgoingPorts>();
    bool permitted = true;
    for (const core::UniqueFd& fd : listeners_.owned) {
      const int family = net::SocketName(fd.get()).family();
      if (family != AF_UNIX) permitted &= net::MakeTransparent(fd.get(), family);
    }
    if (!permitted) {
      sink_.Add(Severity::kWarning,
                "TransparentProxy: TPROXY rules need CAP_NET_ADMIN; only REDIRECT will work");
    }
  }

  absl::Status OpenStats(core::UniqueFd& fd) {
    if (!config_.stats_address.has_value()) return absl::OkStatus();
    const auto addresses = net::ListenAddresses(*config_.stats_address);
    absl::Status status = addresses.status();
    if (status.ok()) {
      auto opened = net::OpenListener(addresses->front(), false);
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

  absl::Status StartThreads(size_t count, const HeaderTemplate& header, core::UniqueFd stats_fd) {
    StatsReport::About about;
    about.program = ToString(command_line_.program);
    about.version = BIVALVE_VERSION;
    for (const net::Endpoint& endpoint : config_.clam_address)
      about.scanners.push_back(net::ToString(endpoint));
    const uint64_t memory = config_.body_memory_bytes != 0 ? config_.body_memory_bytes : DefaultBodyMemory();
    Control::Options options{.about = std::move(about),
                             .shutdown_timeout = config_.shutdown_timeout,
                             .stats_fd = std::move(stats_fd),
                             .temp_directory = config_.temp_directory,
                             .virus_action = config_.virus_action,
                             .report_bytes_max = memory / 4,
                             .debug_prefix = core::Cat(ToString(command_line_.program), ".")};
    control_ = std::make_unique<Control>(std::move(options), shared_, sink_);
    if (absl::Status status = control_->Open(); !status.ok()) return status;
    shared_.log_reader.wake = [this] { control_->WakeLog(); };
    const std::vector<scan::ScannerLimits> limits = LimitsOfScanners(config_);
    for (const std::string& warning : QueueWarnings(config_, limits, count))
      sink_.Add(Severity::kWarning, warning);
    limits_reader_ = std::make_unique<LimitsReader>(
        config_.clam_address.size(),
        [this](size_t scanner) { return LimitsOfScanner(config_.clam_address[scanner]); },
        [this](size_t scanner, const scan::ScannerLimits& found) {
          for (const auto& worker : workers_) worker->SetScannerLimits(scanner, found);
        });
    const auto server_addresses = LookUpNames(config_.out_address);
    const auto scanner_addresses = LookUpNames(config_.clam_address);
    for (size_t i = 0; i < count; ++i) {
      Worker::Options worker;
      worker.server_addresses = server_addresses;
      worker.scanner_addresses = scanner_addresses;
      worker.scanner_limits = limits;
      worker.index = i;
      worker.workers = count;
      worker.settings = {.config = config_, .header = header};
      worker.body_memory_bytes = memory / count;
      worker.listen_fds = listeners_.by_worker[i];
      worker.finished = [this] { control_->WorkerFinished(); };
      worker.reports = &control_->reports();
      worker.ring = RingOptions();
      worker.scanner_opened = [this](size_t scanner) { limits_reader_->Ask(scanner); };
      workers_.push_back(std::make_unique<Worker>(shared_, std::move(worker)));
      control_->Add(*workers_.back());
      if (absl::Status status = workers_.back()->Start(); !status.ok()) {
        workers_.pop_back();
        return status;
      }
    }
    WatchNames();
    limits_reader_->Start();
    sink_.Add(Severity::kNotice, core::Cat("bivalved ", BIVALVE_VERSION, " with ", count, " workers, ",
                                           workers_.front()->ring_description()));
    return absl::OkStatus();
  }

  // The names among the endpoints, looked up once before the first connection. What does not resolve is
  // watched all the same.
  std::vector<std::vector<net::SocketAddress>> LookUpNames(const std::vector<net::Endpoint>& endpoints) {
    std::vector<std::vector<net::SocketAddress>> found(endpoints.size());
    for (size_t i = 0; i < endpoints.size(); ++i) {
      const auto* name = std::get_if<net::HostName>(&endpoints[i]);
      if (name == nullptr) continue;
      found[i] = LookUp(*name);
      if (found[i].empty()) {
        sink_.Add(Severity::kWarning,
                  core::Cat("'", name->name, "' cannot be looked up; it is tried again and again"));
      }
    }
    return found;
  }

  void WatchNames() {
    for (size_t i = 0; i < config_.out_address.size(); ++i) {
      if (const auto* name = std::get_if<net::HostName>(&config_.out_address[i])) {
        resolver_.Watch(*name, [this, i](const std::vector<net::SocketAddress>& addresses) {
          for (const auto& worker : workers_) worker->SetServerAddresses(i, addresses);
        });
      }
    }
    for (size_t i = 0; i < config_.clam_address.size(); ++i) {
      if (const auto* name = std::get_if<net::HostName>(&config_.clam_address[i])) {
        resolver_.Watch(*name, [this, i](const std::vector<net::SocketAddress>& addresses) {
          for (const auto& worker : workers_) worker->SetScannerAddresses(i, addresses);
        });
      }
    }
    resolver_.Start();
  }

  void StopWorkers() {
    for (const auto& worker : workers_) worker->Stop();
    for (const auto& worker : workers_) worker->Join();
  }

  const CommandLine& command_line_;
  Config config_;
  StartReport report_;
  LogSink sink_;
  SharedState shared_;
  PidFile pid_file_;
  Listeners listeners_;
  std::vector<std::string> local_listeners_;
  std::unique_ptr<Control> control_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<LimitsReader> limits_reader_;  // posts to the workers, too
  Resolver resolver_;                            // ends first: it posts to the workers
};

}  // namespace

int RunProgram(const CommandLine& command_line) {
  if (command_line.mode == CommandLine::Mode::kVersion) {
    std::fputs(VersionText(command_line.program, BIVALVE_VERSION).c_str(), stdout);
    return kExitOk;
  }
  Config config;
  if (!LoadConfig(command_line, config)) return kExitUsage;
  if (command_line.mode == CommandLine::Mode::kCheckConfig) {
    const size_t workers = config.workers != 0 ? config.workers : UsableCpus();
    for (const std::string& warning : QueueWarnings(config, LimitsOfScanners(config), workers))
      Say(command_line, core::Cat("warning: ", warning));
    return kExitOk;
  }
  return Daemon(command_line, std::move(config)).Run();
}

}  // namespace bivalve::appliance
