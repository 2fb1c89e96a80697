#include "tools/bivalvectl/top_view.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <map>
#include <string_view>
#include <utility>

#include "core/histogram.h"
#include "core/text.h"
#include "core/utc_time.h"
#include "tools/bivalvectl/output.h"

namespace bivalve::ctl {
namespace {

using Style = TopLine::Style;

// "The last minutes" of the viruses.
constexpr double kRecentSeconds = 600;
constexpr std::string_view kKeys = "q quit  s sort sessions  r reverse  v sort viruses  space look now";

template <typename... Arguments>
std::string Format(const char* format, Arguments... arguments) {
  char text[400];
  const int bytes = std::snprintf(text, sizeof(text), format, arguments...);
  return std::string(text, std::min(static_cast<size_t>(std::max(bytes, 0)), sizeof(text) - 1));
}

std::string Rate(double per_second) {
  return per_second < 99.95 ? Format("%.1f", per_second) : ShortCount(per_second);
}

// Counters of two looks at one process.
class Rates {
 public:
  Rates(const std::optional<TopSample>& before, const TopSample& now) : now_(now.stats) {
    const bool same = before.has_value() && CountOf(before->stats, "pid") == CountOf(now.stats, "pid") &&
                      NumberOf(before->stats, "uptime_seconds") <= NumberOf(now.stats, "uptime_seconds");
    if (!same || now.time <= before->time) return;
    before_ = &before->stats;
    seconds_ = now.time - before->time;
  }
  bool known() const { return before_ != nullptr; }
  // Per second; 0 when it is not known.
  double Of(const char* group, const char* name) const {
    return before_ == nullptr ? 0 : Of(MemberOf(*before_, group), MemberOf(now_, group), name);
  }
  double Of(const Json& before, const Json& now, const char* name) const {
    const uint64_t from = CountOf(before, name);
    const uint64_t to = CountOf(now, name);
    return before_ == nullptr || to < from ? 0 : static_cast<double>(to - from) / seconds_;
  }
  // The scanner of that number as it was, if it was the same one.
  const Json& ScannerBefore(size_t index, const Json& now) const {
    static const Json kNull;
    if (before_ == nullptr) return kNull;
    const Json& scanners = MemberOf(*before_, "scanners");
    const bool there = scanners.is_array() && index < scanners.size();
    return there && TextOf(scanners[index], "address") == TextOf(now, "address") ? scanners[index] : kNull;
  }
  const Json& PhaseBefore(const std::string& name) const {
    static const Json kNull;
    return before_ == nullptr ? kNull : MemberOf(MemberOf(*before_, "phases_us"), name.c_str());
  }

 private:
  const Json& now_;
  const Json* before_ = nullptr;
  double seconds_ = 1;
};

// How long something took between two looks, or since the start of the daemon.
struct Durations {
  uint64_t count = 0;
  uint64_t mean = 0;
  uint64_t p50 = 0;
  uint64_t p90 = 0;
  uint64_t p99 = 0;
  uint64_t max = 0;  // the end of its bucket where that is all that is known
};

// From the "buckets" of GET /stats?buckets=1. What is none of ours is left out.
core::Histogram::Snapshot SnapshotOf(const Json& h) {
  core::Histogram::Snapshot snapshot;
  for (const Json& pair : MemberOf(h, "buckets")) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_unsigned() ||
        !pair[1].is_number_unsigned())
      continue;
    snapshot.buckets[core::Histogram::BucketOf(pair[0].get<uint64_t>())] += pair[1].get<uint64_t>();
  }
  snapshot.sum = CountOf(h, "sum");
  snapshot.max = CountOf(h, "max");
  return snapshot;
}

