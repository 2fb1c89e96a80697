#include "core/timer_wheel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "tests/sim/sim_io.h"

namespace bivalve::core {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr Duration kTick = TimerWheel::kTick;
constexpr MonoTime kStart = MonoTime(hours(5) + std::chrono::microseconds(123));

class CallTimer final : public Timer {
 public:
  explicit CallTimer(std::function<void()> call = [] {}) : call_(std::move(call)) {}

 private:
  void OnTimer() override { call_(); }
  std::function<void()> call_;
};

TEST(TimerWheel, FiresOnceAtMostOneTickLate) {
  for (int64_t distance_us : {1, 3999, 4000, 4001, 100'000, 255'999, 256'000, 256'001, 20'000'000}) {
    TimerWheel wheel(kStart);
    int fired = 0;
    CallTimer timer([&] { ++fired; });
    const MonoTime deadline = kStart + std::chrono::microseconds(distance_us);
    wheel.Set(timer, deadline);
    wheel.Advance(deadline - Duration(1));
    EXPECT_EQ(fired, 0) << distance_us;
    wheel.Advance(deadline + kTick);
    EXPECT_EQ(fired, 1) << distance_us;
    EXPECT_FALSE(timer.armed());
    wheel.Advance(deadline + hours(1000));
    EXPECT_EQ(fired, 1) << distance_us;
  }
}

TEST(TimerWheel, FiresADeadlineInThePastAtTheNextTick) {
  TimerWheel wheel(kStart);
  wheel.Advance(kStart + milliseconds(100));
  int fired = 0;
  CallTimer timer([&] { ++fired; });
  wheel.Set(timer, kStart - hours(1));
  EXPECT_EQ(fired, 0);
  EXPECT_LE(wheel.Next(), kStart + milliseconds(104));
  wheel.Advance(kStart + milliseconds(104));
  EXPECT_EQ(fired, 1);
}

TEST(TimerWheel, KnowsNoNextWithoutTimers) {
  TimerWheel wheel(kStart);
  EXPECT_EQ(wheel.Next(), kNever);
  CallTimer timer;
  wheel.Set(timer, kStart + hours(1));
  EXPECT_LE(wheel.Next(), kStart + hours(1) + kTick);
  wheel.Set(timer, kNever);
  EXPECT_FALSE(timer.armed());
  EXPECT_EQ(wheel.Next(), kNever);
}

TEST(TimerWheel, ForgetsATimerThatIsDestroyed) {
  TimerWheel wheel(kStart);
  int fired = 0;
  {
    CallTimer timer([&] { ++fired; });
    wheel.Set(timer, kStart + milliseconds(50));
  }
  wheel.Advance(kStart + hours(1));
  EXPECT_EQ(fired, 0);
}

// Neighbours in one slot: the first one runs, drops the second, moves the third and sets itself again.
TEST(TimerWheel, LetsATimerDropAndSetItsNeighbours) {
  TimerWheel wheel(kStart);
  std::vector<int> fired;
  std::unique_ptr<CallTimer> second;
  std::unique_ptr<CallTimer> third;
  std::unique_ptr<CallTimer> first;
  first = std::make_unique<CallTimer>([&] {
    fired.push_back(1);
    if (fired.size() > 1) return;
    second.reset();
    wheel.Set(*third, kStart + milliseconds(300));
    wheel.Set(*first, kStart + milliseconds(200));
  });
  second = std::make_unique<CallTimer>([&] { fired.push_back(2); });
  third = std::make_unique<CallTimer>([&] { fired.push_back(3); });
  for (CallTimer* timer : {first.get(), second.get(), third.get()})
    wheel.Set(*timer, kStart + milliseconds(100));
  wheel.Advance(kStart + milliseconds(100) + kTick);
  EXPECT_THAT(fired, ElementsAre(1));
  wheel.Advance(kStart + milliseconds(1000));
  EXPECT_THAT(fired, ElementsAre(1, 1, 3));
}

TEST(TimerWheel, LetsATimerDestroyItself) {
  TimerWheel wheel(kStart);
  std::unique_ptr<CallTimer> timer;
  timer = std::make_unique<CallTimer>([&] { timer.reset(); });
  wheel.Set(*timer, kStart + milliseconds(100));
  wheel.Advance(kStart + milliseconds(200));
  EXPECT_EQ(timer, nullptr);
}

// A timer set for now from inside OnTimer waits for the next tick, so that Advance ends.
TEST(TimerWheel, RunsATimerThatSetsItselfOncePerTick) {
  TimerWheel wheel(kStart);
  int fired = 0;
  std::unique_ptr<CallTimer> timer;
  timer = std::make_unique<CallTimer>([&] {
    ++fired;
    wheel.Set(*timer, kStart);
  });
  wheel.Set(*timer, kStart);
  wheel.Advance(kStart + 10 * kTick);
  EXPECT_EQ(fired, 10);
  timer.reset();
}

TEST(TimerWheel, TakesDeadlinesInTheFarFuture) {
  TimerWheel wheel(kStart);
  std::vector<int> fired;
  CallTimer years([&] { fired.push_back(1); });
  CallTimer century([&] { fired.push_back(2); });
  CallTimer last([&] { fired.push_back(3); });
  wheel.Set(years, kStart + hours(24 * 365 * 20));
  wheel.Set(century, kStart + hours(24 * 365 * 100));
  wheel.Set(last, kNever - Duration(1));
  EXPECT_GT(wheel.Next(), kStart) << "a loop would spin";
  for (int day = 1; day < 300; ++day) {
    wheel.Advance(kStart + hours(24 * day));
    ASSERT_GT(wheel.Next(), kStart + hours(24 * day)) << "a loop would spin";
  }
  EXPECT_THAT(fired, IsEmpty());
  wheel.Advance(kStart + hours(24 * 365 * 20) - kTick);
  EXPECT_THAT(fired, IsEmpty());
  wheel.Advance(kStart + hours(24 * 365 * 20) + kTick);
  EXPECT_THAT(fired, ElementsAre(1));
  wheel.Advance(kStart + hours(24 * 365 * 101));
  EXPECT_THAT(fired, ElementsAre(1, 2));
}

TEST(TimerWheel, AbortsWhenDestroyedWithAnArmedTimer) {
  EXPECT_DEATH(
      {
        CallTimer timer;
        TimerWheel wheel(kStart);
        wheel.Set(timer, kStart + hours(1));
      },
      "check failed");
}

// --- Against a reference: a plain list of deadlines, compared after each of many random steps.

class Reference {
 public:
  explicit Reference(uint64_t seed, bool nested) : random_(seed), nested_(nested) {
    for (size_t i = 0; i < kTimers; ++i) {
      entries_[i].timer = std::make_unique<CallTimer>([this, i] { OnTimer(i); });
    }
  }

