#include "appliance/stats/stats_report.h"

#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "appliance/log/event.h"
#include "appliance/stats/prometheus.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

using Json = nlohmann::ordered_json;

Json HistogramJson(const core::Histogram::Snapshot& h, bool with_buckets) {
  Json json = {{"count", h.count},
               {"sum", h.sum},
               {"mean", h.Mean()},
               {"p50", h.Percentile(0.50)},
               {"p90", h.Percentile(0.90)},
               {"p99", h.Percentile(0.99)},
               {"max", h.max}};
  if (!with_buckets) return json;
  json["buckets"] = Json::array();
  for (size_t i = 0; i < h.buckets.size(); ++i) {
    if (h.buckets[i] != 0)
      json["buckets"].push_back(Json::array({core::Histogram::LowerBound(i), h.buckets[i]}));
  }
  return json;
}

// An object with the groups and names of the table, in the table's order.
Json CountersJson(const MetricCounters::Values& values) {
  Json json = Json::object();
  for (size_t i = 0; i < kMetrics.size(); ++i) {
    json[std::string(kMetrics[i].group)][std::string(kMetrics[i].name)] = values[i];
  }
  return json;
}

nlohmann::ordered_json LimitsJson(const scan::ScannerLimits& limits) {
  return {{"known", limits.known},
          {"file_bytes", limits.file_bytes_max},
          {"scan_bytes", limits.scan_bytes_max},
          {"stream_bytes", limits.stream_bytes_max},
          {"scan_seconds", std::chrono::duration<double>(limits.scan_time_max).count()},
          {"queue", limits.queue_max}};
}

// Orders canary states by how bad they are for the scanner, so that what one worker has found is not hidden
// by another worker's better result.
bool Sounder(scan::CanaryState a, scan::CanaryState b) {
  static constexpr std::array kRank = {0, 2, 1, 4, 3};  // off, pending, found, missed, error
  return kRank[static_cast<size_t>(a)] < kRank[static_cast<size_t>(b)];
}

}  // namespace

StatsReport::StatsReport(About about, const std::vector<const WorkerStats*>& workers)
    : about_(std::move(about)) {
  for (const std::string& address : about_.scanners) {
    const size_t row = RowOf(scanners_.size());
    scanners_.emplace_back();
    scanners_.back().address = address;
    if (row < about_.scanner_facts.size()) scanners_.back().facts = about_.scanner_facts[row];
  }
  for (const WorkerStats* worker : workers) {
    per_worker_.push_back(worker->counters.Read());
    for (size_t i = 0; i < totals_.size(); ++i) totals_[i] += per_worker_.back()[i];
    for (size_t i = 0; i < phases_us_.size(); ++i) phases_us_[i].Add(worker->phases_us[i].Read());
    server_connect_us_.Add(worker->server_connect_us.Read());
    for (size_t i = 0; i < scanners_.size(); ++i) Add(*worker->scanners[RowOf(i)], scanners_[i]);
  }
  TakeViruses(workers);
}

void StatsReport::Add(const scan::ScannerStats& from, Scanner& to) {
  const auto counts = from.counts.Read();
  const auto count = [&counts](scan::ScannerCount name) { return counts[static_cast<size_t>(name)]; };
  for (size_t i = 0; i < counts.size(); ++i) to.counts[i] += counts[i];
  to.up = to.up || count(scan::ScannerCount::kUp) != 0;
  to.circuit = std::max(to.circuit, static_cast<scan::Circuit>(count(scan::ScannerCount::kCircuit)));
  to.canary =
      std::max(to.canary, static_cast<scan::CanaryState>(count(scan::ScannerCount::kCanary)), Sounder);
  if (to.version.empty()) to.version = ValidUtf8(from.version.Get());
  to.latency_us.Add(from.latency_us.Read());
}

