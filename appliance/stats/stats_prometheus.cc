// The Prometheus text of a StatsReport: the same values as its JSON, in base units, from the same table.
#include <map>
#include <string>

#include "appliance/stats/prometheus.h"
#include "appliance/stats/stats_report.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

constexpr std::array kCircuits = {scan::Circuit::kOpen, scan::Circuit::kHalfOpen, scan::Circuit::kClosed};
constexpr std::array kCanaries = {scan::CanaryState::kOff, scan::CanaryState::kPending,
                                  scan::CanaryState::kFound, scan::CanaryState::kMissed,
                                  scan::CanaryState::kError};

std::string_view TypeName(MetricKind kind) {
  switch (kind) {
    case MetricKind::kCounter:
      return "counter";
    case MetricKind::kGauge:
      return "gauge";
    case MetricKind::kHistogram:
      return "histogram";
  }
  BV_CHECK(false);
}

void Begin(PrometheusText& text, const FamilyInfo& family) {
  text.Family(family.name, TypeName(family.kind), family.help);
}

std::string FamilyName(std::string_view group, std::string_view name, MetricKind kind) {
  return core::Cat("bivalve_", group, name.empty() ? "" : "_", name,
                   kind == MetricKind::kCounter ? "_total" : "");
}

double Seconds(uint64_t microseconds) { return static_cast<double>(microseconds) / 1e6; }

// Writes every worker's own counts; Prometheus can add them up.
void WriteCounters(PrometheusText& text, const std::vector<MetricCounters::Values>& per_worker) {
  const auto write = [&](size_t row, std::string_view label) {
    for (size_t worker = 0; worker < per_worker.size(); ++worker) {
      const std::string number = core::Cat(worker);
      const uint64_t value = per_worker[worker][row];
      if (label.empty()) {
        text.Sample({{"worker", number}}, value);
      } else {
        text.Sample({{label, kMetrics[row].name}, {"worker", number}}, value);
      }
    }
  };
  for (const LabelledGroup& group : kLabelledGroups) {
    bool begun = false;
    for (size_t row = 0; row < kMetrics.size(); ++row) {
      if (kMetrics[row].group != group.group) continue;
      if (!begun) {
        text.Family(FamilyName(group.group, "", kMetrics[row].kind), TypeName(kMetrics[row].kind),
                    group.help);
      }
      begun = true;
      write(row, group.label);
    }
  }
  for (size_t row = 0; row < kMetrics.size(); ++row) {
    const MetricInfo& metric = kMetrics[row];
    bool labelled = false;
    for (const LabelledGroup& group : kLabelledGroups) labelled |= group.group == metric.group;
    if (labelled) continue;
    text.Family(FamilyName(metric.group, metric.name, metric.kind), TypeName(metric.kind), metric.help);
    write(row, "");
  }
}

}  // namespace

