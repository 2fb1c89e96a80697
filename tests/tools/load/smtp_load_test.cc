// smtp_source and smtp_sink against each other. The system chooses every port, every wait is for an event,
// and limits on times only state what must hold on the slowest machine.
#include <chrono>
#include <csignal>
#include <set>
#include <string>
#include <vector>

#include "core/text.h"
#include "gtest/gtest.h"
#include "tests/tools/load/smtp_programs.h"

namespace bivalve::tools {
namespace {

using core::Cat;

void ExpectOrdered(const Json& times) {
  EXPECT_LE(times["p50"], times["p90"]);
  EXPECT_LE(times["p90"], times["p99"]);
  EXPECT_LE(times["p99"], times["p99.9"]);
  EXPECT_LE(times["p99.9"], times["max"]);
  EXPECT_LE(times["mean"], times["max"]);
}

// --- Counts and times.

TEST(SmtpLoad, CountsOfBothSidesAgreeForNewConnections) {
  Sink sink;
  const SourceRun run = RunSource({"--messages", "200", "--sessions", "4", "--size", "2k"}, sink.address());
  EXPECT_EQ(run.status, 0);
  EXPECT_EQ(run.json["messages"], 200);
  EXPECT_EQ(run.json["accepted"], 200);
  EXPECT_EQ(run.json["rejected"], Json::object());
  EXPECT_EQ(run.json["unexpected"], 0);
  EXPECT_EQ(run.json["bytes"], 200 * 2048);
  EXPECT_EQ(run.json["connections"], 200);
  for (const char* times : {"latency_us", "connect_us"}) {
    EXPECT_EQ(run.json[times]["count"], 200);
    EXPECT_GT(run.json[times]["p50"], 0);
    ExpectOrdered(run.json[times]);
  }
  EXPECT_GT(run.json["messages_per_second"], 0.0);
  EXPECT_GT(run.json["cpu_us"], 0);
  const Json totals = sink.Totals();
  EXPECT_EQ(totals["messages"], 200);
  EXPECT_EQ(totals["bytes"], 200 * 2048);
  EXPECT_EQ(totals["connections"], 200);
  EXPECT_EQ(totals["rejected"], 0);
  EXPECT_EQ(totals["lost"], 0);
}

TEST(SmtpLoad, KeepUsesOneConnectionForEachSession) {
  Sink sink;
  const SourceRun run = RunSource({"--messages", "300", "--sessions", "6", "--keep"}, sink.address());
  EXPECT_EQ(run.status, 0);
  EXPECT_EQ(run.json["accepted"], 300);
  const Json totals = sink.Totals();
  EXPECT_EQ(totals["connections"], 6);
  EXPECT_EQ(totals["lost"], 0);
}

TEST(SmtpLoad, PerSessionLimitsTheMessagesOfAConnection) {
  Sink sink;
  EXPECT_EQ(RunSource({"--messages", "50", "--per-session", "10"}, sink.address()).status, 0);
  EXPECT_EQ(sink.Totals()["connections"], 5);
}

TEST(SmtpLoad, ManySessionsOverSeveralThreads) {
  Sink sink({"--threads", "2"});
  const SourceRun run = RunSource(
      {"--messages", "3000", "--sessions", "1000", "--threads", "2", "--keep", "--size", "1k:9,20k:1"},
      sink.address());
  EXPECT_EQ(run.status, 0);
  EXPECT_EQ(run.json["accepted"], 3000);
  const Json totals = sink.Totals();
  EXPECT_EQ(totals["messages"], 3000);
  EXPECT_EQ(totals["connections"], 1000);
  EXPECT_EQ(totals["bytes"], run.json["bytes"]);
}

TEST(SmtpLoad, WorksOverALocalSocket) {
  const TestDirectory directory;
  const std::string path = directory.path() / "sink";
  Sink sink({"--threads", "2"}, path);
  EXPECT_EQ(RunSource({"--messages", "20", "--sessions", "3"}, path).status, 0);
  EXPECT_EQ(sink.Totals()["messages"], 20);
  EXPECT_FALSE(fs::exists(path));
}

TEST(SmtpLoad, WarmUpIsSentButNotCounted) {
  Sink sink;
  const SourceRun run = RunSource({"--messages", "20", "--warmup", "0.3", "--keep"}, sink.address());
  EXPECT_EQ(run.status, 0);
  EXPECT_EQ(run.json["messages"], 20);
  EXPECT_EQ(run.json["latency_us"]["count"], 20);
  EXPECT_GT(sink.Totals()["messages"], 20);
}

TEST(SmtpLoad, DurationEndsTheRun) {
  Sink sink({"--delay-ms", "5"});
  const SourceRun run = RunSource({"--duration", "0.5", "--sessions", "2", "--keep"}, sink.address());
  EXPECT_EQ(run.status, 0);
  EXPECT_GE(run.json["seconds"], 0.4);
  EXPECT_GT(run.json["messages"], 2);
  EXPECT_LE(run.json["messages"], 202);  // two sessions, at least 5 ms each
  EXPECT_EQ(run.json["messages"], sink.Totals()["messages"]);
}

TEST(SmtpLoad, SignalEndsTheRunWithAReport) {
  Sink sink;
  Program source(BIVALVE_SMTP_SOURCE, {"--duration", "50", "--keep", "--json", "--progress", sink.address()},
                 true);
  EXPECT_NE(source.ReadLine().find("messages/s"), std::string::npos);  // it runs
  const auto signalled = std::chrono::steady_clock::now();
  source.Signal(SIGINT);
  std::string output;
  EXPECT_EQ(source.Wait(&output), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - signalled, std::chrono::seconds(30));
  EXPECT_NE(output.find("\"accepted\""), std::string::npos);
}

// --- Latency.

TEST(SmtpLoad, ClosedLoopLatencyIsTheServersDelay) {
  Sink sink({"--delay-ms", "50"});
  const SourceRun run = RunSource({"--messages", "8", "--sessions", "2", "--keep"}, sink.address());
  EXPECT_EQ(run.status, 0);
  // The histogram's buckets are 6 % wide.
  EXPECT_GE(run.json["latency_us"]["p50"], 47'000);
  EXPECT_GE(run.json["latency_us"]["max"], 50'000);
}

// The figures of perf/ come from these programs, so they are checked from both sides, by sums that hold on
// the busiest machine: one session sends one message after the other, no exchange is shorter than the
// server's delay, and all of them together are not longer than the run.
constexpr double kDelayUs = 50'000;
constexpr double kMessages = 20;
constexpr double kTimerUs = 1000;       // how much too early a timer may be; far more than it is
constexpr double kBucketShare = 1.065;  // width of the histogram's buckets

struct Figures {
  explicit Figures(const SourceRun& run)
      : run_us(run.json["seconds"].get<double>() * 1e6),
        mean_us(run.json["latency_us"]["mean"].get<double>()),
        p50_us(run.json["latency_us"]["p50"].get<double>()),
        p99_us(run.json["latency_us"]["p99"].get<double>()),
        max_us(run.json["latency_us"]["max"].get<double>()),
        connect_mean_us(run.json["connect_us"]["mean"].get<double>()),
        connections(run.json["connections"].get<double>()) {}
  double run_us;
  double mean_us;
  double p50_us;
  double p99_us;
  double max_us;
  double connect_mean_us;
  double connections;
};

TEST(SmtpLoad, ClosedLoopTimesAddUpToTheTimeOfTheRun) {
  for (const bool keep : {true, false}) {
    SCOPED_TRACE(keep);
    Sink sink({"--delay-ms", "50"});
    Arguments arguments = {"--messages", "20"};
    if (keep) arguments.push_back("--keep");
    const auto began = std::chrono::steady_clock::now();
    const SourceRun run = RunSource(arguments, sink.address());
    const std::chrono::duration<double, std::micro> wall = std::chrono::steady_clock::now() - began;
    ASSERT_EQ(run.status, 0);
    const Figures f(run);
    EXPECT_LE(f.run_us, wall.count());
    EXPECT_EQ(f.connections, keep ? 1 : kMessages);
    EXPECT_GE(f.mean_us, kDelayUs - kTimerUs);
    EXPECT_LE(f.mean_us * kMessages + f.connect_mean_us * f.connections, f.run_us);
    // All except the longest one have taken at least the delay.
    const double longest_us = f.run_us - (kMessages - 1) * (kDelayUs - kTimerUs);
    EXPECT_LE(f.max_us, longest_us);
    EXPECT_LE(f.p99_us, longest_us * kBucketShare);
    // Half of them have taken at least this.
    EXPECT_LE(f.p50_us / kBucketShare * (kMessages / 2), f.run_us - kMessages / 2 * (kDelayUs - kTimerUs));
  }
}

// A message is due every 10 ms and takes 50 ms. The last one ends with the run, and each earlier one at least
// 50 ms before the next.
TEST(SmtpLoad, OpenLoopTimesCountFromWhenAMessageWasDue) {
  constexpr double kGapUs = 10'000;
  Sink sink({"--delay-ms", "50"});
  const SourceRun run = RunSource({"--rate", "100", "--fixed", "--messages", "20", "--keep"}, sink.address());
  ASSERT_EQ(run.status, 0);
  const Figures f(run);
  const double exchange_us = kDelayUs - kTimerUs;
  EXPECT_GE(f.mean_us, (kMessages + 1) / 2 * exchange_us - (kMessages - 1) / 2 * kGapUs);
  EXPECT_LE(f.mean_us, f.run_us - (kMessages - 1) / 2 * (exchange_us + kGapUs));
  const double waited_us = run.json["start_delay_us"]["mean"];
  EXPECT_GE(f.mean_us - waited_us, exchange_us);
  EXPECT_LE((f.mean_us - waited_us - 1) * kMessages, f.run_us);  // the mean is cut to whole microseconds
}

// A server that takes 50 ms for a message on each of two connections handles at most 40 a second. If 200 are
// due each second it falls further and further behind. Each message's own exchange still takes 50 ms, and
// that must not be the reported latency.
TEST(SmtpLoad, OpenLoopLatencyGrowsWithTheBacklogOfAnOverloadedServer) {
  for (const bool fixed : {true, false}) {
    SCOPED_TRACE(fixed);
    Sink sink({"--delay-ms", "50"});
    Arguments arguments = {"--rate", "200", "--messages", "100", "--sessions", "2", "--keep"};
    if (fixed) arguments.push_back("--fixed");
    const SourceRun run = RunSource(arguments, sink.address());
    EXPECT_EQ(run.status, 0);
    EXPECT_EQ(run.json["accepted"], 100);
    EXPECT_EQ(run.json["latency_us"]["count"], 100);
    // The last one was due after about 0.5 s and is sent after 2.5 s.
    EXPECT_GE(run.json["latency_us"]["p50"], 500'000);
    EXPECT_GE(run.json["latency_us"]["p99"], 1'500'000);
    EXPECT_GE(run.json["latency_us"]["max"], run.json["start_delay_us"]["max"]);
    ExpectOrdered(run.json["latency_us"]);
    EXPECT_EQ(sink.Totals()["messages"], 100);
  }
}

TEST(SmtpLoad, OpenLoopKeepsItsRateWhereTheServerKeepsUp) {
  Sink sink;
  const SourceRun run = RunSource(
      {"--rate", "200", "--fixed", "--duration", "1", "--sessions", "20", "--keep"}, sink.address());
  EXPECT_EQ(run.status, 0);
  EXPECT_NEAR(run.json["messages"].get<double>(), 200, 2);
  EXPECT_EQ(run.json["accepted"], run.json["messages"]);
  // At most as many connections as the load needs at its peak.
  EXPECT_LE(sink.Totals()["connections"], 20);
}

TEST(SmtpLoad, PoissonArrivalsHaveTheRateOnAverage) {
  Sink sink;
  const SourceRun run = RunSource(
      {"--rate", "400", "--duration", "1", "--sessions", "20", "--threads", "2", "--keep"}, sink.address());
  EXPECT_EQ(run.status, 0);
  EXPECT_NEAR(run.json["messages"].get<double>(), 400, 100);  // five standard deviations
}

TEST(SmtpLoad, MessagesThatWereNeverSentAreCountedWithTheirWait) {
  Sink sink({"--delay-ms", "100"});
  const SourceRun run = RunSource(
      {"--rate", "200", "--fixed", "--messages", "100", "--drain", "0.3", "--keep"}, sink.address());
  EXPECT_EQ(run.status, 1);
  EXPECT_GT(run.json["unsent"], 50);
  EXPECT_EQ(run.json["unsent"].get<int>() + run.json["accepted"].get<int>(), 100);
  EXPECT_EQ(run.json["latency_us"]["count"], 100);
}

// --- Content.

// The same seed sends the same messages, so all ways of sending must leave the same records.
TEST(SmtpLoad, ContentArrivesByteForByteByEveryWayOfSending) {
  std::vector<std::string> expected;
  for (const Arguments& way : {Arguments{}, Arguments{"--pipelining"}, Arguments{"--bdat"},
                               Arguments{"--bdat", "--pipelining"}, Arguments{"--keep"}}) {
    SCOPED_TRACE(way.empty() ? "" : way.back());
    const TestDirectory directory;
    Sink sink({"--chunking", "--record", directory.path()});
    Arguments arguments = {"--messages",      "20",   "--random-content", "--size", "1k:5,40k:5,300k:1",
                           "--seed",          "11",   "--recipients",     "3",      "--from",
                           "ada@example.com", "--to", "bob@example.net"};
    arguments.insert(arguments.end(), way.begin(), way.end());
    const SourceRun run = RunSource(arguments, sink.address());
    EXPECT_EQ(run.status, 0);
    const Json totals = sink.Totals();
    EXPECT_EQ(totals["messages"], 20);
    EXPECT_EQ(totals["bytes"], run.json["bytes"]);
    std::vector<std::string> contents;
    for (const Recorded& record : ReadRecords(directory.path())) {
      EXPECT_NE(record.envelope.find("X-Mail-Args: <ada@example.com>\nX-Rcpt-Args: <1bob@example.net>\n"
                                     "X-Rcpt-Args: <2bob@example.net>\nX-Rcpt-Args: <3bob@example.net>\n"),
                std::string::npos)
          << record.envelope;
      std::string content = record.content;
      const size_t date = content.find("\r\nDate: ");  // runs may happen in different seconds
      content.erase(date, content.find("\r\n", date + 2) - date);
      contents.push_back(std::move(content));
    }
    ASSERT_EQ(contents.size(), 20u);
    EXPECT_EQ(std::set<std::string>(contents.begin(), contents.end()).size(), 20u);
    if (expected.empty()) expected = contents;
    EXPECT_TRUE(contents == expected);
  }
}

TEST(SmtpLoad, TheInfectedShareIsInfected) {
  const TestDirectory directory;
  Sink sink({"--record", directory.path()});
  const SourceRun run =
      RunSource({"--messages", "400", "--infected", "25%", "--size", "1500", "--keep"}, sink.address());
  EXPECT_EQ(run.status, 0);
  const int sent = run.json["infected"]["sent"];
  EXPECT_NEAR(sent, 100, 45);  // five standard deviations
  EXPECT_EQ(run.json["infected"]["accepted"], sent);
  const std::string mark = Cat("EICAR-STANDARD-", "ANTIVIRUS");
  int found = 0;
  for (const Recorded& record : ReadRecords(directory.path())) {
    if (record.content.find(mark) != std::string::npos) ++found;
  }
  EXPECT_EQ(found, sent);
}

// --- What goes wrong.

TEST(SmtpLoad, RefusedRecipientsAreCountedAndUnexpected) {
  for (const Arguments& way : {Arguments{}, Arguments{"--pipelining"}, Arguments{"--bdat", "--pipelining"}}) {
    SCOPED_TRACE(way.size());
    Sink sink({"--reject-rcpt", "100%", "--chunking"});
    Arguments arguments = {"--messages", "10", "--recipients", "2", "--keep"};
    arguments.insert(arguments.end(), way.begin(), way.end());
    SourceRun run = RunSource(arguments, sink.address());
    EXPECT_EQ(run.status, 1);
    EXPECT_EQ(run.json["accepted"], 0);
    EXPECT_EQ(run.json["rejected"], Json({{"550", 10}}));
    EXPECT_EQ(run.json["recipients_rejected"], 20);
    EXPECT_EQ(run.json["latency_us"]["count"], 0);
    arguments.push_back("--tolerate");
    EXPECT_EQ(RunSource(arguments, sink.address()).status, 0);
    const Json totals = sink.Totals();
    EXPECT_EQ(totals["messages"], 0);
    EXPECT_EQ(totals["rejected_recipients"], 40);
    EXPECT_EQ(totals["connections"], 2);
  }
}

TEST(SmtpLoad, SomeRefusalsLeaveTheRestAccepted) {
  Sink sink({"--reject-rcpt", "30", "--tempfail-data", "20", "--delay-rcpt-ms", "1"});
  const SourceRun run = RunSource(
      {"--messages", "200", "--recipients", "2", "--pipelining", "--sessions", "4"}, sink.address());
  EXPECT_EQ(run.status, 1);
  const Json totals = sink.Totals();
  EXPECT_EQ(totals["messages"], run.json["accepted"]);
  EXPECT_EQ(totals["rejected"], run.json["rejected"]["451"]);
  EXPECT_EQ(totals["rejected_recipients"], run.json["recipients_rejected"]);
  int answered = run.json["accepted"];
  for (const auto& [code, count] : run.json["rejected"].items()) answered += count.get<int>();
  EXPECT_EQ(answered, 200);
}

TEST(SmtpLoad, LostConnectionsAreCounted) {
  Sink sink({"--close-after", "3"});
  const SourceRun run = RunSource({"--messages", "8", "--keep"}, sink.address());
  EXPECT_EQ(run.status, 1);
  EXPECT_EQ(run.json["accepted"], 6);
  EXPECT_EQ(run.json["connections_lost"], 2);
  EXPECT_EQ(run.json["connection_errors"], 2);
  EXPECT_EQ(sink.Totals()["messages"], 6);
}

TEST(SmtpLoad, TimeoutsAreCountedWithTheirWait) {
  Sink sink({"--delay-ms", "20000"});
  const SourceRun run = RunSource({"--messages", "2", "--timeout", "0.2"}, sink.address());
  EXPECT_EQ(run.status, 1);
  EXPECT_EQ(run.json["timeouts"], 2);
  EXPECT_EQ(run.json["latency_us"]["count"], 2);
  EXPECT_GE(run.json["latency_us"]["max"], 200'000);
}

TEST(SmtpLoad, AServerThatIsNotThereEndsTheRun) {
  Sink sink;
  const std::string address = sink.address();
  sink.Totals();
  const SourceRun run = RunSource({"--duration", "30", "--sessions", "2"}, address);
  EXPECT_EQ(run.status, 1);
  EXPECT_EQ(run.json["accepted"], 0);
  EXPECT_GE(run.json["connect_errors"], 5);
  EXPECT_LT(run.json["seconds"], 20.0);
}

TEST(SmtpLoad, WrongUsageHasStatusTwo) {
  for (const Arguments& arguments :
       {Arguments{"--rate", "fast", "25"}, Arguments{}, Arguments{"--fixed", "25"},
        Arguments{"one:25", "two:25"}, Arguments{"127.0.0.1:99999"}}) {
    Program program(BIVALVE_SMTP_SOURCE, arguments, true);
    std::string output;
    EXPECT_EQ(program.Wait(&output), 2);
    EXPECT_TRUE(output.starts_with("smtp_source: ")) << output;
  }
  for (const Arguments& arguments :
       {Arguments{}, Arguments{"--listen"}, Arguments{"--listen", "25", "--threads", "0"}}) {
    Program program(BIVALVE_SMTP_SINK, arguments, true);
    std::string output;
    EXPECT_EQ(program.Wait(&output), 2);
    EXPECT_TRUE(output.starts_with("smtp_sink: ")) << output;
  }
}

}  // namespace
}  // namespace bivalve::tools
