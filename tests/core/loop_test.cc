#include "core/loop.h"

#include <gtest/gtest.h>

#include "core/await_op.h"
#include "core/condition.h"
#include "core/scope.h"
#include "tests/core/run_task.h"
#include "tests/core/test_op.h"
#include "tests/sim/sim_io.h"

namespace bivalve::core {
namespace {

using std::chrono::milliseconds;

class LoopTest : public testing::Test {
 protected:
  sim::SimIo io_{1};
  Loop loop_{io_};
  Scope scope_{loop_};
};

TEST_F(LoopTest, WaitsUntilTheDeadlineWhenNothingIsToDo) {
  const MonoTime deadline = io_.Now() + milliseconds(123);
  loop_.Turn(deadline);
  EXPECT_EQ(io_.Now(), deadline);
}

Task<void> Nothing() { co_return; }

// A caller that turns the loop until a task has ended must not sleep afterwards.
TEST_F(LoopTest, DoesNotWaitAfterTheLastTaskHasEnded) {
  const MonoTime start = io_.Now();
  scope_.Spawn(Nothing());
  while (scope_.running() > 0) loop_.Turn();
  EXPECT_FALSE(io_.stalled());
  EXPECT_EQ(io_.Now(), start);
}

TEST_F(LoopTest, WaitsNoLongerThanTheNextTimer) {
  class Nothing final : public Timer {};
  Nothing timer;
  const MonoTime start = io_.Now();
  loop_.timers().Set(timer, start + milliseconds(10));
  while (timer.armed()) loop_.Turn();
  EXPECT_GE(io_.Now(), start + milliseconds(10));
  EXPECT_LE(io_.Now(), start + milliseconds(10) + 2 * TimerWheel::kTick);
}

// Waits for `mine` and wakes `other`, for ever: something is always ready to run.
Task<void> PlayPingPong(Condition& mine, Condition& other, const bool& stop, uint64_t& rounds) {
  while (!stop) {
    other.Notify();
    (void)co_await mine.Wait();
    ++rounds;
  }
  other.Notify();
}

class LoopUnderPingPong : public LoopTest {
 protected:
  void Start() {
    scope_.Spawn(PlayPingPong(ping_, pong_, stop_, rounds_));
    scope_.Spawn(PlayPingPong(pong_, ping_, stop_, rounds_));
  }
  void Stop() {
    stop_ = true;
    while (scope_.running() > 0) loop_.Turn();
  }

  Condition ping_{loop_};
  Condition pong_{loop_};
  bool stop_ = false;
  uint64_t rounds_ = 0;
};

TEST_F(LoopUnderPingPong, KeepsServingTheKernelsCompletions) {
  Start();
  sim::SimPeer peer;
  const int fd = io_.Accept(peer);
  char byte = 'x';
  TestOp op(io_);
  op.Submit(IoRequest::Send(fd, {&byte, 1}));
  for (int turn = 0; turn < 50; ++turn) loop_.Turn();
  EXPECT_FALSE(op.in_flight());
  EXPECT_GT(rounds_, 40u);
  Stop();
}

TEST_F(LoopUnderPingPong, DoesNotWait) {
  Start();
  const MonoTime start = io_.Now();
  for (int turn = 0; turn < 50; ++turn) loop_.Turn(start + milliseconds(100));
  EXPECT_EQ(io_.Now(), start);
  Stop();
}

// A coroutine scheduled by another one runs in a later pass, not in this one.
Task<void> CountPasses(Loop& loop, int& passes) {
  Condition self(loop);
  for (int i = 0; i < 10; ++i) {
    self.Notify();
    (void)co_await self.Wait();  // returns at once: notified
    ++passes;
  }
}

TEST_F(LoopTest, RunsACoroutineThatNeedNotWaitToItsEnd) {
  int passes = 0;
  scope_.Spawn(CountPasses(loop_, passes));
  loop_.Turn(io_.Now());
  EXPECT_EQ(passes, 10);
}

// --- AwaitOp

Task<void> ReceiveUntil(Loop& loop, int fd, MonoTime deadline, std::string& bytes, int& result) {
  char room[16];
  const IoResult received = co_await AwaitOp(loop, IoRequest::Receive(fd, room), deadline);
  result = received.raw();
  if (received.ok()) bytes.assign(room, received.value());
}

TEST_F(LoopTest, AwaitOpGivesTheResult) {
  class Greeter final : public sim::SimPeer {
    void OnConnect(sim::SimSocket& socket) override { socket.Send("220"); }
  };
  Greeter peer;
  std::string bytes;
  int result = 0;
  RunTask(loop_, ReceiveUntil(loop_, io_.Accept(peer), kNever, bytes, result));
  EXPECT_EQ(result, 3);
  EXPECT_EQ(bytes, "220");
  EXPECT_EQ(loop_.timers().Next(), kNever);
}

TEST_F(LoopTest, AwaitOpSaysWhenTheDeadlineHasPassed) {
  sim::SimPeer peer;
  std::string bytes;
  int result = 0;
  const MonoTime deadline = io_.Now() + milliseconds(100);
  RunTask(loop_, ReceiveUntil(loop_, io_.Accept(peer), deadline, bytes, result));
  EXPECT_EQ(result, -ETIMEDOUT);
  EXPECT_GE(io_.Now(), deadline);
  EXPECT_EQ(io_.operations_in_flight(), 0u);
}

// Bytes that arrive at the very moment of the deadline are either received or left in the socket, never lost.
TEST(AwaitOp, LosesNoBytesAtTheDeadline) {
  int in_time = 0;
  constexpr int kSeeds = 500;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    sim::SimIo io(seed);
    Loop loop(io);
    class Keep final : public sim::SimPeer {
     public:
      void OnConnect(sim::SimSocket& s) override { socket = &s; }
      sim::SimSocket* socket = nullptr;
    };
    Keep peer;
    const int fd = io.Accept(peer);
    io.After(milliseconds(100 + seed % 12), [&] { peer.socket->Send("x"); });
    std::string bytes;
    int result = 0;
    RunTask(loop, ReceiveUntil(loop, fd, io.Now() + milliseconds(100), bytes, result));
    if (result == 1) {
      ++in_time;
    } else {
      EXPECT_EQ(result, -ETIMEDOUT);
      RunTask(loop, ReceiveUntil(loop, fd, kNever, bytes, result));
    }
    EXPECT_EQ(bytes, "x");
  }
  EXPECT_GT(in_time, 0);
  EXPECT_LT(in_time, kSeeds);
}

TEST(IoOp, AbortsWhenDestroyedInFlight) {
  sim::SimIo io(1);
  sim::SimPeer peer;
  const int fd = io.Accept(peer);
  EXPECT_DEATH(
      {
        TestOp op(io);
        op.Submit(IoRequest::ReceiveBuffer(fd));
      },
      "in_flight_");
}

}  // namespace
}  // namespace bivalve::core