// Without `before`, or from a daemon that serves no histograms: since its start.
Durations DurationsOf(const Json& before, const Json& now) {
  if (!MemberOf(before, "buckets").is_array() || !MemberOf(now, "buckets").is_array()) {
    return {.count = CountOf(now, "count"),
            .mean = static_cast<uint64_t>(std::clamp(NumberOf(now, "mean"), 0.0, 1e18)),
            .p50 = CountOf(now, "p50"),
            .p90 = CountOf(now, "p90"),
            .p99 = CountOf(now, "p99"),
            .max = CountOf(now, "max")};
  }
  const core::Histogram::Snapshot from = SnapshotOf(before);
  core::Histogram::Snapshot between = SnapshotOf(now);
  uint64_t longest = 0;
  for (size_t i = 0; i < between.buckets.size(); ++i) {
    between.buckets[i] -= std::min(between.buckets[i], from.buckets[i]);
    between.count += between.buckets[i];
    if (between.buckets[i] != 0 && i + 1 < between.buckets.size())
      longest = core::Histogram::LowerBound(i + 1);
  }
  between.max = std::min(between.max, longest);
  between.sum -= std::min(between.sum, from.sum);
  return {.count = between.count,
          .mean = between.Mean(),
          .p50 = between.Percentile(0.50),
          .p90 = between.Percentile(0.90),
          .p99 = between.Percentile(0.99),
          .max = between.max};
}

// Right of eight columns; "-" when nothing took any time.
std::string DurationText(const Durations& durations, uint64_t Durations::* member) {
  return Fitted(durations.count == 0 ? "-" : ShortLatency(durations.*member), 8, true);
}

std::string ClockText(double unix_time) {
  const auto seconds = static_cast<time_t>(std::clamp(unix_time, 0.0, 1e11));
  tm fields = {};
  localtime_r(&seconds, &fields);
  char text[32];
  return std::string(text, strftime(text, sizeof(text), "%H:%M:%S", &fields));
}

void AddHead(std::vector<TopLine>& out, const Rates& rates, const TopSample& now,
             const std::string& trouble) {
  const Json& stats = now.stats;
  out.push_back(
      {core::Cat(Printable(TextOf(stats, "program"), 20), " ", Printable(TextOf(stats, "version"), 20),
                 "  pid ", CountOf(stats, "pid"), "  up ", ShortTime(NumberOf(stats, "uptime_seconds")), "  ",
                 CountOf(stats, "workers"), " workers  ", ClockText(now.unix_time)),
       Style::kTitle});
  if (!trouble.empty()) out.push_back({core::Cat("NO ANSWER: ", Printable(trouble, 300)), Style::kAlarm});
  const auto rate = [&rates](const char* name) {
    return rates.known() ? Rate(rates.Of("messages", name)) : std::string("-");
  };
  const std::string megabytes =
      rates.known() ? Format("%.2f", rates.Of("messages", "bytes") / 1e6) : std::string("-");
  out.push_back({core::Cat(
      "messages ", rate("received"), "/s  ", megabytes, " MB/s  infected ", rate("infected"), "/s  failures ",
      rates.known() ? Rate(rates.Of("messages", "scan_failed")) : "-", "/s  tempfailed ", rate("tempfailed"),
      "/s  rejected ", rate("rejected"), "/s  lost ", rate("lost"), "/s")});
  const Json& messages = MemberOf(stats, "messages");
  const Json& connections = MemberOf(stats, "connections");
  out.push_back({core::Cat("connections ", CountOf(connections, "active"), "  new ",
                           rates.known() ? Rate(rates.Of("connections", "accepted")) : "-",
                           "/s  in progress ", CountOf(messages, "in_progress"), "  waiting for a scanner ",
                           CountOf(messages, "waiting"))});
}

void AddPhases(std::vector<TopLine>& out, const Rates& rates, const TopSample& now) {
  out.push_back({});
  out.push_back({Format("%-10s %8s %8s %8s %8s %8s %8s", "PHASE", "/s", "MEAN", "P50", "P90", "P99", "MAX"),
                 Style::kTitle});
  for (const auto& [name, h] : MemberOf(now.stats, "phases_us").items()) {
    const double rate = rates.known() ? rates.Of("messages", "received") : 0;
    const Durations durations = DurationsOf(rates.PhaseBefore(name), h);
    std::string line =
        core::Cat(Fitted(Printable(name), 10), " ", Fitted(rates.known() ? Rate(rate) : "-", 8, true));
    for (const auto member :
         {&Durations::mean, &Durations::p50, &Durations::p90, &Durations::p99, &Durations::max})
      core::Append(line, " ", DurationText(durations, member));
    out.push_back({std::move(line)});
  }
}

