// LiveSettings: the settings that hold now, what is made of them for the workers, and reading them again.
// What sessions see is never changed: each reading makes new objects, which live as long as a session that
// began with them. Control thread, and before that the start.
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

// The command line's configuration file as it is now, with the settings of the command line over it. Blocks.
// A file that cannot be read is a problem like the others.
Parsed LoadConfig(const CommandLine& command_line);

// What the scanners on this machine say of themselves, in the order of ClamAddress. Blocks.
std::vector<scan::ScannerLimits> LimitsOfScanners(const Config& config);
// ClamConnections of all workers together must stay below half of MaxQueue. Fewer are held where they would
// not; a sentence for each.
std::vector<std::string> QueueWarnings(const Config& config, const std::vector<scan::ScannerLimits>& limits,
                                       size_t workers);

class LiveSettings {
 public:
  struct Callbacks {
    std::function<void(Severity, std::string)> say;   // a line for the log
    std::function<void(std::function<void()>)> post;  // any thread: runs it on the control thread
    std::function<void()> changed;  // other settings hold now, or reloads() says something else
  };

  // `command_line`: with a path of the file that does not depend on the working directory.
  LiveSettings(const CommandLine& command_line, SharedState& shared, Callbacks callbacks)
      : command_line_(command_line), shared_(shared), callbacks_(std::move(callbacks)) {}
  LiveSettings(const LiveSettings&) = delete;

  // The settings of the start. Blocks: names are looked up once before the first connection. With
  // `listen_is_void` a service manager's sockets stand in place of Listen.
  absl::Status Begin(Config config, size_t workers, bool listen_is_void);
  // What worker number `index` starts with.
  WorkerSettings ForWorker(size_t index) const { return by_worker_[index]; }
  // All workers run: follows the names.
  void Follow(std::vector<Worker*> workers);

  // Reads the file again, now or when the reading under way has ended. With a fault in it nothing changes,
  // and the log has a line for each; what config_check finds counts as one. Workers hear of a change by mail.
  // Never blocks but for the file itself and what it names: names of hosts are looked up elsewhere.
  void Reload();
  // Nothing is read any more.
  void Stop();

  const Config& config() const { return config_; }
  uint64_t body_memory_bytes() const;
  // The scanners as configured, and where their counts are (WorkerStats::ScannerRow).
  const std::vector<std::string>& scanner_names() const { return scanner_names_; }
  const std::vector<size_t>& scanner_rows() const { return scanner_rows_; }
  // Rows are for good.
  size_t scanner_row_count() const { return rows_.size(); }
  // Any thread: of the scanner of that row, as far as they are known. Blocks.
  scan::ScannerLimits LimitsOfRow(size_t row) const;
  const StatsReport::Reloads& reloads() const { return reloads_; }

 private:
  using Addresses = std::vector<std::vector<net::SocketAddress>>;  // by endpoint; of names only
  struct Names {
    std::vector<net::HostName> names;  // OutAddress's, then ClamAddress's
    std::vector<size_t> endpoints;     // their indexes in the setting
    size_t of_servers = 0;             // how many are OutAddress's
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
  size_t listeners_count_ = 1;  // as at the start, whatever Listen says later
  bool listen_is_void_ = false;
  std::vector<Worker*> workers_;
  std::vector<WorkerSettings> by_worker_;
  std::vector<std::string> scanner_names_;
  std::vector<size_t> scanner_rows_;
  mutable std::mutex rows_mutex_;    // changed on the control thread, read by others; never by workers
  std::vector<net::Endpoint> rows_;  // all scanners that there ever were
  StatsReport::Reloads reloads_ = {};
  bool reading_ = false;  // names of new settings are being looked up
  bool again_ = false;
  bool stopped_ = false;
  std::unique_ptr<NameLookUp> look_up_;
  std::unique_ptr<Resolver> resolver_;  // ends first: it posts to the workers
};

}  // namespace bivalve::appliance
