// Control: the thread beside the workers. Signals, statistics over HTTP and the writing of the log happen
// here. It reads the workers' counters and queues, and never touches their sessions.
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
  // What of the settings matters on this thread.
  struct Settings {
    std::chrono::seconds shutdown_timeout{};
    std::chrono::seconds drain_timeout{};
    // For Quarantine, DebugFiles and VirusAction.
    std::string temp_directory;
    std::string host_name;
    std::string virus_action;
    uint64_t report_bytes_max = 0;  // bodies that wait to be kept
  };
  struct Options {
    StatsReport::About about;
    Settings settings;
    core::UniqueFd stats_fd;         // listening; invalid: no statistics
    std::string debug_prefix;        // of the files of DebugFiles
    bool accepts = true;             // false: another process does, until StartService()
    std::function<void()> hang_up;   // SIGHUP; on the control thread
    std::function<void()> restart;   // SIGUSR2; on the control thread
    std::function<void()> stopping;  // the service begins to stop; on the control thread
  };

  // Call before the threads are started: blocks the signals that Run() reads, for all of them.
  static void BlockSignals();

  Control(Options options, SharedState& shared, LogSink& sink);
  ~Control();

  // The workers to look after, before Run(); they outlive it.
  void Add(Worker& worker) { workers_.push_back(&worker); }
  // Any thread: a worker has ended.
  void WorkerFinished();
  // Any thread: runs it on the control thread, as long as that runs.
  void Post(std::function<void()> message) { mailbox_.Post(std::move(message)); }
  // Control thread, or before it runs: a line for the log.
  void Say(Severity severity, std::string_view line);
  // Control thread: other settings.
  void Change(Settings settings);
  // Control thread, or after Open(): what the statistics say of the service as a whole.
  StatsReport::About& about();
  // Control thread, or before it runs.
  core::Loop& loop();
  void Spawn(core::Task<void> task);  // to end soon after `stopping` was called
  bool AnyScannerUp() const;
  // Control thread: accepts connections and shows statistics from now on.
  void StartService();
  // Control thread: another process has the service from now on. The sessions go on for as long as
  // DrainTimeOut allows, then the process ends. `left`: the listening sockets that the other one has not
  // taken. `accepts_no_more` is called when that is so.
  void Drain(std::vector<int> left, std::function<void()> accepts_no_more);
  // Control thread: another process accepts from the same sockets no more. See net::Acceptor.
  void LookAgain();

  // Any thread.
  void WakeLog();
  // Where workers send what is to be kept or reported.
  ReportOutlet& reports() { return reports_; }

  // Runs until a signal has ended the service: 0, or the exit status of a failure.
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
