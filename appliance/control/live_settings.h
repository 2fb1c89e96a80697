// LiveSettings: the settings in force, the objects made from them for the workers, and reading them again.
// Objects that sessions see never change: each reading makes new ones, which live as long as a session that
// began with them. Control thread; before that thread runs, the thread that starts the daemon.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "appliance/control/resolver.h"
#include "appliance/log/event.h"
#include "appliance/settings/command_line.h"
#include "appliance/settings/config_file.h"
#include "appliance/stats/stats_report.h"
#include "appliance/worker/worker.h"
#include "scan/clamd_conf.h"

namespace bivalve::appliance {

// Reads the command line's configuration file and puts the settings of the command line over it. Blocks. A
// file that cannot be read is reported as a problem like others.
Parsed LoadConfig(const CommandLine& command_line);

// The limits of the scanners on this machine, from their own clamd.conf, in the order of ClamAddress. Blocks.
std::vector<scan::ScannerLimits> LimitsOfScanners(const Config& config);
// ClamConnections of all workers together must stay below half of MaxQueue. Returns a sentence for each
// scanner where they do not; workers hold fewer connections there.
std::vector<std::string> QueueWarnings(const Config& config, const std::vector<scan::ScannerLimits>& limits,
                                       size_t workers);

class LiveSettings {
 public:
  struct Callbacks {
    std::function<void(Severity, std::string)> say;   // a line for the log
    std::function<void(std::function<void()>)> post;  // any thread: runs it on the control thread
    std::function<void()> changed;                    // other settings are in force, or reloads() has changed
  };

  // `command_line`: its path of the file must not depend on the working directory.
  LiveSettings(const CommandLine& command_line, SharedState& shared, Callbacks callbacks)
      : command_line_(command_line), shared_(shared), callbacks_(std::move(callbacks)) {}
  LiveSettings(const LiveSettings&) = delete;

  // Takes the settings of the start. Blocks: names are looked up once before the first connection.
  // `listen_is_void`: sockets of a service manager replace Listen.
  absl::Status Begin(Config config, size_t workers, bool listen_is_void);
  // The settings that worker number `index` starts with.
  WorkerSettings ForWorker(size_t index) const { return by_worker_[index]; }
  // To be called when all workers run: begins to follow the names.
  void Follow(std::vector<Worker*> workers);

  // Reads the file again, now or when the reading under way has ended. If the file has a fault (problems that
  // config_check finds are faults too), nothing changes, and the log has a line for each fault. Workers get a
  // change through their mailboxes. Blocks only for the file itself and the files that it names: host names
  // are looked up on another thread.
  void Reload();
  // After this call nothing is read any more.
  void Stop();

  const Config& config() const { return config_; }
  uint64_t body_memory_bytes() const;
  // The scanners as configured, and the rows that hold their counts (WorkerStats::ScannerRow).
  const std::vector<std::string>& scanner_names() const { return scanner_names_; }
  const std::vector<size_t>& scanner_rows() const { return scanner_rows_; }
  // Rows are never removed.
  size_t scanner_row_count() const { return rows_.size(); }
  // Any thread: the limits of the scanner of that row, as far as they are known. Blocks.
  scan::ScannerLimits LimitsOfRow(size_t row) const;
  const StatsReport::Reloads& reloads() const { return reloads_; }

 private:
  using Addresses = std::vector<std::vector<net::SocketAddress>>;  // by endpoint; empty if it is not a name
  struct Names {
    std::vector<net::HostName> names;  // those of OutAddress, then those of ClamAddress
    std::vector<size_t> endpoints;     // index of each name in its setting
    size_t of_servers = 0;             // how many belong to OutAddress
  };
  static Names NamesOf(const Config& config);

  void Fail(std::string_view why);
  std::vector<Problem> Surroundings(const Parsed& parsed) const;
  bool Report(const std::vector<Problem>& problems);
  bool KeepAndCheck(Parsed& fresh);
  void Apply(Config fresh, const Addresses& found);
  absl::Status Make(const Addresses& found);
  void Watch();

  const CommandLine& command_line_;
  SharedState& shared_;
  Callbacks callbacks_;
  Config config_ = {};
  size_t workers_count_ = 0;
  size_t listeners_count_ = 1;  // as at the start, even if Listen changes
  bool listen_is_void_ = false;
  std::vector<Worker*> workers_;
  std::vector<WorkerSettings> by_worker_;
  std::vector<std::string> scanner_names_;
  std::vector<size_t> scanner_rows_;
  mutable std::mutex rows_mutex_;    // rows_: the control thread writes, other threads (not workers) read
  std::vector<net::Endpoint> rows_;  // every scanner that was ever configured
  StatsReport::Reloads reloads_ = {};
  bool reading_ = false;  // names of new settings are being looked up
  bool again_ = false;
  bool stopped_ = false;
  std::unique_ptr<NameLookUp> look_up_;
  std::unique_ptr<Resolver> resolver_;  // destroyed first: it posts to the workers
};

}  // namespace bivalve::appliance
