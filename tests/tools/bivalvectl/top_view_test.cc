#include "tools/bivalvectl/top_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/histogram.h"
#include "tools/bivalvectl/output.h"

namespace bivalve::ctl {
namespace {

using testing::HasSubstr;
using testing::Not;

Json Latency(uint64_t p50) {
  return {{"count", 10}, {"mean", 1.5}, {"p50", p50}, {"p90", 2 * p50}, {"p99", 3 * p50}, {"max", 4 * p50}};
}

TopSample Sample(double time, uint64_t received) {
  TopSample sample;
  sample.time = time;
  sample.unix_time = 1'795'352'709;
  sample.stats = {
      {"program", "bivalved"},
      {"version", "0.1.0"},
      {"pid", 4711},
      {"uptime_seconds", time + 100},
      {"workers", 2},
      {"connections", {{"accepted", received / 2}, {"active", 3}}},
      {"messages",
       {{"received", received},
        {"infected", received / 10},
        {"scan_failed", 0},
        {"bytes", received * 1'000'000},
        {"in_progress", 5},
        {"waiting", 4}}},
      {"scanners",
       {{{"address", "/run/clamd.ctl"},
         {"up", true},
         {"circuit", "closed"},
         {"canary", "found"},
         {"version", "ClamAV 1.4.6"},
         {"in_flight", 7},
         {"given_up", 2},
         {"scans", received},
         {"latency_us", Latency(500)}},
        {{"address", "192.0.2.1:3310"}, {"up", false}, {"circuit", "open"}, {"canary", "missed"}}}},
      {"phases_us", {{"receive", Latency(1500)}, {"scan", Latency(25'000)}}},
      {"viruses_recent",
       {{{"name", "Rare"}, {"time", sample.unix_time - 1}, {"client", "192.0.2.8"}},
        {{"name", "Often"}, {"time", sample.unix_time - 5}, {"client", "192.0.2.7"}},
        {{"name", "Often"}, {"time", sample.unix_time - 3}, {"client", "192.0.2.9"}},
        {{"name", "Old"}, {"time", sample.unix_time - 10'000}, {"client", "192.0.2.7"}}}}};
  sample.sessions = {{"total", 5}, {"sessions", Json::array()}};
  const auto session = [&sample](const char* id, const char* client, const char* phase, double age,
                                 uint64_t bytes) {
    sample.sessions["sessions"].push_back({{"id", id},
                                           {"client", client},
                                           {"phase", phase},
                                           {"age_seconds", age},
                                           {"phase_seconds", 10 - age},
                                           {"messages", 1},
                                           {"bytes", bytes},
                                           {"from", "a@b"}});
  };
  session("100001", "192.0.2.3", "scan", 9, 10);
  session("100002", "192.0.2.1", "command", 5, 3000);
  session("100003", "192.0.2.2", "scan", 0.5, 200);
  return sample;
}

std::string Screen(const std::optional<TopSample>& before, const TopSample& now,
                   const TopChoices& choices = {}, size_t columns = 120, size_t rows = 40) {
  std::string out;
  for (const TopLine& line : TopScreen(before, now, choices, "", columns, rows)) out += line.text + "\n";
  return out;
}

TEST(TopScreen, CountsRatesBetweenTwoLooks) {
  const std::string screen = Screen(Sample(10, 1000), Sample(12, 1300));
  EXPECT_THAT(screen, HasSubstr("messages 150/s  150.00 MB/s  infected 15.0/s  failures 0.0/s"));
  EXPECT_THAT(screen, HasSubstr("connections 3  new 75.0/s  in progress 5  waiting for a scanner 4"));
  EXPECT_THAT(screen, HasSubstr("up    closed    found"));
  EXPECT_THAT(screen, HasSubstr("DOWN  open      missed"));
  EXPECT_THAT(screen, HasSubstr("CANARY   FLIGHT GIVEN UP "));
  EXPECT_THAT(screen, HasSubstr("found         7        2 "));
}

TEST(TopScreen, HasNoRatesWithoutASecondLook) {
  EXPECT_THAT(Screen(std::nullopt, Sample(12, 1300)), HasSubstr("messages -/s  - MB/s"));
}

// Another process counts from zero: a rate over both would be wrong.
TEST(TopScreen, HasNoRatesAcrossARestart) {
  TopSample restarted = Sample(12, 10);
  restarted.stats["pid"] = 4712;
  EXPECT_THAT(Screen(Sample(10, 1000), restarted), HasSubstr("messages -/s"));
  restarted.stats["pid"] = 4711;
  restarted.stats["uptime_seconds"] = 1;
  EXPECT_THAT(Screen(Sample(10, 1000), restarted), HasSubstr("messages -/s"));
}

TEST(TopScreen, ShowsPhasesWithTheirPercentiles) {
  EXPECT_THAT(Screen(std::nullopt, Sample(1, 1)),
              testing::ContainsRegex("scan .* 25.0ms +50.0ms +75.0ms +100ms"));
}

// The second screen shows only what was recorded since the first: a slow start does not stay for ever.
TEST(TopScreen, ShowsTheLatenciesBetweenTwoLooks) {
  core::Histogram histogram;
  const auto look = [&histogram](double time) {
    const core::Histogram::Snapshot snapshot = histogram.Read();
    Json h = {
        {"count", snapshot.count}, {"sum", snapshot.sum}, {"mean", snapshot.Mean()}, {"max", snapshot.max}};
    for (const auto& [name, fraction] :
         {std::pair("p50", 0.5), std::pair("p90", 0.9), std::pair("p99", 0.99)})
      h[name] = snapshot.Percentile(fraction);
    h["buckets"] = Json::array();
    for (size_t i = 0; i < snapshot.buckets.size(); ++i) {
      if (snapshot.buckets[i] > 0)
        h["buckets"].push_back(Json::array({core::Histogram::LowerBound(i), snapshot.buckets[i]}));
    }
    TopSample sample = Sample(time, 1000);
    sample.stats["phases_us"] = {{"scan", h}};
    sample.stats["scanners"][0]["latency_us"] = h;
    return sample;
  };
  for (int i = 0; i < 1000; ++i) histogram.Record(5'000'000);
  const TopSample first = look(1);
  for (int i = 0; i < 10; ++i) histogram.Record(1000);
  const TopSample second = look(2);
  EXPECT_THAT(Screen(std::nullopt, first),
              testing::ContainsRegex("scan .* 5.00s +[45]...s +[45]...s +[45]...s +5.00s"));
  EXPECT_THAT(Screen(first, second), testing::ContainsRegex("scan .* 1.0ms +1.0ms +1.0ms +1.0ms +1.0ms"));
  EXPECT_THAT(Screen(first, second), testing::ContainsRegex("up .* 1.0ms +1.0ms  /run/clamd.ctl"));
  EXPECT_THAT(Screen(second, look(3)), testing::ContainsRegex("scan .* - +- +- +- +-"));
  EXPECT_THAT(TopLogLine(first, second), testing::ContainsRegex("scan_p50_us=10?[0-9][0-9] "));
  EXPECT_THAT(TopLogLine(second, look(3)), HasSubstr("scan_p50_us=- "));
  // Another scanner at that place has no earlier figures.
  TopSample other = second;
  other.stats["scanners"][0]["address"] = "/run/other.ctl";
  EXPECT_THAT(Screen(first, other), testing::ContainsRegex("up .* [45]...s +[45]...s  /run/other.ctl"));
}

TEST(TopScreen, SortsVirusesByNumberAndByTime) {
  const std::string by_number = Screen(std::nullopt, Sample(1, 1));
  EXPECT_LT(by_number.find("Often"), by_number.find("Rare"));
  EXPECT_THAT(by_number, HasSubstr("2  192.0.2.9        Often"));
  EXPECT_THAT(by_number, Not(HasSubstr("Old")));
  const std::string by_time = Screen(std::nullopt, Sample(1, 1), {.viruses_by_time = true});
  EXPECT_LT(by_time.find("Rare"), by_time.find("Often"));
}

TEST(TopScreen, SortsSessions) {
  const auto order = [](TopChoices choices) {
    const std::string screen = Screen(std::nullopt, Sample(1, 1), choices);
    std::vector<size_t> places = {screen.find("100001"), screen.find("100002"), screen.find("100003")};
    std::string out;
    for (int i = 0; i < 3; ++i) {
      const auto least = std::min_element(places.begin(), places.end());
      out += static_cast<char>('1' + (least - places.begin()));
      *least = std::string::npos;
    }
    return out;
  };
  EXPECT_EQ(order({.order = SessionOrder::kAge}), "123");
  EXPECT_EQ(order({.order = SessionOrder::kAge, .reverse = true}), "321");
  EXPECT_EQ(order({.order = SessionOrder::kPhaseTime}), "321");
  EXPECT_EQ(order({.order = SessionOrder::kBytes}), "231");
  EXPECT_EQ(order({.order = SessionOrder::kClient}), "231");
  SessionOrder turn = SessionOrder::kAge;
  for (int i = 0; i < 5; ++i) turn = Next(turn);
  EXPECT_EQ(turn, SessionOrder::kAge) << "the keys go round";
}

TEST(TopScreen, CountsSessionsByPhaseAndAge) {
  EXPECT_THAT(Screen(std::nullopt, Sample(1, 1)),
              HasSubstr("sessions 5  of the 3 oldest  command 1  scan 2  | age  <1s 1  <10s 2"));
}

// The screen fits a terminal of any size.
TEST(TopScreen, FitsEverySize) {
  for (size_t columns = 0; columns < 200; columns += 23) {
    for (size_t rows = 0; rows < 60; rows += 3) {
      const auto lines = TopScreen(Sample(1, 1), Sample(2, 2), {}, "trouble", columns, rows);
      ASSERT_EQ(lines.size(), columns == 0 ? 0 : rows);
      for (const TopLine& line : lines) ASSERT_LE(Columns(line.text), columns);
    }
  }
}

TEST(TopScreen, IsNotImpressedByNonsense) {
  for (
      const char* text :
      {R"({"phases_us":{"a":{"buckets":[1,[],[1],[1,-1],["x",2],[18446744073709551615,18446744073709551615]]}}})",
       "{}", "[]", "null", R"({"scanners":1,"viruses_recent":"x","phases_us":[1,2],"messages":[]})",
       R"({"scanners":[1,null,"x",[]],"viruses_recent":[1,{},{"time":1e300}],"pid":-1,"uptime_seconds":"x"})",
       R"({"phases_us":{"a":{"mean":-1e300}},"uptime_seconds":1e300})"}) {
    TopSample sample;
    sample.stats = Json::parse(text);
    sample.sessions = Json::parse(R"({"sessions":[1,{"age_seconds":"x","bytes":-1}],"total":"x"})");
    EXPECT_FALSE(Screen(sample, sample).empty());
    EXPECT_FALSE(TopLogLine(sample, sample).empty());
  }
}

TEST(TopLogLine, NamesItsValues) {
  EXPECT_EQ(
      TopLogLine(Sample(10, 1000), Sample(12, 1300)),
      "time=2026-11-22T13:05:09Z pid=4711 messages_per_s=150.0 bytes_per_s=150000000.0 infected_per_s=15.0 "
      "failures_per_s=0.0 tempfailed_per_s=0.0 connections=3 in_progress=5 waiting=4 receive_p50_us=1500 "
      "receive_p90_us=3000 receive_p99_us=4500 scan_p50_us=25000 scan_p90_us=50000 scan_p99_us=75000 "
      "scanners_up=1/2 scanning=7 given_up=2");
}

}  // namespace
}  // namespace bivalve::ctl
