// WorkerStats: everything that one worker counts. The worker writes, the control thread reads, without locks.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "appliance/stats/metrics.h"
#include "appliance/stats/recent_viruses.h"
#include "core/histogram.h"
#include "scan/clamd_pool.h"

namespace bivalve::appliance {

// How often each signature name was found. Names are added and never removed. Beyond kNamesMax different
// names, further names are counted together as others. Only the owner adds; any thread reads.
class VirusTable {
 public:
  static constexpr size_t kNamesMax = 1024;

  void Add(std::string_view name) {
    const size_t used = used_.load(std::memory_order_relaxed);
    for (size_t i = 0; i < used; ++i) {
      if (entries_[i].name == name) {
        entries_[i].count.fetch_add(1, std::memory_order_relaxed);
        return;
      }
    }
    if (used == kNamesMax) {
      other_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    if (entries_ == nullptr) entries_ = std::make_unique<Entry[]>(kNamesMax);
    entries_[used].name = name;
    entries_[used].count.store(1, std::memory_order_relaxed);
    used_.store(used + 1, std::memory_order_release);
  }

  // Calls visit(name, count) for each name.
  template <typename Visit>
  void Read(Visit visit) const {
    const size_t used = used_.load(std::memory_order_acquire);
    for (size_t i = 0; i < used; ++i)
      visit(entries_[i].name, entries_[i].count.load(std::memory_order_relaxed));
  }
  uint64_t other() const { return other_.load(std::memory_order_relaxed); }

 private:
  struct Entry {
    std::string name;
    std::atomic<uint64_t> count = 0;
  };
  std::unique_ptr<Entry[]> entries_;  // allocated before used_ is set
  std::atomic<size_t> used_ = 0;
  std::atomic<uint64_t> other_ = 0;
};

struct WorkerStats {
  explicit WorkerStats(size_t scanner_count) {
    for (size_t i = 0; i < scanner_count; ++i) scanners.push_back(std::make_unique<scan::ScannerStats>());
  }

  // The row of a scanner; makes it if it is missing. A row is never removed, so a scanner that is removed
  // from the settings and comes back continues its counts. Control thread, or before that thread runs.
  scan::ScannerStats& ScannerRow(size_t row) {
    while (scanners.size() <= row) scanners.push_back(std::make_unique<scan::ScannerStats>());
    return *scanners[row];
  }

  MetricCounters counters;
  std::array<core::Histogram, kPhaseNames.size()> phases_us;
  core::Histogram server_connect_us;
  std::vector<std::unique_ptr<scan::ScannerStats>> scanners;  // the vector: same threads as ScannerRow()
  VirusTable viruses;
  RecentViruses recent_viruses;

  void Record(Phase phase, core::Duration duration) {
    phases_us[static_cast<size_t>(phase)].Record(core::Microseconds(duration));
  }
};

}  // namespace bivalve::appliance