std::string StatsReport::Prometheus() const {
  PrometheusText text;
  Begin(text, families::kBuildInfo);
  text.Sample({{"program", about_.program}, {"version", about_.version}}, uint64_t{1});
  Begin(text, families::kStartTime);
  text.Sample({}, about_.started);
  Begin(text, families::kWorkers);
  text.Sample({}, uint64_t{per_worker_.size()});
  Begin(text, families::kViolations);
  text.Sample({}, about_.accounting_violations);
  Begin(text, families::kNotKept);
  text.Sample({}, about_.not_kept);
  Begin(text, families::kReloads);
  text.Sample({}, about_.reloads.count);
  Begin(text, families::kReloadsFailed);
  text.Sample({}, about_.reloads.failed);
  Begin(text, families::kReloadTime);
  text.Sample({}, static_cast<uint64_t>(std::chrono::system_clock::to_time_t(about_.reloads.time)));
  Begin(text, families::kGeneration);
  text.Sample({}, about_.restarts.generation);
  Begin(text, families::kRestartsFailed);
  text.Sample({}, about_.restarts.failed);
  WriteCounters(text, per_worker_);

  Begin(text, families::kViruses);
  for (const Virus& one : viruses_) text.Sample({{"name", one.name}}, one.count);
  text.Sample({{"name", kOtherViruses}}, other_viruses_);

  Begin(text, families::kPhases);
  for (size_t i = 0; i < kPhaseNames.size(); ++i) text.Histogram({{"phase", kPhaseNames[i]}}, phases_us_[i]);
  Begin(text, families::kPhasesMax);
  for (size_t i = 0; i < kPhaseNames.size(); ++i)
    text.Sample({{"phase", kPhaseNames[i]}}, Seconds(phases_us_[i].max));
  Begin(text, families::kServerLatency);
  text.Histogram({}, server_connect_us_);
  Begin(text, families::kServerLatencyMax);
  text.Sample({}, Seconds(server_connect_us_.max));

  // An address that is configured twice counts as two scanners.
  std::vector<std::string> names;
  std::map<std::string, int> seen;
  for (const Scanner& one : scanners_) {
    const std::string address = ValidUtf8(one.address);
    const int times = ++seen[address];
    names.push_back(times == 1 ? address : core::Cat(address, "#", times));
  }
  const auto each = [&](const FamilyInfo& family, auto write) {
    Begin(text, family);
    for (size_t i = 0; i < scanners_.size(); ++i) write(std::string_view(names[i]), scanners_[i]);
  };
  using Name = std::string_view;
  each(families::kScannerUp,
       [&](Name name, const Scanner& one) { text.Sample({{"scanner", name}}, uint64_t{one.up}); });
  each(families::kScannerCircuit, [&](Name name, const Scanner& one) {
    for (const scan::Circuit state : kCircuits)
      text.Sample({{"scanner", name}, {"state", scan::ToString(state)}}, uint64_t{one.circuit == state});
  });
  each(families::kScannerCanary, [&](Name name, const Scanner& one) {
    for (const scan::CanaryState state : kCanaries)
      text.Sample({{"scanner", name}, {"state", scan::ToString(state)}}, uint64_t{one.canary == state});
  });
  each(families::kScannerOwnUser, [&](Name name, const Scanner& one) {
    text.Sample({{"scanner", name}}, uint64_t{one.facts.runs_as(geteuid())});
  });
  each(families::kScannerLimitsKnown, [&](Name name, const Scanner& one) {
    text.Sample({{"scanner", name}}, uint64_t{one.facts.limits.known});
  });
  each(families::kScannerLimitBytes, [&](Name name, const Scanner& one) {
    const scan::ScannerLimits& limits = one.facts.limits;
    text.Sample({{"scanner", name}, {"limit", "file"}}, limits.file_bytes_max);
    text.Sample({{"scanner", name}, {"limit", "scan"}}, limits.scan_bytes_max);
    text.Sample({{"scanner", name}, {"limit", "stream"}}, limits.stream_bytes_max);
  });
  each(families::kScannerLimitSeconds, [&](Name name, const Scanner& one) {
    text.Sample({{"scanner", name}}, std::chrono::duration<double>(one.facts.limits.scan_time_max).count());
  });
  each(families::kScannerLimitQueue, [&](Name name, const Scanner& one) {
    text.Sample({{"scanner", name}}, uint64_t{one.facts.limits.queue_max});
  });
  each(families::kScannerInfo, [&](Name name, const Scanner& one) {
    text.Sample({{"scanner", name}, {"version", one.version}}, uint64_t{1});
  });
  for (const ScannerMetricInfo& metric : kScannerMetrics) {
    text.Family(FamilyName("scanner", metric.name, metric.kind), TypeName(metric.kind), metric.help);
    for (size_t i = 0; i < scanners_.size(); ++i)
      text.Sample({{"scanner", names[i]}}, scanners_[i].counts[static_cast<size_t>(metric.count)]);
  }
  each(families::kScannerLatency,
       [&](Name name, const Scanner& one) { text.Histogram({{"scanner", name}}, one.latency_us); });
  each(families::kScannerLatencyMax,
       [&](Name name, const Scanner& one) { text.Sample({{"scanner", name}}, Seconds(one.latency_us.max)); });

  Begin(text, families::kProcessStart);
  text.Sample({}, about_.process_started);
  Begin(text, families::kProcessCpu);
  text.Sample({}, about_.process.cpu_seconds);
  Begin(text, families::kProcessResident);
  text.Sample({}, about_.process.resident_memory_bytes);
  Begin(text, families::kProcessVirtual);
  text.Sample({}, about_.process.virtual_memory_bytes);
  Begin(text, families::kProcessFds);
  text.Sample({}, about_.process.open_fds);
  Begin(text, families::kProcessFdsMax);
  text.Sample({}, about_.process.max_fds);
  return text.Take();
}

}  // namespace bivalve::appliance