void AddScanners(std::vector<TopLine>& out, const Rates& rates, const TopSample& now) {
  const Json& scanners = MemberOf(now.stats, "scanners");
  if (!scanners.is_array() || scanners.empty()) return;
  out.push_back({});
  out.push_back({Format("%-5s %-9s %-8s %6s %8s %5s %8s %8s %8s %8s  %s", "STATE", "CIRCUIT", "CANARY",
                        "FLIGHT", "GIVEN UP", "CONN", "SCANS/s", "ERR/s", "P50", "P99", "SCANNER"),
                 Style::kTitle});
  for (size_t i = 0; i < scanners.size(); ++i) {
    const Json& one = scanners[i];
    const Durations latency =
        DurationsOf(MemberOf(rates.ScannerBefore(i, one), "latency_us"), MemberOf(one, "latency_us"));
    const Json& up = MemberOf(one, "up");
    const bool good = up.is_boolean() && up.get<bool>();
    const auto rate = [&](const char* name) {
      return rates.known() ? Rate(rates.Of(rates.ScannerBefore(i, one), one, name)) : std::string("-");
    };
    out.push_back(
        {core::Cat(good ? "up    " : "DOWN  ", Fitted(Printable(TextOf(one, "circuit")), 9), " ",
                   Fitted(Printable(TextOf(one, "canary")), 8), " ",
                   Fitted(core::Cat(CountOf(one, "in_flight")), 6, true), " ",
                   Fitted(core::Cat(CountOf(one, "given_up")), 8, true), " ",
                   Fitted(core::Cat(CountOf(one, "connections")), 5, true), " ",
                   Fitted(rate("scans"), 8, true), " ", Fitted(rate("errors"), 8, true), " ",
                   DurationText(latency, &Durations::p50), " ", DurationText(latency, &Durations::p99), "  ",
                   Printable(TextOf(one, "address"), 200), "  ", Printable(TextOf(one, "version"), 100)),
         good ? Style::kPlain : Style::kAlarm});
  }
}

struct Virus {
  std::string name;
  uint64_t count = 0;
  double last = 0;
  std::string client = {};
};

void AddViruses(std::vector<TopLine>& out, const TopSample& now, const TopChoices& choices,
                size_t lines_max) {
  std::map<std::string, Virus> by_name;
  for (const Json& one : MemberOf(now.stats, "viruses_recent")) {
    const double time = NumberOf(one, "time");
    if (time < now.unix_time - kRecentSeconds) continue;
    Virus& virus = by_name[TextOf(one, "name")];
    virus.name = TextOf(one, "name");
    ++virus.count;
    if (time < virus.last) continue;
    virus.last = time;
    virus.client = TextOf(one, "client");
  }
  std::vector<Virus> viruses;
  for (auto& [name, virus] : by_name) viruses.push_back(std::move(virus));
  std::ranges::stable_sort(viruses, [&choices](const Virus& a, const Virus& b) {
    return choices.viruses_by_time ? a.last > b.last : a.count > b.count;
  });
  out.push_back({});
  out.push_back({Format("%8s %6s  %-16s %s", "LAST", "COUNT", "CLIENT",
                        choices.viruses_by_time ? "VIRUSES OF THE LAST 10 MINUTES, by time"
                                                : "VIRUSES OF THE LAST 10 MINUTES, by number"),
                 Style::kTitle});
  if (viruses.empty()) out.push_back({"none"});
  for (size_t i = 0; i < viruses.size() && i < lines_max; ++i) {
    out.push_back({core::Cat(
        Fitted(ClockText(viruses[i].last), 8), " ", Fitted(core::Cat(viruses[i].count), 6, true), "  ",
        Fitted(Printable(viruses[i].client, 60), 16), " ", Printable(viruses[i].name, 200))});
  }
}