// Counts never go down from one report to the next, though a name may join or leave the most frequent ones:
// the count of a name only grows, and the sum of all but the hundred largest counts cannot shrink when counts
// grow.
void StatsReport::TakeViruses(const std::vector<const WorkerStats*>& workers) {
  std::map<std::string, uint64_t> viruses;
  for (const WorkerStats* worker : workers) {
    worker->viruses.Read(
        [&viruses](const std::string& name, uint64_t count) { viruses[ValidUtf8(name)] += count; });
    other_viruses_ += worker->viruses.other();
    for (RecentVirus& one : worker->recent_viruses.Read()) {
      one.name = ValidUtf8(one.name);
      recent_viruses_.push_back(std::move(one));
    }
  }
  // A signature may be called "other" itself.
  if (const auto found = viruses.find(std::string(kOtherViruses)); found != viruses.end()) {
    other_viruses_ += found->second;
    viruses.erase(found);
  }
  for (const auto& [name, count] : viruses) viruses_.push_back({name, count});
  std::ranges::sort(viruses_, [](const Virus& a, const Virus& b) {
    return a.count != b.count ? a.count > b.count : a.name < b.name;
  });
  while (viruses_.size() > kVirusesShown) {
    other_viruses_ += viruses_.back().count;
    viruses_.pop_back();
  }
  std::ranges::sort(recent_viruses_, std::greater<>(), &RecentVirus::time_us);
  if (recent_viruses_.size() > RecentViruses::kKept) recent_viruses_.resize(RecentViruses::kKept);
}

bool StatsReport::AnyScannerUp() const {
  return std::any_of(scanners_.begin(), scanners_.end(), [](const Scanner& one) { return one.up; });
}

std::string StatsReport::Account() const {
  std::string text = "all in all:";
  for (size_t i = 0; i < kMetrics.size(); ++i) {
    const bool shown = kMetrics[i].group == "messages" || static_cast<Metric>(i) == Metric::kAccepted;
    if (shown && totals_[i] != 0)
      core::Append(text, " ", kMetrics[i].group, ".", kMetrics[i].name, "=", totals_[i]);
  }
  return text;
}

std::string StatsReport::Json(bool with_buckets) const {
  using Json = nlohmann::ordered_json;
  Json json = {{"program", about_.program},
               {"version", about_.version},
               {"pid", getpid()},
               {"started", about_.started},
               {"uptime_seconds", about_.uptime_seconds},
               {"workers", per_worker_.size()},
               {"accounting_violations", about_.accounting_violations},
               {"reload",
                {{"count", about_.reloads.count},
                 {"failed", about_.reloads.failed},
                 {"last_error", about_.reloads.last_error},
                 {"time", std::chrono::system_clock::to_time_t(about_.reloads.time)}}},
               {"restart",
                {{"generation", about_.restarts.generation},
                 {"failed", about_.restarts.failed},
                 {"last_error", about_.restarts.last_error}}}};
  json.update(CountersJson(totals_));
  json["errors"]["not_kept"] = about_.not_kept;
  json["scanners"] = Json::array();
  for (const Scanner& one : scanners_) {
    Json scanner = {{"address", one.address},
                    {"up", one.up},
                    {"circuit", scan::ToString(one.circuit)},
                    {"canary", scan::ToString(one.canary)},
                    {"version", one.version},
                    {"own_user", one.facts.runs_as(geteuid())},
                    {"limits", LimitsJson(one.facts.limits)}};
    for (const ScannerMetricInfo& metric : kScannerMetrics)
      scanner[std::string(metric.name)] = one.counts[static_cast<size_t>(metric.count)];
    scanner["latency_us"] = HistogramJson(one.latency_us, with_buckets);
    json["scanners"].push_back(std::move(scanner));
  }
  json["server"]["latency_us"] = HistogramJson(server_connect_us_, with_buckets);
  for (size_t i = 0; i < kPhaseNames.size(); ++i)
    json["phases_us"][std::string(kPhaseNames[i])] = HistogramJson(phases_us_[i], with_buckets);
  json["viruses"] = Json::object();
  for (const Virus& one : viruses_) json["viruses"][one.name] = one.count;
  if (other_viruses_ > 0) json["viruses"][std::string(kOtherViruses)] = other_viruses_;
  json["viruses_recent"] = Json::array();
  for (const RecentVirus& one : recent_viruses_) {
    json["viruses_recent"].push_back({{"name", one.name},
                                      {"time", static_cast<double>(one.time_us) / 1e6},
                                      {"session", SessionText(one.session)},
                                      {"client", one.client}});
  }
  json["process"] = {{"start_time_seconds", about_.process_started},
                     {"cpu_seconds", about_.process.cpu_seconds},
                     {"resident_memory_bytes", about_.process.resident_memory_bytes},
                     {"virtual_memory_bytes", about_.process.virtual_memory_bytes},
                     {"open_fds", about_.process.open_fds},
                     {"max_fds", about_.process.max_fds}};
  json["per_worker"] = Json::array();
  for (const MetricCounters::Values& values : per_worker_) json["per_worker"].push_back(CountersJson(values));
  // Names in the settings may hold any bytes; what is not UTF-8 is replaced, so that dump() does not throw.
  return json.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace bivalve::appliance
