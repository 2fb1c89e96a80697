#include <benchmark/benchmark.h>

#include <cstring>
#include <string>

#include "core/body.h"
#include "core/body_pool.h"
#include "core/ring.h"
#include "core/scope.h"

namespace bivalve::core {
namespace {

struct Life {
  BodyPool& pool;
  const std::string& message;
  bool expected;  // the size was announced (SIZE=)
  bool keep;
};

// The life of one message: acquired, filled, sealed for the scanner, given back.
Task<void> LiveOnce(Life& life) {
  std::unique_ptr<Body> body = co_await life.pool.Acquire(life.expected ? life.message.size() : 0);
  size_t done = 0;
  while (done < life.message.size()) {
    if (body->room().empty()) {
      const bool grown = co_await life.pool.Grow(*body);
      if (!grown) std::abort();
    }
    const size_t part = std::min(body->room().size(), life.message.size() - done);
    std::memcpy(body->room().data(), life.message.data() + done, part);
    body->Extend(part);
    done += part;
  }
  if (body->SealForScan() < 0) std::abort();
  if (life.keep) {
    life.pool.Release(std::move(body));
  } else {
    life.pool.Discard(std::move(body));
  }
}

// A pool that has kept a body of the message's size and a small one.
Task<void> LiveManyTimes(benchmark::State& state, Life& life) {
  std::unique_ptr<Body> small = co_await life.pool.Acquire(0);
  co_await LiveOnce(life);
  life.pool.Release(std::move(small));
  for (auto _ : state) co_await LiveOnce(life);
}

void Run(benchmark::State& state, size_t bytes, const BodyPool::Options& options, bool expected, bool keep) {
  auto ring = Ring::Open({}).value();
  Loop loop(*ring);
  BodyPool pool(loop, options);
  const std::string message(bytes, 'x');
  Life life = {.pool = pool, .message = message, .expected = expected, .keep = keep};
  Scope scope(loop);
  scope.Spawn(LiveManyTimes(state, life));
  while (scope.running() > 0) loop.Turn();
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes));
}

// Does keeping bodies pay? The life of one message in a kept body, compared with a new one.
void BM_KeptBody(benchmark::State& state) { Run(state, static_cast<size_t>(state.range(0)), {}, true, true); }
BENCHMARK(BM_KeptBody)->ArgName("bytes")->Arg(10'000)->Arg(1 << 20);

void BM_FreshBody(benchmark::State& state) {
  Run(state, static_cast<size_t>(state.range(0)), {}, true, false);
}
BENCHMARK(BM_FreshBody)->ArgName("bytes")->Arg(10'000)->Arg(1 << 20);

// What does it cost if the size was not announced?
void BM_KeptBodyOfUnknownSize(benchmark::State& state) {
  Run(state, static_cast<size_t>(state.range(0)), {}, false, true);
}
BENCHMARK(BM_KeptBodyOfUnknownSize)->ArgName("bytes")->Arg(1 << 20);

// And what if memory is used up, and the message goes to a file?
void BM_FileBody(benchmark::State& state) {
  BodyPool::Options options;
  options.memory_bytes_max = 0;
  Run(state, static_cast<size_t>(state.range(0)), options, true, true);
}
BENCHMARK(BM_FileBody)->ArgName("bytes")->Arg(10'000)->Arg(1 << 20);

}  // namespace
}  // namespace bivalve::core
