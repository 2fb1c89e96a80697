#include "appliance/stats/stats_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "core/text.h"

namespace bivalve::appliance {
namespace {

using core::Cat;
using nlohmann::ordered_json;
using testing::HasSubstr;
using testing::IsSupersetOf;

constexpr std::array kOutcomes = {Metric::kDelivered,  Metric::kRefused,  Metric::kDropped, Metric::kBounced,
                                  Metric::kTempfailed, Metric::kRejected, Metric::kLost};

StatsReport::About About(std::vector<std::string> scanners = {"/run/clamd.ctl"}) {
  return {.program = "bivalved", .version = "1.2.3", .uptime_seconds = 1.5, .scanners = std::move(scanners)};
}

std::vector<std::string> Keys(const ordered_json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  return keys;
}

ordered_json Parse(const StatsReport& report) { return ordered_json::parse(report.Json()); }

// The buckets are for clients that compare two reports; others do not get them.
TEST(StatsReport, HasTheBucketsForWhoAsks) {
  WorkerStats one(1);
  for (const int us : {3, 100, 100}) one.Record(Phase::kScan, std::chrono::microseconds(us));
  const StatsReport report(About(), {&one});
  EXPECT_FALSE(Parse(report)["phases_us"]["scan"].contains("buckets"));
  const ordered_json json = ordered_json::parse(report.Json(true));
  const uint64_t bound = core::Histogram::LowerBound(core::Histogram::BucketOf(100));
  EXPECT_EQ(json["phases_us"]["scan"]["buckets"],
            ordered_json::array({ordered_json::array({3, 1}), ordered_json::array({bound, 2})}));
  EXPECT_EQ(json["phases_us"]["receive"]["buckets"], ordered_json::array());
  EXPECT_TRUE(json["server"]["latency_us"].contains("buckets"));
}

TEST(StatsReport, AddsTheWorkersUp) {
  WorkerStats one(1);
  WorkerStats two(1);
  one.counters.Add(Metric::kReceived, 3);
  two.counters.Add(Metric::kReceived, 4);
  two.counters.Add(Metric::kActive, 2);
  one.Record(Phase::kScan, std::chrono::microseconds(100));
  two.Record(Phase::kScan, std::chrono::microseconds(300));
  one.server_connect_us.Record(7);
  const StatsReport report(About(), {&one, &two});
  EXPECT_EQ(report.Total(Metric::kReceived), 7u);
  EXPECT_EQ(report.Total(Metric::kActive), 2u);
  const ordered_json json = Parse(report);
  EXPECT_EQ(json["workers"], 2);
  EXPECT_EQ(json["messages"]["received"], 7);
  EXPECT_EQ(json["per_worker"][0]["messages"]["received"], 3);
  EXPECT_EQ(json["per_worker"][1]["messages"]["received"], 4);
  EXPECT_EQ(json["phases_us"]["scan"]["count"], 2);
  EXPECT_EQ(json["phases_us"]["scan"]["mean"], 200);
  EXPECT_EQ(json["phases_us"]["scan"]["max"], 300);
  EXPECT_EQ(json["phases_us"]["total"]["count"], 0);
  EXPECT_EQ(json["server"]["latency_us"]["count"], 1);
}

TEST(StatsReport, AddsEachScannerUp) {
  WorkerStats one(2);
  WorkerStats two(2);
  using scan::ScannerCount;
  one.scanners[0]->counts.Set(ScannerCount::kUp, 1);
  one.scanners[0]->counts.Add(ScannerCount::kScans, 5);
  two.scanners[0]->counts.Add(ScannerCount::kScans, 6);
  two.scanners[0]->counts.Add(ScannerCount::kErrors, 1);
  two.scanners[1]->counts.Add(ScannerCount::kInFlight, 3);
  two.scanners[1]->counts.Add(ScannerCount::kConnections, 2);
  two.scanners[1]->latency_us.Record(40);
  const StatsReport report(About({"first", "second"}), {&one, &two});
  EXPECT_TRUE(report.AnyScannerUp());
  const ordered_json scanners = Parse(report)["scanners"];
  EXPECT_EQ(scanners[0]["address"], "first");
  EXPECT_EQ(scanners[0]["up"], true);
  EXPECT_EQ(scanners[0]["scans"], 11);
  EXPECT_EQ(scanners[0]["errors"], 1);
  EXPECT_EQ(scanners[1]["up"], false);
  EXPECT_EQ(scanners[1]["in_flight"], 3);
  EXPECT_EQ(scanners[1]["connections"], 2);
  EXPECT_EQ(scanners[1]["latency_us"]["max"], 40);
}

TEST(StatsReport, KnowsThatNoScannerIsUp) {
  WorkerStats stats(1);
  EXPECT_FALSE(StatsReport(About(), {&stats}).AnyScannerUp());
  EXPECT_FALSE(StatsReport(About({}), {}).AnyScannerUp());
}

// Programs of others read these names. More may be there, except in "messages", whose figures add up.
TEST(StatsReport, HasTheShapeThatIsPromised) {
  WorkerStats stats(1);
  const ordered_json json = Parse(StatsReport(About(), {&stats}));
  EXPECT_THAT(Keys(json), IsSupersetOf({"program", "version", "pid", "uptime_seconds", "workers",
                                        "connections", "messages", "scan_failures", "scanners", "server",
                                        "phases_us", "viruses", "per_worker"}));
  EXPECT_EQ(json["program"], "bivalved");
  EXPECT_EQ(json["version"], "1.2.3");
  EXPECT_EQ(json["pid"], getpid());
  EXPECT_EQ(json["uptime_seconds"], 1.5);
  const std::vector<std::string> messages = {
      "received", "in_progress", "waiting", "delivered", "refused",  "dropped",     "bounced", "tempfailed",
      "rejected", "lost",        "aborted", "clean",     "infected", "scan_failed", "passed",  "bytes"};
  EXPECT_THAT(Keys(json["connections"]), IsSupersetOf({"accepted", "active", "refused_busy"}));
  EXPECT_EQ(Keys(json["messages"]), messages);
  EXPECT_EQ(Keys(json["scan_failures"]),
            (std::vector<std::string>{"down", "timeout", "error", "size", "limits"}));
  EXPECT_THAT(Keys(json["scanners"][0]),
              IsSupersetOf({"address", "up", "connections", "in_flight", "scans", "errors", "latency_us"}));
  EXPECT_THAT(Keys(json["server"]), IsSupersetOf({"connects", "connect_errors", "latency_us"}));
  EXPECT_EQ(Keys(json["phases_us"]), (std::vector<std::string>{"receive", "scan", "deliver", "total"}));
  const std::vector<std::string> histogram = {"count", "sum", "mean", "p50", "p90", "p99", "max"};
  EXPECT_EQ(Keys(json["scanners"][0]["latency_us"]), histogram);
  EXPECT_EQ(Keys(json["server"]["latency_us"]), histogram);
  for (const auto& [name, phase] : json["phases_us"].items()) EXPECT_EQ(Keys(phase), histogram) << name;
  EXPECT_TRUE(json["viruses"].is_object());
  EXPECT_EQ(Keys(json["per_worker"][0]["messages"]), messages);
}

TEST(StatsReport, IsThereBeforeThereAreWorkers) {
  const ordered_json json = Parse(StatsReport(About({}), {}));
  EXPECT_EQ(json["workers"], 0);
  EXPECT_EQ(json["messages"]["received"], 0);
  EXPECT_TRUE(json["scanners"].empty());
  EXPECT_TRUE(json["per_worker"].empty());
}

TEST(StatsReport, GivesTheMostFrequentVirusesAndAddsUpTheRest) {
  WorkerStats one(1);
  WorkerStats two(1);
  for (int i = 0; i < 150; ++i) {
    const std::string name = Cat("Virus-", i);
    for (int n = 0; n <= i; ++n) one.viruses.Add(name);
  }
  two.viruses.Add("Virus-149");
  const ordered_json viruses = Parse(StatsReport(About(), {&one, &two}))["viruses"];
  EXPECT_EQ(viruses.size(), 101u);
  EXPECT_EQ(viruses.items().begin().key(), "Virus-149");
  EXPECT_EQ(viruses["Virus-149"], 151);
  EXPECT_EQ(viruses["Virus-50"], 51);
  EXPECT_FALSE(viruses.contains("Virus-49"));
  EXPECT_EQ(viruses["other"], 50 * 51 / 2);
}

TEST(StatsReport, CountsNamesBeyondTheTableAsOthers) {
  WorkerStats stats(1);
  for (size_t i = 0; i < VirusTable::kNamesMax + 10; ++i) stats.viruses.Add(Cat("Virus-", i));
  const ordered_json viruses = Parse(StatsReport(About(), {&stats}))["viruses"];
  EXPECT_EQ(viruses["other"], VirusTable::kNamesMax + 10 - 100);
}

// However the most frequent names change, no count is lower in a report than in the one before.
TEST(StatsReport, NeverTakesAVirusBack) {
  std::array<WorkerStats, 2> workers = {WorkerStats(0), WorkerStats(0)};
  std::map<std::string, uint64_t> before;
  uint64_t total = 0;
  uint64_t random = 1;
  for (int round = 0; round < 300; ++round) {
    for (int i = 0; i < 20; ++i) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      // Names become frequent one after the other, so that many change places.
      const uint64_t name = (random >> 33) % (10 + static_cast<uint64_t>(round));
      workers[(random >> 60) & 1].viruses.Add(Cat("Virus-", name));
      ++total;
    }
    const ordered_json viruses = Parse(StatsReport(About({}), {&workers[0], &workers[1]}))["viruses"];
    uint64_t sum = 0;
    for (const auto& [name, count] : viruses.items()) {
      EXPECT_GE(count, before[name]) << name << " in round " << round;
      before[name] = count;
      sum += count.get<uint64_t>();
    }
    EXPECT_EQ(sum, total);
  }
}

TEST(StatsReport, CountsASignatureCalledOtherAmongTheOthers) {
  WorkerStats stats(0);
  stats.viruses.Add("other");
  stats.viruses.Add("some");
  const ordered_json viruses = Parse(StatsReport(About({}), {&stats}))["viruses"];
  EXPECT_EQ(viruses.dump(), R"({"some":1,"other":1})");
}

TEST(StatsReport, GivesTheVirusesOfLateNewestFirst) {
  WorkerStats one(0);
  WorkerStats two(0);
  for (uint64_t i = 0; i < 70; ++i) {
    (i % 3 == 0 ? one : two).recent_viruses.Add(Cat("Virus-", i), 1'000'000 * i, 0x100000 + i, "192.0.2.7");
  }
  const ordered_json recent = Parse(StatsReport(About({}), {&one, &two}))["viruses_recent"];
  ASSERT_EQ(recent.size(), RecentViruses::kKept);
  for (size_t i = 0; i < recent.size(); ++i) EXPECT_EQ(recent[i]["time"], 69.0 - static_cast<double>(i));
  EXPECT_EQ(recent[0].dump(), R"({"name":"Virus-69","time":69.0,"session":"100045","client":"192.0.2.7"})");
}

TEST(RecentViruses, CutsWhatIsTooLong) {
  RecentViruses viruses;
  viruses.Add(std::string(1000, 'n'), 1, 2, std::string(1000, 'c'));
  const std::vector<RecentVirus> kept = viruses.Read();
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].name, std::string(RecentViruses::kNameBytesMax, 'n'));
  EXPECT_EQ(kept[0].client, std::string(RecentViruses::kClientBytesMax, 'c'));
}

