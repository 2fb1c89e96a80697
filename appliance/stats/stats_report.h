// StatsReport: the counters of all workers at one moment, added up, and the two documents made from them: the
// JSON of GET /stats and the Prometheus text of GET /metrics. Both say the same. Reads without locks. Control
// thread.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "appliance/stats/metrics.h"
#include "appliance/stats/process_stats.h"
#include "appliance/stats/recent_viruses.h"
#include "appliance/stats/worker_stats.h"
#include "core/histogram.h"
#include "scan/scanner_facts.h"

namespace bivalve::appliance {

class StatsReport {
 public:
  // Reloads of the configuration while the program ran.
  struct Reloads {
    uint64_t count = 0;  // reloads that took effect
    uint64_t failed = 0;
    std::string last_error = {};                      // of the last reload; empty: it took effect
    std::chrono::system_clock::time_point time = {};  // of the last reload
  };
  // Hot restarts.
  struct Restarts {
    uint64_t generation = 1;      // number of this process in the line; 1: it was not started by another one
    uint64_t failed = 0;          // successors of this process that did not take over
    std::string last_error = {};  // why the last of them failed; empty: none failed
  };
  struct About {
    std::string program;  // "bivalved" or "clamsmtpd"
    std::string version = {};
    double started = 0;  // seconds since 1970
    double uptime_seconds = 0;
    double process_started = 0;  // seconds since 1970
    ProcessStats process = {};
    uint64_t accounting_violations = 0;     // counted by AccountingCheck
    uint64_t not_kept = 0;                  // messages that Quarantine or DebugFiles could not keep
    std::vector<std::string> scanners;      // as configured
    std::vector<size_t> scanner_rows = {};  // in WorkerStats::scanners; empty: in the order of `scanners`
    std::vector<scan::ScannerFacts> scanner_facts = {};  // by row; may be shorter
    Reloads reloads = {};
    Restarts restarts = {};
  };

  // `workers` are in the order of their index.
  StatsReport(About about, const std::vector<const WorkerStats*>& workers);

  // The JSON of GET /stats, whose names programs of others rely on. With `with_buckets`, every duration has
  // "buckets" too: an array of [lower bound in microseconds, count], without the empty ones. The difference
  // between two reports is what happened between them.
  std::string Json(bool with_buckets = false) const;
  // The text of GET /metrics (stats_prometheus.cc). Counters have a label for the worker; scanners and
  // histograms are over all workers.
  std::string Prometheus() const;

  uint64_t Total(Metric metric) const { return totals_[static_cast<size_t>(metric)]; }
  bool AnyScannerUp() const;
  // One line: the numbers of connections and messages, and how the messages ended.
  std::string Account() const;

 private:
  struct Scanner {
    std::string address;
    bool up = false;
    scan::Circuit circuit = scan::Circuit::kOpen;            // the best among the workers
    core::Counters<scan::ScannerCount>::Values counts = {};  // of kScannerMetrics
    scan::CanaryState canary = scan::CanaryState::kOff;      // the worst among the workers
    std::string version = {};
    scan::ScannerFacts facts = {};
    core::Histogram::Snapshot latency_us;
  };
  static void Add(const scan::ScannerStats& from, Scanner& to);
  size_t RowOf(size_t scanner) const {
    return about_.scanner_rows.empty() ? scanner : about_.scanner_rows[scanner];
  }
  void TakeViruses(const std::vector<const WorkerStats*>& workers);

  struct Virus {
    std::string name;  // valid UTF-8
    uint64_t count = 0;
  };
  static constexpr size_t kVirusesShown = 100;
  static constexpr std::string_view kOtherViruses = "other";

  About about_;
  std::vector<MetricCounters::Values> per_worker_;
  MetricCounters::Values totals_ = {};
  std::array<core::Histogram::Snapshot, kPhaseNames.size()> phases_us_;
  core::Histogram::Snapshot server_connect_us_;
  std::vector<Scanner> scanners_;
  std::vector<Virus> viruses_;  // the most frequent ones, most frequent first
  uint64_t other_viruses_ = 0;
  std::vector<RecentVirus> recent_viruses_;  // newest first
};

}  // namespace bivalve::appliance
