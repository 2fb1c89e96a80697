#include "core/scope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/core/run_task.h"
#include "tests/sim/sim_io.h"

namespace bivalve::core {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;

class ScopeTest : public testing::Test {
 protected:
  sim::SimIo io_{1};
  Loop loop_{io_};
};

Task<void> Sleep(Loop& loop, Duration time) {
  Condition nothing(loop);
  (void)co_await nothing.Wait(loop.Now() + time);
}

Task<void> SleepAndNote(Loop& loop, Duration time, int note, std::vector<int>& notes) {
  co_await Sleep(loop, time);
  notes.push_back(note);
}

TEST_F(ScopeTest, StartsATaskOnALaterPass) {
  Scope scope(loop_);
  std::vector<int> notes;
  scope.Spawn(SleepAndNote(loop_, milliseconds(1), 1, notes));
  EXPECT_EQ(scope.running(), 1u);
  EXPECT_TRUE(notes.empty());
  while (scope.running() > 0) loop_.Turn();
  EXPECT_THAT(notes, ElementsAre(1));
}

Task<void> JoinAndNote(Scope& scope, int note, std::vector<int>& notes) {
  co_await scope.Join();
  notes.push_back(note);
}

TEST_F(ScopeTest, JoinWaitsForEveryTask) {
  Scope scope(loop_);
  std::vector<int> notes;
  for (int i : {3, 1, 2}) scope.Spawn(SleepAndNote(loop_, milliseconds(10 * i), i, notes));
  RunTask(loop_, JoinAndNote(scope, 4, notes));
  EXPECT_THAT(notes, ElementsAre(1, 2, 3, 4));
}

TEST_F(ScopeTest, JoinReturnsAtOnceWhenNothingRuns) {
  Scope scope(loop_);
  std::vector<int> notes;
  RunTask(loop_, JoinAndNote(scope, 1, notes));
  EXPECT_THAT(notes, ElementsAre(1));
}

Task<void> SpawnMore(Scope& scope, Loop& loop, int generations, int& ended) {
  co_await Sleep(loop, milliseconds(5));
  if (generations > 0) {
    scope.Spawn(SpawnMore(scope, loop, generations - 1, ended));
    scope.Spawn(SpawnMore(scope, loop, generations - 1, ended));
  }
  ++ended;
}

TEST_F(ScopeTest, JoinWaitsForTasksThatTasksSpawned) {
  Scope scope(loop_);
  std::vector<int> notes;
  int ended = 0;
  scope.Spawn(SpawnMore(scope, loop_, 6, ended));
  RunTask(loop_, JoinAndNote(scope, 1, notes));
  EXPECT_EQ(ended, 127);
}

TEST_F(ScopeTest, CanBeUsedAgainAfterAJoin) {
  Scope scope(loop_);
  std::vector<int> notes;
  for (int round = 0; round < 3; ++round) {
    scope.Spawn(SleepAndNote(loop_, milliseconds(1), round, notes));
    RunTask(loop_, JoinAndNote(scope, 10 + round, notes));
  }
  EXPECT_THAT(notes, ElementsAre(0, 10, 1, 11, 2, 12));
}

Task<void> HoldFor(Loop& loop, std::shared_ptr<int> held) {
  co_await Sleep(loop, milliseconds(1));
  ++*held;
}

TEST_F(ScopeTest, FreesATaskThatHasEnded) {
  Scope scope(loop_);
  auto held = std::make_shared<int>(0);
  scope.Spawn(HoldFor(loop_, held));
  while (scope.running() > 0) loop_.Turn();
  EXPECT_EQ(*held, 1);
  EXPECT_EQ(held.use_count(), 1);
}

// The owner of a scope may end as soon as Join has returned.
Task<void> OwnAScope(Loop& loop, std::vector<int>& notes) {
  auto scope = std::make_unique<Scope>(loop);
  scope->Spawn(SleepAndNote(loop, milliseconds(1), 1, notes));
  co_await scope->Join();
  scope.reset();
  notes.push_back(2);
}

TEST_F(ScopeTest, MayBeDestroyedWhenJoined) {
  std::vector<int> notes;
  RunTask(loop_, OwnAScope(loop_, notes));
  EXPECT_THAT(notes, ElementsAre(1, 2));
}

TEST_F(ScopeTest, AbortsWhenDestroyedWithARunningTask) {
  std::vector<int> notes;
  EXPECT_DEATH(
      {
        Scope scope(loop_);
        scope.Spawn(SleepAndNote(loop_, milliseconds(1), 1, notes));
      },
      "running_ == 0");
}

}  // namespace
}  // namespace bivalve::core