// Both documents are made from one table; this tests what a row becomes.
TEST(StatsReport, WritesThePrometheusText) {
  WorkerStats one(2);
  WorkerStats two(2);
  two.counters.Add(Metric::kReceived, 7);
  two.counters.Add(Metric::kActive, 3);
  two.counters.Add(Metric::kFailedTimeout, 2);
  two.viruses.Add("My \"Virus\" \\ \xff\n");
  one.scanners[0]->counts.Add(scan::ScannerCount::kHedges, 4);
  const std::string text =
      StatsReport(About({"/run/clamd.ctl", "/run/clamd.ctl"}), {&one, &two}).Prometheus();
  for (const std::string line : {
           "# HELP bivalve_messages_received_total Complete messages received (end of data seen).\n"
           "# TYPE bivalve_messages_received_total counter\n"
           "bivalve_messages_received_total{worker=\"0\"} 0\n"
           "bivalve_messages_received_total{worker=\"1\"} 7\n",
           "# TYPE bivalve_connections_active gauge\nbivalve_connections_active{worker=\"0\"} 0\n",
           "bivalve_scan_failures_total{cause=\"timeout\",worker=\"1\"} 2\n",
           "bivalve_viruses_total{name=\"My \\\"Virus\\\" \\\\\\\\ \xef\xbf\xbd\\\\x0a\"} 1\n",
           "bivalve_scanner_hedges_total{scanner=\"/run/clamd.ctl\"} 4\n"
           "bivalve_scanner_hedges_total{scanner=\"/run/clamd.ctl#2\"} 0\n",
           "bivalve_scanner_circuit{scanner=\"/run/clamd.ctl\",state=\"open\"} 1\n",
           "bivalve_build_info{program=\"bivalved\",version=\"1.2.3\"} 1\n",
       }) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(StatsReport, StaysJsonWhateverANameHolds) {
  WorkerStats stats(1);
  stats.viruses.Add("My Vir\xfcs \"quoted\", \x01 v1\n");
  const std::string json = StatsReport(About(), {&stats}).Json();
  EXPECT_TRUE(ordered_json::accept(json));
  EXPECT_TRUE(json.ends_with("\n"));
}

// Messages move one by one from in_progress to an outcome while reports are made.
TEST(StatsReport, AddsUpAtEveryMomentWhileAWorkerCounts) {
  WorkerStats stats(1);
  std::atomic<bool> stop = false;
  std::thread worker([&stats, &stop] {
    for (size_t i = 0; !stop.load(std::memory_order_relaxed); ++i) {
      {
        MetricCounters::Update update(stats.counters);
        stats.counters.Add(Metric::kReceived);
        stats.counters.Add(Metric::kInProgress);
      }
      stats.viruses.Add(Cat("Virus-", i % 300));
      stats.recent_viruses.Add(Cat("Virus-", i % 300), i, i, "192.0.2.7");
      stats.Record(Phase::kTotal, std::chrono::microseconds(i));
      MetricCounters::Update update(stats.counters);
      stats.counters.Subtract(Metric::kInProgress);
      stats.counters.Add(kOutcomes[i % kOutcomes.size()]);
    }
  });
  uint64_t received = 0;
  for (int i = 0; i < 300; ++i) {
    const StatsReport report(About(), {&stats});
    uint64_t sum = report.Total(Metric::kInProgress);
    for (const Metric outcome : kOutcomes) sum += report.Total(outcome);
    EXPECT_EQ(report.Total(Metric::kReceived), sum);
    EXPECT_LE(report.Total(Metric::kInProgress), 1u);
    EXPECT_GE(report.Total(Metric::kReceived), received);
    received = report.Total(Metric::kReceived);
    if (i % 50 == 0) {
      EXPECT_TRUE(ordered_json::accept(report.Json()));
      EXPECT_THAT(report.Prometheus(), HasSubstr("bivalve_messages_received_total"));
    }
  }
  stop = true;
  worker.join();
}

}  // namespace
}  // namespace bivalve::appliance
