#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "core/log_queue.h"

namespace bivalve::core {
namespace {

const std::string& Record() {
  static const std::string record(200, 'x');  // about the line of one message
  return record;
}

// What does a log line cost in all, written and taken out by one thread?
void BM_PushAndPop(benchmark::State& state) {
  LogQueue queue;
  std::string taken;
  for (auto _ : state) {
    queue.Push(Record());
    queue.Pop(taken);
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * Record().size()));
}
BENCHMARK(BM_PushAndPop);

// What does it cost the writing worker if the reader is on another core, as in the program? Bursts that fit
// into the queue; the wait for the reader between them is not counted.
void BM_PushToAnotherThread(benchmark::State& state) {
  constexpr int kBurst = 1000;
  LogQueue queue;
  std::atomic<bool> stop = false;
  std::atomic<int64_t> popped = 0;
  std::thread reader([&] {
    std::string taken;
    while (!stop) {
      while (queue.Pop(taken)) popped.fetch_add(1, std::memory_order_release);
      std::this_thread::yield();
    }
  });
  int64_t pushed = 0;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kBurst; ++i) queue.Push(Record());
    state.SetIterationTime(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    pushed += kBurst;
    while (popped.load(std::memory_order_acquire) < pushed) std::this_thread::yield();
  }
  stop = true;
  reader.join();
  state.SetItemsProcessed(pushed);
}
BENCHMARK(BM_PushToAnotherThread)->UseManualTime();

// And if the reader is stuck and every record is lost? This must cost nothing.
void BM_PushToAFullQueue(benchmark::State& state) {
  LogQueue queue(1024);
  while (queue.Push(Record())) {
  }
  for (auto _ : state) benchmark::DoNotOptimize(queue.Push(Record()));
}
BENCHMARK(BM_PushToAFullQueue);

}  // namespace
}  // namespace bivalve::core
