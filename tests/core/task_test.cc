#include "core/task.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "core/loop.h"
#include "tests/core/run_task.h"
#include "tests/sim/sim_io.h"

namespace bivalve::core {
namespace {

class TaskTest : public testing::Test {
 protected:
  sim::SimIo io_{1};
  Loop loop_{io_};
};

Task<int> SetAndReturn(bool& started, int value) {
  started = true;
  co_return value;
}

Task<int> AwaitLater(bool& started, bool& started_early) {
  Task<int> task = SetAndReturn(started, 7);
  started_early = started;
  co_return co_await std::move(task);
}

TEST_F(TaskTest, StartsWhenItIsAwaited) {
  bool started = false;
  bool started_early = false;
  EXPECT_EQ(RunTask(loop_, AwaitLater(started, started_early)), 7);
  EXPECT_TRUE(started);
  EXPECT_FALSE(started_early);
}

Task<std::unique_ptr<std::string>> MakeString(std::string text) {
  co_return std::make_unique<std::string>(std::move(text));
}

Task<std::unique_ptr<std::string>> PassOn(std::string text) {
  std::unique_ptr<std::string> made = co_await MakeString(std::move(text));
  made->append("!");
  co_return made;
}

TEST_F(TaskTest, HandsOverAResultThatCannotBeCopied) {
  const std::unique_ptr<std::string> result = RunTask(loop_, PassOn(std::string(100, 'x')));
  ASSERT_NE(result, nullptr);
  EXPECT_EQ(*result, std::string(100, 'x') + "!");
}

Task<void> Hold(std::shared_ptr<int> held) {
  (void)held;
  co_return;
}

TEST_F(TaskTest, FreesItsParametersWhenItNeverStarts) {
  auto held = std::make_shared<int>(1);
  {
    Task<void> never_awaited = Hold(held);
    EXPECT_EQ(held.use_count(), 2);
  }
  EXPECT_EQ(held.use_count(), 1);
}

Task<void> AwaitOnce(std::shared_ptr<int> held, long& uses_after) {
  co_await Hold(held);
  uses_after = held.use_count();
}

TEST_F(TaskTest, FreesTheFrameOfTheAwaitedWithTheExpression) {
  auto held = std::make_shared<int>(1);
  long uses_after = 0;
  RunTask(loop_, AwaitOnce(held, uses_after));
  EXPECT_EQ(uses_after, 2);  // the test's and AwaitOnce's, no longer Hold's
  EXPECT_EQ(held.use_count(), 1);
}

Task<int> One() { co_return 1; }

Task<int> SumOfMany(int rounds) {
  int sum = 0;
  for (int i = 0; i < rounds; ++i) sum += co_await One();
  co_return sum;
}

// Needs the tail calls that the presets turn on.
TEST_F(TaskTest, NeedsNoStackForALoopOfTasksThatDoNotSuspend) {
  EXPECT_EQ(RunTask(loop_, SumOfMany(1'000'000)), 1'000'000);
}

Task<int> Nested(int depth) {
  if (depth == 0) co_return 0;
  co_return 1 + co_await Nested(depth - 1);
}

TEST_F(TaskTest, NeedsNoStackForDeepNesting) { EXPECT_EQ(RunTask(loop_, Nested(100'000)), 100'000); }

Task<void> AwaitTwice() {
  Task<int> task = One();
  Task<int> taken = std::move(task);
  (void)co_await std::move(taken);
  (void)co_await std::move(task);
}

TEST_F(TaskTest, AbortsWhenAMovedTaskIsAwaited) {
  EXPECT_DEATH(RunTask(loop_, AwaitTwice()), "check failed");
}

}  // namespace
}  // namespace bivalve::core
