#include "appliance/log/log_writer.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "core/scope.h"
#include "tests/appliance/log/captured_stderr.h"
#include "tests/sim/sim_io.h"

namespace bivalve::appliance {
namespace {

// Two workers' ends of the log, and the writer at the other.
class LogWriterTest : public testing::Test {
 protected:
  LogWriterTest() {
    reader_.severity_max = static_cast<int>(Severity::kDebug);
    reader_.wake = [this] {
      ++wakes_;
      writer_.Wake();
    };
    writer_.Add(first_queue_);
    writer_.Add(second_queue_);
  }

  void Start() { scope_.Spawn(writer_.Run()); }
  // False when the writer waits for something that does not come.
  bool RunUntilAsleep() {
    return io_.Run(loop_, [this] { return reader_.asleep.load(); });
  }
  bool RunUntilWritten(std::string_view text) {
    return io_.Run(loop_, [&] { return captured_.Text().find(text) != std::string::npos; });
  }
  bool RunToTheEnd() {
    return io_.Run(loop_, [this] { return scope_.running() == 0; });
  }
  void TearDown() override {
    writer_.Stop();
    EXPECT_TRUE(RunToTheEnd());
  }

  CapturedStderr captured_;
  sim::SimIo io_{1};
  core::Loop loop_{io_};
  core::Scope scope_{loop_};
  LogSink sink_{"x", true, Severity::kDebug};
  EventLog::Reader reader_;
  int wakes_ = 0;
  core::LogQueue first_queue_{4096};
  core::LogQueue second_queue_{4096};
  EventLog first_{first_queue_, reader_};
  EventLog second_{second_queue_, reader_};
  LogWriter writer_{loop_, sink_, reader_};
};

TEST_F(LogWriterTest, WritesTheEventsOfAllQueues) {
  first_.Text(Severity::kInfo, 0x100000, "one");
  second_.Text(Severity::kError, 0, "two");
  first_.Text(Severity::kDebug, 0x100000, "three");
  Start();
  ASSERT_TRUE(RunUntilAsleep());
  EXPECT_EQ(captured_.Text(), "x: 100000: one\nx: 100000: three\nx: two\n");
}

TEST_F(LogWriterTest, PassesOverWhatIsNoEvent) {
  first_queue_.Push("?");
  first_.Text(Severity::kInfo, 0, "one");
  Start();
  ASSERT_TRUE(RunUntilAsleep());
  EXPECT_EQ(captured_.Text(), "x: one\n");
}

// A worker wakes the writer with a system call; while lines keep coming, it looks by itself.
TEST_F(LogWriterTest, IsWokenOnlyWhenItSleeps) {
  Start();
  ASSERT_TRUE(RunUntilAsleep());
  EXPECT_EQ(wakes_, 0);
  first_.Text(Severity::kInfo, 0, "one");
  EXPECT_EQ(wakes_, 1);
  ASSERT_TRUE(RunUntilWritten("one"));
  EXPECT_FALSE(reader_.asleep.load());
  second_.Text(Severity::kInfo, 0, "two");
  EXPECT_EQ(wakes_, 1);
  ASSERT_TRUE(RunUntilAsleep());
  EXPECT_EQ(captured_.Text(), "x: one\nx: two\n");
}

TEST_F(LogWriterTest, WritesWhatTheControlThreadSays) {
  Start();
  ASSERT_TRUE(RunUntilAsleep());
  writer_.Say(Severity::kWarning, 0x100001, "careful");
  EXPECT_TRUE(RunUntilWritten("x: 100001: careful\n"));
}

TEST_F(LogWriterTest, WritesWhatIsThereWhenItIsStopped) {
  Start();
  ASSERT_TRUE(RunUntilAsleep());
  reader_.asleep = false;  // so that only Stop() wakes it
  first_.Text(Severity::kInfo, 0, "last");
  writer_.Stop();
  ASSERT_TRUE(RunToTheEnd());
  EXPECT_EQ(captured_.Text(), "x: last\n");
}

TEST_F(LogWriterTest, HandsOverToTheSinkWithoutWaiting) {
  EXPECT_FALSE(writer_.DrainQueues());
  second_.Text(Severity::kInfo, 0, "one");
  EXPECT_TRUE(writer_.DrainQueues());
  EXPECT_FALSE(writer_.DrainQueues());
  sink_.FlushBlocking();
  EXPECT_EQ(captured_.Text(), "x: one\n");
}

}  // namespace
}  // namespace bivalve::appliance
