#include "core/condition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "core/scope.h"
#include "tests/core/run_task.h"
#include "tests/sim/sim_io.h"

namespace bivalve::core {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::IsEmpty;

class ConditionTest : public testing::Test {
 protected:
  void Turns(int count) {
    for (int i = 0; i < count; ++i) loop_.Turn(io_.Now());
  }

  sim::SimIo io_{1};
  Loop loop_{io_};
  Scope scope_{loop_};
  Condition condition_{loop_};
  std::vector<bool> woken_;
};

Task<void> WaitAndNote(Condition& condition, MonoTime deadline, std::vector<bool>& woken) {
  woken.push_back(co_await condition.Wait(deadline));
}

Task<void> WaitTwice(Condition& condition, MonoTime second_deadline, std::vector<bool>& woken) {
  woken.push_back(co_await condition.Wait());
  woken.push_back(co_await condition.Wait(second_deadline));
}

TEST_F(ConditionTest, WakesTheWaiterOnALaterPass) {
  scope_.Spawn(WaitAndNote(condition_, kNever, woken_));
  Turns(3);
  condition_.Notify();
  EXPECT_THAT(woken_, IsEmpty());
  Turns(2);
  EXPECT_THAT(woken_, ElementsAre(true));
}

TEST_F(ConditionTest, RemembersANotificationThatCameFirst) {
  condition_.Notify();
  scope_.Spawn(WaitAndNote(condition_, kNever, woken_));
  Turns(2);
  EXPECT_THAT(woken_, ElementsAre(true));
}

TEST_F(ConditionTest, TakesManyNotificationsAsOne) {
  condition_.Notify();
  condition_.Notify();
  scope_.Spawn(WaitTwice(condition_, io_.Now() + milliseconds(20), woken_));
  Turns(3);
  EXPECT_THAT(woken_, ElementsAre(true));
  while (scope_.running() > 0) loop_.Turn();
  EXPECT_THAT(woken_, ElementsAre(true, false));
}

TEST_F(ConditionTest, SaysWhenTheDeadlineHasPassed) {
  const MonoTime start = io_.Now();
  scope_.Spawn(WaitAndNote(condition_, start + milliseconds(50), woken_));
  while (scope_.running() > 0) loop_.Turn();
  EXPECT_THAT(woken_, ElementsAre(false));
  EXPECT_GE(io_.Now(), start + milliseconds(50));
  EXPECT_LE(io_.Now(), start + milliseconds(50) + 2 * TimerWheel::kTick);
}

TEST_F(ConditionTest, SaysSoForADeadlineInThePast) {
  scope_.Spawn(WaitAndNote(condition_, io_.Now() - milliseconds(50), woken_));
  while (scope_.running() > 0) loop_.Turn();
  EXPECT_THAT(woken_, ElementsAre(false));
}

Task<void> NotifyAtDeadline(Condition& condition, MonoTime deadline) {
  Condition nothing(condition.loop());
  (void)co_await nothing.Wait(deadline);
  condition.Notify();
}

// A waiter that was resumed by its deadline may have been notified meanwhile. Then Wait reports the
// notification, which is used up.
TEST_F(ConditionTest, PrefersTheNotificationToTheDeadline) {
  const MonoTime deadline = io_.Now() + milliseconds(50);
  scope_.Spawn(NotifyAtDeadline(condition_, deadline));
  scope_.Spawn(WaitAndNote(condition_, deadline, woken_));
  while (scope_.running() > 0) loop_.Turn();
  EXPECT_THAT(woken_, ElementsAre(true));
}

TEST_F(ConditionTest, LeavesNoTimerBehind) {
  scope_.Spawn(WaitAndNote(condition_, io_.Now() + std::chrono::hours(1), woken_));
  Turns(2);
  EXPECT_NE(loop_.timers().Next(), kNever);
  condition_.Notify();
  Turns(2);
  EXPECT_EQ(loop_.timers().Next(), kNever);
}

TEST_F(ConditionTest, AbortsOnASecondWaiter) {
  scope_.Spawn(WaitAndNote(condition_, kNever, woken_));
  Turns(2);
  EXPECT_DEATH(
      {
        scope_.Spawn(WaitAndNote(condition_, kNever, woken_));
        Turns(2);
      },
      "check failed");
  condition_.Notify();
  Turns(2);
}

}  // namespace
}  // namespace bivalve::core