constexpr std::pair<SessionOrder, std::string_view> kOrders[] = {{SessionOrder::kAge, "age"},
                                                                 {SessionOrder::kPhaseTime, "time in phase"},
                                                                 {SessionOrder::kBytes, "bytes"},
                                                                 {SessionOrder::kMessages, "messages"},
                                                                 {SessionOrder::kClient, "client"}};

std::vector<const Json*> SortedSessions(const Json& sessions, const TopChoices& choices) {
  std::vector<const Json*> sorted;
  for (const Json& one : MemberOf(sessions, "sessions")) sorted.push_back(&one);
  const auto before = [&choices](const Json* a, const Json* b) {
    switch (choices.order) {
      case SessionOrder::kAge:
        return NumberOf(*a, "age_seconds") > NumberOf(*b, "age_seconds");
      case SessionOrder::kPhaseTime:
        return NumberOf(*a, "phase_seconds") > NumberOf(*b, "phase_seconds");
      case SessionOrder::kBytes:
        return CountOf(*a, "bytes") > CountOf(*b, "bytes");
      case SessionOrder::kMessages:
        return CountOf(*a, "messages") > CountOf(*b, "messages");
      case SessionOrder::kClient:
        return TextOf(*a, "client") < TextOf(*b, "client");
    }
    return false;
  };
  std::ranges::stable_sort(sorted, before);
  if (choices.reverse) std::ranges::reverse(sorted);
  return sorted;
}

void AddSessions(std::vector<TopLine>& out, const TopSample& now, const TopChoices& choices) {
  if (!now.sessions.is_object()) return;
  const std::vector<const Json*> sessions = SortedSessions(now.sessions, choices);
  std::map<std::string, size_t> phases;
  static constexpr std::array<std::pair<double, std::string_view>, 4> kAges = {
      {{1, "<1s "}, {10, "<10s "}, {60, "<1m "}, {600, "<10m "}}};
  std::array<size_t, kAges.size() + 1> ages = {};
  for (const Json* one : sessions) {
    ++phases[TextOf(*one, "phase")];
    const auto age = std::ranges::find_if(
        kAges, [&](const auto& limit) { return NumberOf(*one, "age_seconds") < limit.first; });
    ++ages[static_cast<size_t>(age - kAges.begin())];
  }
  out.push_back({});
  const uint64_t total = CountOf(now.sessions, "total");
  std::string summary = core::Cat("sessions ", total);
  if (total > sessions.size()) core::Append(summary, "  of the ", sessions.size(), " oldest");
  for (const auto& [name, count] : phases) core::Append(summary, "  ", Printable(name, 20), " ", count);
  summary += "  | age";
  for (size_t i = 0; i < ages.size(); ++i) {
    if (ages[i] > 0) core::Append(summary, "  ", i < kAges.size() ? kAges[i].second : "older ", ages[i]);
  }
  out.push_back({summary});
  std::string title = Format("%-8s %-16s %-8s %7s %7s %5s %6s", "SESSION", "CLIENT", "PHASE", "AGE", "IN PH.",
                             "MSGS", "BYTES");
  for (const auto& [order, name] : kOrders) {
    if (order == choices.order)
      core::Append(title, "  (by ", name, choices.reverse ? ", reversed)" : ")", " FROM, HELO, SCANNER");
  }
  out.push_back({title, Style::kTitle});
  for (const Json* one : sessions) {
    std::string rest;
    for (const char* name : {"from", "helo", "scanner"}) {
      if (const std::string text = TextOf(*one, name); !text.empty())
        core::Append(rest, rest.empty() ? "" : "  ", Printable(text, 100));
    }
    out.push_back({core::Cat(Fitted(Printable(TextOf(*one, "id"), 20), 8), " ",
                             Fitted(Printable(TextOf(*one, "client"), 60), 16), " ",
                             Fitted(Printable(TextOf(*one, "phase"), 20), 8), " ",
                             Fitted(ShortTime(NumberOf(*one, "age_seconds")), 7, true), " ",
                             Fitted(ShortTime(NumberOf(*one, "phase_seconds")), 7, true), " ",
                             Fitted(ShortCount(static_cast<double>(CountOf(*one, "messages"))), 5, true), " ",
                             Fitted(ShortBytes(CountOf(*one, "bytes")), 6, true), "  ", rest)});
  }
}

}  // namespace

