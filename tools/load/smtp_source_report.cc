#include "tools/load/smtp_source_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "core/text.h"
#include "nlohmann/json.hpp"

namespace bivalve::tools {
namespace {

using Json = nlohmann::ordered_json;
using Snapshot = core::Histogram::Snapshot;

// The percentiles that are shown, in the JSON's and in the table's spelling.
struct Percentile {
  const char* name;
  double fraction;
};
constexpr std::array kPercentiles = {Percentile{"p50", 0.5}, Percentile{"p90", 0.9}, Percentile{"p99", 0.99},
                                     Percentile{"p99.9", 0.999}};

[[gnu::format(printf, 2, 3)]] void Print(std::string& out, const char* format, ...) {
  std::array<char, 512> line;
  va_list arguments;
  va_start(arguments, format);
  const int bytes = std::vsnprintf(line.data(), line.size(), format, arguments);
  va_end(arguments);
  out.append(line.data(), std::min(static_cast<size_t>(std::max(bytes, 0)), line.size() - 1));
}

auto Number(uint64_t n) { return static_cast<unsigned long long>(n); }
double ToSeconds(core::Duration d) { return std::chrono::duration<double>(d).count(); }
double Rounded(double value) { return std::round(value * 10) / 10; }

Json ToJson(const Snapshot& times) {
  Json json;
  json["count"] = times.count;
  json["mean"] = times.Mean();
  for (const Percentile& p : kPercentiles) json[p.name] = times.Percentile(p.fraction);
  json["max"] = times.max;
  return json;
}

void PrintTimes(std::string& out, const char* name, const Snapshot& times) {
  if (times.count == 0) return;
  Print(out, "%-20s", name);
  for (const Percentile& p : kPercentiles)
    Print(out, "%s %llu  ", p.name, Number(times.Percentile(p.fraction)));
  Print(out, "max %llu\n", Number(times.max));
}

void PrintCount(std::string& out, const char* name, uint64_t count) {
  if (count > 0) Print(out, "%-20s%llu\n", name, Number(count));
}

Snapshot Difference(const Snapshot& now, const Snapshot& before) {
  Snapshot difference = now;
  for (size_t i = 0; i < difference.buckets.size(); ++i) difference.buckets[i] -= before.buckets[i];
  difference.count -= before.count;
  difference.sum -= before.sum;
  return difference;
}

double CpuPerMessage(const SourceResult& result) {
  const uint64_t messages = result.answered();
  return messages == 0 ? 0
                       : static_cast<double>(core::Microseconds(result.cpu)) / static_cast<double>(messages);
}

}  // namespace

uint64_t SourceResult::answered() const { return accepted() + rejected(); }

uint64_t SourceResult::unexpected() const {
  return at(SourceCount::kRejected) + at(SourceCount::kRecipientsRejected) + at(SourceCount::kTimeouts) +
         at(SourceCount::kUnsent) + connection_errors();
}

double SourceResult::per_second(uint64_t count) const {
  return elapsed <= core::Duration::zero() ? 0 : static_cast<double>(count) / ToSeconds(elapsed);
}

SourceResult Collect(std::span<const std::unique_ptr<SourceWorker>> workers) {
  SourceResult result;
  for (const auto& worker : workers) {
    const SourceStats& stats = worker->stats();
    const auto values = stats.counters.Read();
    for (size_t i = 0; i < values.size(); ++i) result.counts[i] += values[i];
    for (size_t code = 0; code < stats.rejected_by_code.size(); ++code) {
      const uint64_t count = stats.rejected_by_code[code].load(std::memory_order_relaxed);
      if (count > 0) result.rejected_by_code[static_cast<uint16_t>(code)] += count;
    }
    result.latency_us.Add(stats.latency_us.Read());
    result.connect_us.Add(stats.connect_us.Read());
    result.start_delay_us.Add(stats.start_delay_us.Read());
    if (const int error = stats.connect_error.load(std::memory_order_relaxed); error != 0) {
      result.connect_error = error;
    }
  }
  return result;
}

std::string ResultJson(const SourceSettings& settings, const SourceResult& result) {
  Json json;
  json["server"] = settings.server;
  json["loop"] = settings.open_loop() ? "open" : "closed";
  if (settings.open_loop()) {
    json["rate"] = settings.rate;
    json["arrivals"] = settings.fixed ? "fixed" : "poisson";
  }
  json["sessions"] = settings.sessions;
  json["threads"] = settings.threads;
  json["messages_per_session"] = settings.per_session;
  json["pipelining"] = settings.pipelining;
  json["bdat"] = settings.bdat;
  json["messages"] = result.at(SourceCount::kMessages);
  json["accepted"] = result.accepted();
  json["rejected"] = Json::object();
  for (const auto& [code, count] : result.rejected_by_code) json["rejected"][core::Cat(code)] = count;
  json["recipients_rejected"] = result.at(SourceCount::kRecipientsRejected);
  json["infected"] = {{"sent", result.infected()},
                      {"accepted", result.at(SourceCount::kInfectedAccepted)},
                      {"rejected", result.at(SourceCount::kInfectedRejected)}};
  json["connections"] = result.at(SourceCount::kConnections);
  json["connection_errors"] = result.connection_errors();
  json["connect_errors"] = result.at(SourceCount::kConnectErrors);
  json["connections_lost"] = result.at(SourceCount::kLost);
  json["protocol_errors"] = result.at(SourceCount::kGarbage);
  json["timeouts"] = result.at(SourceCount::kTimeouts);
  json["unsent"] = result.at(SourceCount::kUnsent);
  json["unexpected"] = result.unexpected();
  json["seconds"] = ToSeconds(result.elapsed);
  json["messages_per_second"] = Rounded(result.per_second(result.answered()));
  json["bytes"] = result.at(SourceCount::kBytes);
  json["bytes_per_second"] = std::round(result.per_second(result.at(SourceCount::kBytes)));
  json["latency_us"] = ToJson(result.latency_us);
  json["connect_us"] = ToJson(result.connect_us);
  if (settings.open_loop()) json["start_delay_us"] = ToJson(result.start_delay_us);
  json["cpu_us"] = core::Microseconds(result.cpu);
  json["cpu_us_per_message"] = Rounded(CpuPerMessage(result));
  return json.dump(2) + "\n";
}

std::string ResultTable(const SourceSettings& settings, const SourceResult& result) {
  std::string out;
  Print(out, "%-20s%llu in %.2f s: %.1f messages/s, %.1f MB/s\n", "messages",
        Number(result.at(SourceCount::kMessages)), ToSeconds(result.elapsed),
        result.per_second(result.answered()), result.per_second(result.at(SourceCount::kBytes)) / 1e6);
  Print(out, "%-20s%llu\n", "accepted", Number(result.accepted()));
  for (const auto& [code, count] : result.rejected_by_code) {
    Print(out, "rejected with %-6u%llu\n", unsigned{code}, Number(count));
  }
  if (result.infected() > 0) {
    Print(out, "%-20s%llu, of them rejected %llu\n", "infected", Number(result.infected()),
          Number(result.at(SourceCount::kInfectedRejected)));
  }
  PrintCount(out, "recipients refused", result.at(SourceCount::kRecipientsRejected));
  if (const uint64_t failed = result.at(SourceCount::kConnectErrors); failed > 0) {
    Print(out, "%-20s%llu (%s)\n", "cannot connect", Number(failed), std::strerror(result.connect_error));
  }
  PrintCount(out, "connections lost", result.at(SourceCount::kLost));
  PrintCount(out, "protocol errors", result.at(SourceCount::kGarbage));
  PrintCount(out, "timeouts", result.at(SourceCount::kTimeouts));
  PrintCount(out, "unsent", result.at(SourceCount::kUnsent));
  PrintTimes(out, settings.open_loop() ? "from due, µs" : "latency, µs", result.latency_us);
  PrintTimes(out, "start delay, µs", result.start_delay_us);
  PrintTimes(out, "connect, µs", result.connect_us);
  Print(out, "%-20s%llu\n", "connections", Number(result.at(SourceCount::kConnections)));
  Print(out, "%-20s%.2f s, %.1f µs a message\n", "own CPU", ToSeconds(result.cpu), CpuPerMessage(result));
  return out;
}

std::string ProgressLine(double seconds, const SourceResult& before, const SourceResult& now,
                         core::Duration between) {
  const Snapshot times = Difference(now.latency_us, before.latency_us);
  std::string out;
  Print(out, "%6.1f s  %8.0f messages/s  accepted %llu  rejected %llu  failed %llu  p50 %llu µs  p99 %llu µs",
        seconds, static_cast<double>(now.answered() - before.answered()) / ToSeconds(between),
        Number(now.accepted()), Number(now.rejected()),
        Number(now.connection_errors() + now.at(SourceCount::kTimeouts)), Number(times.Percentile(0.5)),
        Number(times.Percentile(0.99)));
  if (const uint64_t backlog = now.at(SourceCount::kBacklog); backlog > 0) {
    Print(out, "  waiting %llu", Number(backlog));
  }
  out.push_back('\n');
  return out;
}

}  // namespace bivalve::tools
