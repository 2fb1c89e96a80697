#include "appliance/stats_report.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

namespace bivalve::appliance {
namespace {

using Json = nlohmann::ordered_json;

Json HistogramJson(const core::Histogram::Snapshot& h) {
  return {{"count", h.count},          {"mean", h.Mean()},          {"p50", h.Percentile(0.50)},
          {"p90", h.Percentile(0.90)}, {"p99", h.Percentile(0.99)}, {"max", h.max}};
}

// The table's groups and names, in the table's order.
Json CountersJson(const MetricCounters::Values& values) {
  Json json = Json::object();
  for (size_t i = 0; i < kMetrics.size(); ++i) {
    json[std::string(kMetrics[i].group)][std::string(kMetrics[i].name)] = values[i];
  }
  return json;
}

// Orders canaries by how much they say against the scanner: what one worker has seen is not hidden by
// another's luck.
bool Sounder(scan::CanaryState a, scan::CanaryState b) {
  static constexpr std::array kRank = {0, 2, 1, 4, 3};  // off, pending, found, missed, error
  return kRank[static_cast<size_t>(a)] < kRank[static_cast<size_t>(b)];
}

}  // namespace

StatsReport::StatsReport(About about, const std::vector<const WorkerStats*>& workers)
    : about_(std::move(about)) {
  for (const std::string& address : about_.scanners)
    scanners_.push_back({.address = address, .latency_us = {}});
  std::map<std::string, uint64_t> viruses;
  for (const WorkerStats* worker : workers) {
    per_worker_.push_back(worker->counters.Read());
    for (size_t i = 0; i < totals_.size(); ++i) totals_[i] += per_worker_.back()[i];
    for (size_t i = 0; i < phases_us_.size(); ++i) phases_us_[i].Add(worker->phases_us[i].Read());
    server_connect_us_.Add(worker->server_connect_us.Read());
    for (size_t i = 0; i < scanners_.size(); ++i) {
      const scan::ScannerStats& from = *worker->scanners[i];
      Scanner& to = scanners_[i];
      to.up = to.up || from.counts.Get(scan::ScannerCount::kUp) != 0;
      to.connections += from.counts.Get(scan::ScannerCount::kConnections);
      to.in_flight += from.counts.Get(scan::ScannerCount::kInFlight);
      to.scans += from.counts.Get(scan::ScannerCount::kScans);
      to.circuit =
          std::max(to.circuit, static_cast<scan::Circuit>(from.counts.Get(scan::ScannerCount::kCircuit)));
      to.hedges += from.counts.Get(scan::ScannerCount::kHedges);
      to.errors += from.counts.Get(scan::ScannerCount::kErrors);
      to.canary = std::max(
          to.canary, static_cast<scan::CanaryState>(from.counts.Get(scan::ScannerCount::kCanary)), Sounder);
      if (to.version.empty()) to.version = from.version.Get();
      to.latency_us.Add(from.latency_us.Read());
    }
    worker->viruses.Read([&viruses](const std::string& name, uint64_t count) { viruses[name] += count; });
    other_viruses_ += worker->viruses.other();
  }
  for (const auto& [name, count] : viruses) viruses_.push_back({name, count});
  std::stable_sort(viruses_.begin(), viruses_.end(),
                   [](const Virus& a, const Virus& b) { return a.count > b.count; });
  while (viruses_.size() > kVirusesShown) {
    other_viruses_ += viruses_.back().count;
    viruses_.pop_back();
  }
}

bool StatsReport::AnyScannerUp() const {
  return std::any_of(scanners_.begin(), scanners_.end(), [](const Scanner& one) { return one.up; });
}

std::string StatsReport::Json() const {
  using Json = nlohmann::ordered_json;
  Json json = {{"program", about_.program},
               {"version", about_.version},
               {"pid", getpid()},
               {"uptime_seconds", about_.uptime_seconds},
               {"workers", per_worker_.size()},
               {"accounting_violations", about_.accounting_violations}};
  json.update(CountersJson(totals_));
  json["errors"]["not_kept"] = about_.not_kept;
  json["scanners"] = Json::array();
  for (const Scanner& one : scanners_) {
    json["scanners"].push_back({{"address", one.address},
                                {"up", one.up},
                                {"circuit", scan::ToString(one.circuit)},
                                {"canary", scan::ToString(one.canary)},
                                {"version", one.version},
                                {"connections", one.connections},
                                {"in_flight", one.in_flight},
                                {"scans", one.scans},
                                {"errors", one.errors},
                                {"hedges", one.hedges},
                                {"latency_us", HistogramJson(one.latency_us)}});
  }
  json["server"]["latency_us"] = HistogramJson(server_connect_us_);
  for (size_t i = 0; i < kPhaseNames.size(); ++i)
    json["phases_us"][std::string(kPhaseNames[i])] = HistogramJson(phases_us_[i]);
  json["viruses"] = Json::object();
  for (const Virus& one : viruses_) json["viruses"][one.name] = one.count;
  if (other_viruses_ > 0) json["viruses"]["other"] = other_viruses_;
  json["per_worker"] = Json::array();
  for (const MetricCounters::Values& values : per_worker_) json["per_worker"].push_back(CountersJson(values));
  // A signature name may hold any bytes; what is not UTF-8 is replaced rather than thrown at.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace bivalve::appliance
