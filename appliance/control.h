// Control: the thread beside the workers. Signals, statistics over HTTP and the writing of the log happen
// here. It reads the workers' counters and queues, and never touches their sessions.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "appliance/log_sink.h"
#include "appliance/stats_report.h"
#include "appliance/virus_report.h"
#include "appliance/worker.h"
#include "core/fd.h"
#include "core/mailbox.h"

namespace bivalve::appliance {

class Control {
 public:
  struct Options {
    StatsReport::About about;
    std::chrono::seconds shutdown_timeout{};
    core::UniqueFd stats_fd;  // listening; invalid: no statistics
    // For Quarantine, DebugFiles and VirusAction.
    std::string temp_directory;
    std::string virus_action;
    uint64_t report_bytes_max = 0;  // bodies that wait to be kept
    std::string debug_prefix;       // of the files of DebugFiles
  };

  // Call before the threads are started: blocks the signals that Run() reads, for all of them.
  static void BlockSignals();

  Control(Options options, SharedState& shared, LogSink& sink);
  ~Control();

  // The workers to look after, before Run(); they outlive it.
  void Add(Worker& worker) { workers_.push_back(&worker); }
  // Any thread: a worker has ended.
  void WorkerFinished();
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
