// Waiting for room: memory is used up and there is no disk to use instead.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "core/body_pool.h"
#include "core/scope.h"
#include "tests/core/body_fixture.h"

namespace bivalve::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class BodyRoom : public BodyFixture {
 protected:
  BodyRoom() {
    BodyPool::Options options;
    options.memory_bytes_max = 256 * kKibi;
    options.temp_directory = "/nonexistent";
    options.kept_bodies_max = 0;
    MakePool(options);
  }
  struct Wish {
    std::unique_ptr<Body> body;
    bool granted = false;
    bool over = false;
  };
  // Static, so that no coroutine lives in a capturing lambda.
  static Task<void> WantBody(BodyRoom& test, Wish& wish, Duration patience, std::vector<Wish*>* order) {
    wish.body = co_await test.pool().AcquireInTime(0, test.loop_.Now() + patience);
    wish.granted = wish.body != nullptr;
    wish.over = true;
    if (order != nullptr) order->push_back(&wish);
  }
  static Task<void> WantMore(BodyRoom& test, Wish& wish, Duration patience) {
    wish.granted = co_await test.pool().GrowInTime(*wish.body, test.loop_.Now() + patience);
    wish.over = true;
  }
  void Turn(int turns = 5) {
    for (int i = 0; i < turns; ++i) loop_.Turn(loop_.Now() + milliseconds(1));
  }
};

TEST_F(BodyRoom, ComesToThoseWhoWaitInOrder) {
  std::vector<std::unique_ptr<Body>> out;
  for (int i = 0; i < 4; ++i) out.push_back(Acquire());
  ASSERT_NE(out.back(), nullptr);
  Scope scope(loop_);
  Wish first;
  Wish second;
  std::vector<Wish*> order;
  scope.Spawn(WantBody(*this, first, seconds(20), &order));
  Turn();
  scope.Spawn(WantBody(*this, second, seconds(20), &order));
  Turn();
  EXPECT_FALSE(first.over || second.over);
  pool_->Release(std::move(out.back()));
  out.pop_back();
  Turn();
  EXPECT_TRUE(first.granted);
  EXPECT_FALSE(second.over);
  pool_->Release(std::move(first.body));
  Turn();
  EXPECT_TRUE(second.granted);
  EXPECT_EQ(order, (std::vector<Wish*>{&first, &second}));
  EXPECT_EQ(pool_->waits(), 2u);
  pool_->Release(std::move(second.body));
  for (auto& body : out) pool_->Release(std::move(body));
}

// Opening a file takes a while, and finds that there is no disk.
TEST_F(BodyRoom, CanComeBackWhileSomebodyTries) {
  std::vector<std::unique_ptr<Body>> out;
  for (int i = 0; i < 4; ++i) out.push_back(Acquire());
  ASSERT_NE(out.back(), nullptr);
  Scope scope(loop_);
  Wish wish;
  scope.Spawn(WantBody(*this, wish, seconds(20), nullptr));
  loop_.Turn(loop_.Now());
  ASSERT_FALSE(wish.over);
  for (auto& body : out) pool_->Release(std::move(body));
  Turn();
  EXPECT_TRUE(wish.granted);
  pool_->Release(std::move(wish.body));
}

TEST_F(BodyRoom, NobodyOvertakesThoseWhoWait) {
  std::vector<std::unique_ptr<Body>> out;
  for (int i = 0; i < 4; ++i) out.push_back(Acquire());
  Scope scope(loop_);
  Wish large;  // needs more than one body gives back
  large.body = std::move(out.back());
  out.pop_back();
  scope.Spawn(WantMore(*this, large, seconds(20)));
  Turn();
  pool_->Release(std::move(out.back()));
  out.pop_back();
  Wish late;
  scope.Spawn(WantBody(*this, late, seconds(20), nullptr));
  Turn();
  EXPECT_FALSE(large.over || late.over);
  for (auto& body : out) pool_->Release(std::move(body));
  Turn();
  EXPECT_TRUE(large.granted);
  // No room is left, and the only body in use may come back.
  EXPECT_FALSE(late.over);
  pool_->Release(std::move(large.body));
  Turn();
  EXPECT_TRUE(late.granted);
  pool_->Release(std::move(late.body));
}

TEST_F(BodyRoom, WaitsNoLongerThanItMay) {
  std::vector<std::unique_ptr<Body>> out;
  for (int i = 0; i < 4; ++i) out.push_back(Acquire());
  const MonoTime began = loop_.Now();
  EXPECT_EQ(RunTask(loop_, pool_->AcquireInTime(0, began + milliseconds(50))), nullptr);
  EXPECT_GE(loop_.Now(), began + milliseconds(50));
  for (auto& body : out) pool_->Release(std::move(body));
  std::unique_ptr<Body> body = RunTask(loop_, pool_->AcquireInTime(0, began));
  EXPECT_NE(body, nullptr);
  pool_->Release(std::move(body));
}

TEST_F(BodyRoom, OneGivesUpWhenAllWaitWithAPart) {
  std::vector<Wish> wishes(4);
  for (Wish& wish : wishes) wish.body = Acquire();
  Scope scope(loop_);
  for (size_t i = 0; i < 3; ++i) scope.Spawn(WantMore(*this, wishes[i], seconds(20)));
  Turn();
  EXPECT_FALSE(wishes[0].over || wishes[1].over || wishes[2].over);
  // Now nothing could ever come back. The waiter that came last is told so at once, and what it gives back
  // helps the others.
  scope.Spawn(WantMore(*this, wishes[3], seconds(20)));
  Turn();
  EXPECT_TRUE(wishes[3].over && !wishes[3].granted);
  EXPECT_FALSE(wishes[0].over);
  // Like a session that was refused, and one that got its room.
  for (int i = 0; i < 20 && scope.running() > 0; ++i) {
    for (Wish& wish : wishes) {
      if (wish.over) pool_->Release(std::move(wish.body));
    }
    Turn();
  }
  EXPECT_EQ(scope.running(), 0u);
  EXPECT_TRUE(wishes[0].granted);
  for (Wish& wish : wishes) pool_->Release(std::move(wish.body));
}

TEST_F(BodyRoom, ShrinkGivesRoomBack) {
  std::unique_ptr<Body> body = Acquire();
  ASSERT_TRUE(Fill(*body, Pattern(200 * kKibi)));
  EXPECT_EQ(pool_->memory_bytes(), 256 * kKibi);
  Scope scope(loop_);
  Wish other;
  scope.Spawn(WantBody(*this, other, seconds(20), nullptr));
  Turn();
  EXPECT_FALSE(other.over);
  pool_->Shrink(*body);
  Turn();
  EXPECT_TRUE(other.granted);
  EXPECT_EQ(pool_->memory_bytes(), 128 * kKibi);
  EXPECT_EQ(body->content_bytes(), 0u);
  // Bytes received from now on are kept as usual.
  const std::string content = Pattern(60 * kKibi);
  EXPECT_TRUE(Fill(*body, content));
  EXPECT_TRUE(body->content() == content);
  pool_->Release(std::move(body));
  pool_->Release(std::move(other.body));
}

}  // namespace
}  // namespace bivalve::core
