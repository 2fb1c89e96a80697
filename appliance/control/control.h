// Control: the thread beside the workers. It handles signals, serves statistics over HTTP and writes the log.
// It reads the workers' counters and queues, and never touches their sessions.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "appliance/log/log_sink.h"
#include "appliance/stats/stats_report.h"
#include "appliance/viruses/virus_report.h"
#include "appliance/worker/worker.h"
#include "core/fd.h"
#include "core/mailbox.h"

namespace bivalve::appliance {

class Control {
 public:
  // The settings that matter on this thread.
  struct Settings {
    std::chrono::seconds shutdown_timeout{};
    std::chrono::seconds drain_timeout{};
    // For Quarantine, DebugFiles and VirusAction.
    std::string temp_directory;
    std::string host_name;
    std::string virus_action;
    uint64_t report_bytes_max = 0;  // limit for bodies that wait to be kept
  };
  struct Options {
    StatsReport::About about;
    Settings settings;
    core::UniqueFd stats_fd;         // listening; invalid: no statistics
    std::string debug_prefix;        // path prefix of the files of DebugFiles
    bool accepts = true;             // false: another process accepts until StartService()
    std::function<void()> hang_up;   // SIGHUP; on the control thread
    std::function<void()> restart;   // SIGUSR2; on the control thread
    std::function<void()> stopping;  // the service begins to stop; on the control thread
  };

  // Call before the threads are started: blocks the signals that Run() reads, in all threads.
  static void BlockSignals();

  Control(Options options, SharedState& shared, LogSink& sink);
  ~Control();

  // Call before Run(), once for each worker to look after. The workers outlive this object.
  void Add(Worker& worker) { workers_.push_back(&worker); }
  // Any thread: a worker has ended.
  void WorkerFinished();
  // Any thread: runs `message` on the control thread, as long as that thread runs.
  void Post(std::function<void()> message) { mailbox_.Post(std::move(message)); }
  // Control thread, or before it runs: adds a line to the log.
  void Say(Severity severity, std::string_view line);
  // Control thread: replaces the settings.
  void Change(Settings settings);
  // Control thread, or after Open(): what the statistics say about the service as a whole.
  StatsReport::About& about();
  // Control thread, or before it runs.
  core::Loop& loop();
  void Spawn(core::Task<void> task);  // must end soon after `stopping` was called
  bool AnyScannerUp() const;
  // Control thread: accepts connections and shows statistics from now on.
  void StartService();
  // Control thread: another process has taken over the service. Sessions continue for DrainTimeOut at most,
  // then the process ends. `left`: the listening sockets that the other process has not taken. Calls
  // `accepts_no_more` when no worker accepts any more.
  void Drain(std::vector<int> left, std::function<void()> accepts_no_more);
  // Control thread: another process no longer accepts from the same sockets. See net::Acceptor.
  void LookAgain();

  // Any thread.
  void WakeLog();
  // Workers send here what is to be kept or reported.
  ReportOutlet& reports() { return reports_; }

  // Runs until a signal has ended the service. Returns 0, or the exit status of a failure.
  absl::Status Open();
  int Run();

 private:
  struct Running;

  SharedState& shared_;
  Options options_;
  LogSink& sink_;
  core::Mailbox mailbox_;
  ReportOutlet reports_;
  std::vector<Worker*> workers_;
  std::unique_ptr<Running> running_;
};

}  // namespace bivalve::appliance
