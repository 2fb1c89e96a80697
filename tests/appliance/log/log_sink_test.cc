// Standard error only: syslog gets the same text in another envelope, and a test must not write to the
// system's own syslog.
#include "appliance/log/log_sink.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/appliance/log/captured_stderr.h"
#include "tests/core/run_task.h"
#include "tests/sim/sim_io.h"

namespace bivalve::appliance {
namespace {

TEST(LogSink, WritesEachLineBehindTheProgramsName) {
  CapturedStderr captured;
  LogSink sink("bivalved", true, Severity::kDebug);
  sink.Add(Severity::kInfo, "100000: accepted connection from: 192.0.2.7");
  sink.Add(Severity::kError, "second");
  EXPECT_EQ(captured.Text(), "");
  sink.FlushBlocking();
  EXPECT_EQ(captured.Text(), "bivalved: 100000: accepted connection from: 192.0.2.7\nbivalved: second\n");
  sink.FlushBlocking();
  EXPECT_EQ(captured.Text(), "bivalved: 100000: accepted connection from: 192.0.2.7\nbivalved: second\n");
}

TEST(LogSink, WritesTheSameThroughALoop) {
  CapturedStderr captured;
  sim::SimIo io(1);
  core::Loop loop(io);
  LogSink sink("clamsmtpd", true, Severity::kDebug);
  sink.Add(Severity::kInfo, "first");
  core::RunTask(loop, sink.Flush(loop));
  sink.Add(Severity::kInfo, "second");
  core::RunTask(loop, sink.Flush(loop));
  EXPECT_EQ(captured.Text(), "clamsmtpd: first\nclamsmtpd: second\n");
}

// Nothing may stand before the object, because readers of lines would not recognise it.
TEST(LogSink, WritesJsonAlone) {
  CapturedStderr captured;
  LogSink sink("bivalved", true, Severity::kDebug, LogFormat::kJson);
  sink.Add(Severity::kError, "one\n\xff");
  sink.FlushBlocking();
  const std::string line = captured.Text();
  EXPECT_TRUE(line.starts_with("{\"time\":\"20")) << line;
  EXPECT_TRUE(line.ends_with(R"("level":"error","event":"log","message":"one\n\\xff"})"
                             "\n"))
      << line;
  sink.set_format(LogFormat::kText);
  sink.Add(Severity::kInfo, "two");
  sink.FlushBlocking();
  EXPECT_EQ(captured.Text(), line + "bivalved: two\n");
}

TEST(LogSink, LeavesOutWhatIsBeyondItsSeverity) {
  CapturedStderr captured;
  LogSink sink("bivalved", true, Severity::kWarning, LogFormat::kJson);
  sink.Add(Severity::kNotice, "hidden");
  sink.FlushBlocking();
  EXPECT_EQ(captured.Text(), "");
}

TEST(LogSink, SaysHowManyLinesWereLostWhenNobodyReads) {
  CapturedStderr captured;
  LogSink sink("bivalved", true, Severity::kDebug);
  const std::string line(1000, 'x');
  for (int i = 0; i < 5000; ++i) sink.Add(Severity::kInfo, line);
  sink.FlushBlocking();
  const std::string before = captured.Text();
  EXPECT_LE(before.size(), size_t{5} << 20);
  const auto written = static_cast<int>(before.size() / (line.size() + sizeof("bivalved: ")));
  sink.Add(Severity::kInfo, "after");
  sink.FlushBlocking();
  const std::string rest = captured.Text().substr(before.size());
  EXPECT_EQ(rest, "bivalved: " + std::to_string(5000 - written) +
                      " log lines were lost, the log is not being read\nbivalved: after\n");
}

}  // namespace
}  // namespace bivalve::appliance
