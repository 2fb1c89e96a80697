#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "core/timer_wheel.h"

namespace bivalve::core {
namespace {

class QuietTimer final : public Timer {
 public:
  uint64_t fired = 0;

 private:
  void OnTimer() override { ++fired; }
};

constexpr MonoTime kStart = MonoTime(std::chrono::hours(1));

// What does a deadline cost that never passes, as almost all do? With this many others armed.
void BM_SetAndDrop(benchmark::State& state) {
  std::vector<std::unique_ptr<QuietTimer>> others;
  TimerWheel wheel(kStart);
  for (int64_t i = 0; i < state.range(0); ++i) {
    others.push_back(std::make_unique<QuietTimer>());
    wheel.Set(*others.back(), kStart + std::chrono::milliseconds(1 + i * 37 % 180'000));
  }
  QuietTimer timer;
  for (auto _ : state) {
    wheel.Set(timer, kStart + std::chrono::seconds(180));
    timer.Drop();
  }
  for (auto& other : others) other->Drop();
}
BENCHMARK(BM_SetAndDrop)->Arg(0)->Arg(20'000);

// What does one tick of the wheel cost a busy worker with 20,000 sessions whose deadlines are set again all
// the time?
void BM_TickWithManySessions(benchmark::State& state) {
  constexpr size_t kSessions = 20'000;
  std::vector<std::unique_ptr<QuietTimer>> timers;
  TimerWheel wheel(kStart);
  MonoTime now = kStart;
  for (size_t i = 0; i < kSessions; ++i) {
    timers.push_back(std::make_unique<QuietTimer>());
    wheel.Set(*timers.back(), now + std::chrono::seconds(180));
  }
  size_t next = 0;
  for (auto _ : state) {
    now += TimerWheel::kTick;
    wheel.Advance(now);
    for (int i = 0; i < 40; ++i) {  // 10,000 steps per second
      wheel.Set(*timers[next], now + std::chrono::seconds(180));
      next = (next + 7919) % kSessions;
    }
    benchmark::DoNotOptimize(wheel.Next());
  }
  for (auto& timer : timers) timer->Drop();
}
BENCHMARK(BM_TickWithManySessions);

}  // namespace
}  // namespace bivalve::core