SessionOrder Next(SessionOrder order) {
  for (size_t i = 0; i < std::size(kOrders); ++i) {
    if (kOrders[i].first == order) return kOrders[(i + 1) % std::size(kOrders)].first;
  }
  return SessionOrder::kAge;
}

std::vector<TopLine> TopScreen(const std::optional<TopSample>& before, const TopSample& now,
                               const TopChoices& choices, const std::string& trouble, size_t columns,
                               size_t rows) {
  const Rates rates(before, now);
  std::vector<TopLine> lines;
  AddHead(lines, rates, now, trouble);
  AddPhases(lines, rates, now);
  AddScanners(lines, rates, now);
  // Sessions get what is left: the viruses a quarter of that, at least two lines.
  const size_t left = rows > lines.size() ? rows - lines.size() : 0;
  AddViruses(lines, now, choices, std::max<size_t>(left / 4, 2));
  AddSessions(lines, now, choices);
  if (rows == 0 || columns == 0) return {};
  lines.resize(std::min(lines.size(), rows - 1));
  while (lines.size() + 1 < rows) lines.push_back({});
  lines.push_back({std::string(kKeys), Style::kTitle});
  for (TopLine& line : lines) {
    line.text = Fitted(line.text, columns);
    if (line.style != Style::kTitle) line.text.erase(line.text.find_last_not_of(' ') + 1);
  }
  return lines;
}

std::string TopLogLine(const std::optional<TopSample>& before, const TopSample& now) {
  const Rates rates(before, now);
  const auto moment = std::chrono::system_clock::from_time_t(static_cast<time_t>(now.unix_time));
  std::string line = core::Cat("time=", core::FormatUtcTime(moment), " pid=", CountOf(now.stats, "pid"));
  for (const auto& [name, member] :
       {std::pair("messages_per_s", "received"), std::pair("bytes_per_s", "bytes"),
        std::pair("infected_per_s", "infected"), std::pair("failures_per_s", "scan_failed"),
        std::pair("tempfailed_per_s", "tempfailed")}) {
    core::Append(line, " ", std::string_view(name), "=",
                 rates.known() ? Format("%.1f", rates.Of("messages", member)) : "-");
  }
  const Json& messages = MemberOf(now.stats, "messages");
  core::Append(line, " connections=", CountOf(MemberOf(now.stats, "connections"), "active"),
               " in_progress=", CountOf(messages, "in_progress"), " waiting=", CountOf(messages, "waiting"));
  for (const auto& [phase, h] : MemberOf(now.stats, "phases_us").items()) {
    const Durations durations = DurationsOf(rates.PhaseBefore(phase), h);
    for (const auto& [name, member] : {std::pair("p50", &Durations::p50), std::pair("p90", &Durations::p90),
                                       std::pair("p99", &Durations::p99)}) {
      core::Append(line, " ", Printable(phase, 20), "_", std::string_view(name),
                   "_us=", durations.count == 0 ? std::string("-") : core::Cat(durations.*member));
    }
  }
  size_t up = 0;
  uint64_t in_flight = 0;
  uint64_t given_up = 0;
  const Json& scanners = MemberOf(now.stats, "scanners");
  for (const Json& one : scanners) {
    const Json& is_up = MemberOf(one, "up");
    up += is_up.is_boolean() && is_up.get<bool>() ? 1 : 0;
    in_flight += CountOf(one, "in_flight");
    given_up += CountOf(one, "given_up");
  }
  core::Append(line, " scanners_up=", up, "/", scanners.size(), " scanning=", in_flight,
               " given_up=", given_up);
  return line;
}

}  // namespace bivalve::ctl
