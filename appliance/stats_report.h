// StatsReport: the counters of all workers at one moment, added up, and the documents made of them. Reads
// without locks; runs on the control thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "appliance/metrics.h"
#include "appliance/worker_stats.h"
#include "core/histogram.h"

namespace bivalve::appliance {

class StatsReport {
 public:
  struct About {
    std::string program;  // "bivalved" or "clamsmtpd"
    std::string version = {};
    double uptime_seconds = 0;
    uint64_t accounting_violations = 0;  // by AccountingCheck
    uint64_t not_kept = 0;               // messages that Quarantine or DebugFiles could not keep
    std::vector<std::string> scanners;   // as configured
  };

  // `workers` in order of their index.
  StatsReport(About about, const std::vector<const WorkerStats*>& workers);

  // The JSON of GET /stats (CONTRACT, "Statistics").
  std::string Json() const;

  uint64_t Total(Metric metric) const { return totals_[static_cast<size_t>(metric)]; }
  bool AnyScannerUp() const;

 private:
  struct Scanner {
    std::string address;
    bool up = false;
    scan::Circuit circuit = scan::Circuit::kOpen;  // the best of the workers'
    uint64_t connections = 0;
    uint64_t in_flight = 0;
    uint64_t scans = 0;
    uint64_t errors = 0;
    uint64_t hedges = 0;
    scan::CanaryState canary = scan::CanaryState::kOff;  // the worst of the workers'
    std::string version = {};
    core::Histogram::Snapshot latency_us;
  };
  struct Virus {
    std::string name;
    uint64_t count = 0;
  };
  static constexpr size_t kVirusesShown = 100;

  About about_;
  std::vector<MetricCounters::Values> per_worker_;
  MetricCounters::Values totals_ = {};
  std::array<core::Histogram::Snapshot, kPhaseNames.size()> phases_us_;
  core::Histogram::Snapshot server_connect_us_;
  std::vector<Scanner> scanners_;
  std::vector<Virus> viruses_;  // the most frequent ones, most frequent first
  uint64_t other_viruses_ = 0;
};

}  // namespace bivalve::appliance
