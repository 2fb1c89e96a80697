// ReportKeeper: handles the workers' reports of infected messages, one after the other: it writes the file,
// then its record, then starts the command, which gets the file's name. Control thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "appliance/log/log_writer.h"
#include "appliance/viruses/quarantine.h"
#include "appliance/viruses/quarantine_record.h"
#include "appliance/viruses/virus_action.h"
#include "appliance/viruses/virus_report.h"
#include "core/condition.h"
#include "core/loop.h"
#include "core/task.h"

namespace bivalve::appliance {

class ReportKeeper {
 public:
  struct Settings {
    std::string temp_directory;
    std::string virus_action;
  };
  struct Callbacks {
    // The scanner's version as it last told it; empty: not known.
    std::function<std::string(std::string_view scanner)> scanner_version;
    // A report was handled.
    std::function<void()> done;
  };

  // `debug_prefix`: path prefix of the files of DebugFiles. `outlet`: the source of the reports; it is told
  // when each one is handled. It and `log` outlive the keeper.
  ReportKeeper(core::Loop& loop, LogWriter& log, ReportOutlet& outlet, Settings settings,
               std::string debug_prefix, Callbacks callbacks);

  // For reports that are handled from now on.
  void Change(Settings settings);
  void Add(std::shared_ptr<VirusReport> report);

  // Handles reports until Stop() is called; the remaining ones are dropped. Suspends.
  core::Task<void> Run();
  void Stop();
  // After SIGCHLD: a command may have ended.
  void Reap();

  // See Quarantine. For the start: removes files that a crash has left, and logs that. Blocks.
  void RemoveLeftovers();
  // For an end without waiting: removes the file that is being written. Blocks.
  void RemovePartial() { quarantine_.RemovePartial(); }

 private:
  core::Task<void> Handle(VirusReport& report);
  core::Task<std::string> Keep(VirusReport& report);
  core::Task<void> KeepRecord(VirusReport& report, const Quarantine::Kept& kept);
  void StartAction(const VirusReport& report, std::string_view path);

  LogWriter& log_;
  ReportOutlet& outlet_;
  std::string temp_directory_;
  const std::string debug_prefix_;
  const Callbacks callbacks_;
  Quarantine quarantine_;
  VirusActions actions_;
  std::deque<std::shared_ptr<VirusReport>> reports_;
  core::Condition wake_;
  bool stopping_ = false;
};

// The record for a quarantined message.
QuarantineRecord RecordOf(const VirusReport& report, const Quarantine::Kept& kept);

}  // namespace bivalve::appliance
