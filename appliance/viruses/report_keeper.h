// ReportKeeper: does what the workers' reports of infected messages ask for, one report after the other: a
// file, its record, then the command that is told its name. On the control thread.
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
    // As the scanner said last; empty: not known.
    std::function<std::string(std::string_view scanner)> scanner_version;
    // A report was dealt with.
    std::function<void()> done;
  };

  // `debug_prefix`: of the files of DebugFiles. `outlet`: where the reports come from; it is told what became
  // of each. It and `log` outlive the keeper.
  ReportKeeper(core::Loop& loop, LogWriter& log, ReportOutlet& outlet, Settings settings,
               std::string debug_prefix, Callbacks callbacks);

  // For the reports that are dealt with from now on.
  void Change(Settings settings);
  void Add(std::shared_ptr<VirusReport> report);

  // Deals with reports until Stop() is called; those that are left then are not. Suspends.
  core::Task<void> Run();
  void Stop();
  // After SIGCHLD: a command may have ended.
  void Reap();

  // See Quarantine. For the start: removes what a crash has left, and says so. Blocks.
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

// What is known of a quarantined message.
QuarantineRecord RecordOf(const VirusReport& report, const Quarantine::Kept& kept);

}  // namespace bivalve::appliance
