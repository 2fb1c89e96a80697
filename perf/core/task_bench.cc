#include <benchmark/benchmark.h>

#include "core/scope.h"
#include "core/task.h"

namespace bivalve::core {
namespace {

// An Io on which nothing ever completes.
class IdleIo final : public Io {
 public:
  MonoTime Now() const override { return MonoTime(std::chrono::hours(1)); }
  void Wait(MonoTime) override {}
  int OpenSocket(int) override { return -1; }
  std::optional<uid_t> PeerUser(int) const override { return std::nullopt; }
  void Shutdown(int) override {}
  void ShutdownOutput(int) override {}
  void Close(int) override {}
  std::span<char> Buffer(int) override { return {}; }
  void ReturnBuffer(int) override {}

 private:
  void DoSubmit(IoOp&) override {}
  void DoCancel(IoOp&) override {}
};

Task<uint64_t> Next(uint64_t& value) { co_return ++value; }

Task<void> KeepAwaiting(benchmark::State& state, uint64_t& value) {
  for (auto _ : state) benchmark::DoNotOptimize(co_await Next(value));
}

// What does it cost to move a step of a session into a task of its own if the step does not wait?
void BM_AwaitTask(benchmark::State& state) {
  IdleIo io;
  Loop loop(io);
  Scope scope(loop);
  uint64_t value = 0;
  scope.Spawn(KeepAwaiting(state, value));
  while (scope.running() > 0) loop.Turn();
}
BENCHMARK(BM_AwaitTask);

Task<void> Nothing() { co_return; }

// What does it cost to begin and end a task that runs beside others, such as a session?
void BM_SpawnTask(benchmark::State& state) {
  IdleIo io;
  Loop loop(io);
  Scope scope(loop);
  for (auto _ : state) {
    scope.Spawn(Nothing());
    loop.Turn();
  }
}
BENCHMARK(BM_SpawnTask);

Task<void> WaitRepeatedly(Condition& mine, MonoTime deadline, const bool& stop, uint64_t& wakes) {
  while (!stop) {
    benchmark::DoNotOptimize(co_await mine.Wait(deadline));
    ++wakes;
  }
}

// What does one wake-up of a session cost, with a deadline that is set and dropped each time?
void BM_WakeWithDeadline(benchmark::State& state) {
  IdleIo io;
  Loop loop(io);
  Scope scope(loop);
  Condition condition(loop);
  bool stop = false;
  uint64_t wakes = 0;
  scope.Spawn(WaitRepeatedly(condition, io.Now() + std::chrono::seconds(180), stop, wakes));
  for (auto _ : state) {
    condition.Notify();
    loop.Turn();
  }
  stop = true;
  condition.Notify();
  while (scope.running() > 0) loop.Turn();
  benchmark::DoNotOptimize(wakes);
}
BENCHMARK(BM_WakeWithDeadline);

}  // namespace
}  // namespace bivalve::core
