#include <benchmark/benchmark.h>

#include "core/counters.h"
#include "core/histogram.h"

namespace bivalve::core {
namespace {

// What does it cost a session to record how long something took?
void BM_Record(benchmark::State& state) {
  Histogram histogram;
  uint64_t value = 1;
  for (auto _ : state) {
    histogram.Record(value);
    value = value * 1664525 + 1013904223;
    value &= 0xFFFFF;
  }
}
BENCHMARK(BM_Record);

// What does it cost the control thread to read a histogram and compute its 99th percentile?
void BM_ReadPercentile(benchmark::State& state) {
  Histogram histogram;
  for (uint64_t i = 0; i < 100'000; ++i) histogram.Record(i * 7919 % 1'000'000);
  for (auto _ : state) benchmark::DoNotOptimize(histogram.Read().Percentile(0.99));
}
BENCHMARK(BM_ReadPercentile);

enum class Count : uint8_t { kMessages, kCount };

// What does one counted event cost?
void BM_Count(benchmark::State& state) {
  Counters<Count> counters;
  for (auto _ : state) {
    counters.Add(Count::kMessages);
    benchmark::ClobberMemory();
  }
}
BENCHMARK(BM_Count);

}  // namespace
}  // namespace bivalve::core
