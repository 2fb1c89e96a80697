// What a run of smtp_source found: the sum over its workers, as a table, as JSON, and as a line while it
// runs.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "core/histogram.h"
#include "core/mono_time.h"
#include "tools/load/smtp_source_settings.h"
#include "tools/load/smtp_source_worker.h"

namespace bivalve::tools {

struct SourceResult {
  core::Counters<SourceCount>::Values counts = {};
  std::map<uint16_t, uint64_t> rejected_by_code;
  core::Histogram::Snapshot latency_us;
  core::Histogram::Snapshot connect_us;
  core::Histogram::Snapshot start_delay_us;
  int connect_error = 0;  // errno of one of them
  // Known at the end only.
  core::Duration elapsed{};
  core::Duration cpu{};

  uint64_t at(SourceCount name) const { return counts[static_cast<size_t>(name)]; }
  // Messages that the server said yes or no to.
  uint64_t answered() const;
  uint64_t accepted() const { return at(SourceCount::kAccepted) + at(SourceCount::kInfectedAccepted); }
  uint64_t rejected() const { return at(SourceCount::kRejected) + at(SourceCount::kInfectedRejected); }
  // Infected ones among them.
  uint64_t infected() const {
    return at(SourceCount::kInfectedAccepted) + at(SourceCount::kInfectedRejected);
  }
  uint64_t connection_errors() const {
    return at(SourceCount::kConnectErrors) + at(SourceCount::kLost) + at(SourceCount::kGarbage);
  }
  // What should not have happened. That an infected message is refused is no surprise.
  uint64_t unexpected() const;
  double per_second(uint64_t count) const;
};

// The sum of what the workers have counted so far.
SourceResult Collect(std::span<const std::unique_ptr<SourceWorker>> workers);

std::string ResultJson(const SourceSettings& settings, const SourceResult& result);
std::string ResultTable(const SourceSettings& settings, const SourceResult& result);
// What happened between two moments, `seconds` after the start.
std::string ProgressLine(double seconds, const SourceResult& before, const SourceResult& now,
                         core::Duration between);

}  // namespace bivalve::tools