  void Step() {
    switch (random_.Below(8)) {
      case 0:
      case 1:
      case 2:
        SetSome();
        break;
      case 3:
        DropSome();
        break;
      default:
        Advance(RandomDistance());
    }
  }

  void Advance(Duration distance) {
    const MonoTime next = wheel_.Next();
    // In half of the cases like the loop: no further than Next().
    if (next != kNever && random_.Chance(0.5)) distance = std::min(distance, next - now_);
    now_ += std::max(distance, Duration::zero());
    advancing_ = true;
    last_tick_fired_ = 0;
    wheel_.Advance(now_);
    advancing_ = false;
    Check();
  }

  void DropAll() {
    for (Entry& entry : entries_) Drop(entry);
  }

  uint64_t fired() const { return fired_; }
  uint64_t ticks() const { return Tick(now_); }

 private:
  static constexpr size_t kTimers = 60;
  struct Entry {
    std::unique_ptr<CallTimer> timer;
    bool armed = false;
    bool set_while_advancing = false;
    MonoTime deadline;
    MonoTime due;  // the deadline, or the time when it was set if that was later
  };

  static uint64_t Tick(MonoTime time) { return static_cast<uint64_t>((time - kStart) / kTick); }

  // Any order of magnitude from a fraction of a tick to several days.
  Duration RandomDistance() {
    const auto bits = static_cast<int>(random_.Below(28));
    return kTick * static_cast<int64_t>(random_.Below(uint64_t{1} << bits)) +
           Duration(static_cast<int64_t>(random_.Below(static_cast<uint64_t>(kTick.count()))));
  }

  void SetSome() {
    Entry& entry = entries_[random_.Below(kTimers)];
    entry.deadline = now_ + RandomDistance() - (random_.Chance(0.1) ? hours(1) : hours(0));
    entry.due = std::max(entry.deadline, now_);
    entry.armed = true;
    entry.set_while_advancing = advancing_;
    wheel_.Set(*entry.timer, entry.deadline);
  }

  void DropSome() { Drop(entries_[random_.Below(kTimers)]); }
  void Drop(Entry& entry) {
    entry.armed = false;
    entry.timer->Drop();
  }

  void OnTimer(size_t index) {
    Entry& entry = entries_[index];
    ++fired_;
    EXPECT_TRUE(entry.armed) << "fired without being set";
    EXPECT_LE(entry.deadline, now_) << "fired early";
    EXPECT_FALSE(entry.timer->armed());
    if (!entry.set_while_advancing) {
      EXPECT_GE(Tick(entry.due) + 1, last_tick_fired_) << "fired after a later one";
      last_tick_fired_ = std::max(last_tick_fired_, Tick(entry.due));
    }
    entry.armed = false;
    if (!nested_) return;
    for (uint64_t n = random_.Below(3); n > 0; --n) {
      random_.Chance(0.5) ? SetSome() : DropSome();
    }
  }

  void Check() {
    const MonoTime next = wheel_.Next();
    bool any = false;
    for (Entry& entry : entries_) {
      ASSERT_EQ(entry.armed, entry.timer->armed());
      if (!entry.armed) continue;
      any = true;
      ASSERT_LE(next, std::max(entry.deadline, now_) + kTick) << "the loop would oversleep";
      ASSERT_GT(entry.due + kTick, now_) << "did not fire";
      entry.set_while_advancing = false;
    }
    if (any) {
      ASSERT_GT(next, now_) << "the loop would spin";
    }
  }

  sim::Random random_;
  bool nested_;
  bool advancing_ = false;
  MonoTime now_ = kStart;
  TimerWheel wheel_{kStart};
  std::array<Entry, kTimers> entries_;
  uint64_t fired_ = 0;
  uint64_t last_tick_fired_ = 0;
};

class TimerWheelReference : public testing::TestWithParam<bool> {};

TEST_P(TimerWheelReference, AgreesOverMillionsOfTicks) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    Reference reference(seed, GetParam());
    for (int step = 0; step < 10'000; ++step) {
      reference.Step();
      if (testing::Test::HasFailure()) return reference.DropAll();
    }
    EXPECT_GT(reference.fired(), 1000u);
    EXPECT_GT(reference.ticks(), 5'000'000u);
    reference.DropAll();
  }
}

INSTANTIATE_TEST_SUITE_P(Setting, TimerWheelReference, testing::Bool(), [](const auto& shape) {
  return shape.param ? "FromInsideOnTimerToo" : "FromOutsideOnly";
});

}  // namespace
}  // namespace bivalve::core
