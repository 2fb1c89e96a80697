#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

#include "net/dot_search.h"
#include "net/end_of_data.h"

namespace {

using namespace bivalve;
using Check = net::EndOfData::Check;

// Lines of 60 to 76 characters as in mail: letters, blanks, an occasional '.'. Every `dot_line_every`th line
// begins with a stuffed dot (0: none).
std::string Mail(size_t bytes, size_t dot_line_every) {
  std::mt19937 random(1);
  constexpr std::string_view kLetters = "etaoinshrdlucmfwypvbgk .,ETAOIN=";
  std::string mail;
  mail.reserve(bytes + 100);
  for (size_t line = 1; mail.size() < bytes; ++line) {
    if (dot_line_every != 0 && line % dot_line_every == 0) mail += "..";
    const size_t length = 60 + random() % 17;
    for (size_t i = 0; i < length; ++i) mail += kLetters[i == 0 ? random() % 22 : random() % kLetters.size()];
    mail += "\r\n";
  }
  mail.resize(bytes);
  return mail;
}

std::string Repeated(std::string_view unit, size_t bytes) {
  std::string text;
  text.reserve(bytes + unit.size());
  while (text.size() < bytes) text += unit;
  text.resize(bytes);
  return text;
}

void SetBytes(benchmark::State& state, size_t bytes) {
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes));
}

// Nothing moves in these messages, so each round sees the same bytes.
void Process(benchmark::State& state, std::string block, Check check) {
  for (auto _ : state) {
    net::EndOfData end(check);
    auto result = end.Process(block);
    benchmark::DoNotOptimize(result);
    benchmark::ClobberMemory();
  }
  SetBytes(state, block.size());
}

// Messages that change get a new copy in each round. The copying is not counted, but the block is in the
// cache. Stopping the clock costs about half a microsecond for each round, which is most of the time of the
// smallest messages.
void ProcessCopies(benchmark::State& state, const std::string& wire, Check check) {
  std::string block = wire;
  for (auto _ : state) {
    state.PauseTiming();
    block = wire;
    state.ResumeTiming();
    net::EndOfData end(check);
    auto result = end.Process(block);
    benchmark::DoNotOptimize(result);
    benchmark::ClobberMemory();
  }
  SetBytes(state, block.size());
}

void Sizes(benchmark::internal::Benchmark* benchmark) {
  for (const int64_t bytes : {1'000, 10'000, 64'000, 1'000'000, 25'000'000}) benchmark->Arg(bytes);
}

size_t Bytes(const benchmark::State& state) { return static_cast<size_t>(state.range(0)); }

// How fast is typical mail searched, with each check, from a message that fits into the first cache to one
// that fits into none?
void BM_Mail(benchmark::State& state, Check check) { Process(state, Mail(Bytes(state), 0), check); }
BENCHMARK_CAPTURE(BM_Mail, none, Check::kNone)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_Mail, guard, Check::kGuard)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_Mail, bare_newline, Check::kBareNewline)->Apply(Sizes);

// What would be the limit of the memory: how long does the C library take to read the same bytes once?
void BM_ReadOnce(benchmark::State& state) {
  const std::string block(Bytes(state), 'a');
  for (auto _ : state) {
    size_t found = block.find('\n');
    benchmark::DoNotOptimize(found);
    benchmark::ClobberMemory();
  }
  SetBytes(state, block.size());
}
BENCHMARK(BM_ReadOnce)->Apply(Sizes);

// What do stuffed dots cost, that is, moving everything behind the first one: in one of ten lines, and in
// every line?
void BM_StuffedDots(benchmark::State& state, size_t dot_line_every) {
  ProcessCopies(state, Mail(Bytes(state), dot_line_every), Check::kGuard);
}
BENCHMARK_CAPTURE(BM_StuffedDots, each_tenth_line, 10)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_StuffedDots, each_line, 1)->Apply(Sizes);

// How long can a hostile message occupy a worker? A decision is needed for every second byte ("\n."), also
// while searching bare newlines, or seems to be needed ("\t."); or every fourth byte is removed ("\r\n.a"),
// or one in each line.
void BM_Hostile(benchmark::State& state, std::string_view unit, Check check) {
  ProcessCopies(state, Repeated(unit, Bytes(state)), check);
}
BENCHMARK_CAPTURE(BM_Hostile, lf_dot, "\n.", Check::kGuard)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_Hostile, lf_dot_bare_newline, "\n.", Check::kBareNewline)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_Hostile, tab_dot, "\t.", Check::kGuard)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_Hostile, stuffed, "\r\n.a", Check::kGuard)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_Hostile, stuffed_longer, "\r\n.abcdefghijklmnopqrst", Check::kGuard)->Apply(Sizes);

// How much does each instruction set gain?
void BM_Search(benchmark::State& state, net::internal::Simd simd) {
  if (!net::internal::HasSimd(simd)) return state.SkipWithError("not on this machine");
  const std::string block = Mail(Bytes(state), 0);
  for (auto _ : state) {
    auto group = net::internal::NextGroup(simd, net::internal::Mark::kDotAfterControl, block.data() + 1,
                                          block.data() + block.size());
    benchmark::DoNotOptimize(group);
    benchmark::ClobberMemory();
  }
  SetBytes(state, block.size());
}
BENCHMARK_CAPTURE(BM_Search, portable, net::internal::Simd::kPortable)->Arg(64'000);
BENCHMARK_CAPTURE(BM_Search, sse2, net::internal::Simd::kSse2)->Arg(64'000);
BENCHMARK_CAPTURE(BM_Search, avx2, net::internal::Simd::kAvx2)->Arg(64'000);

// What does adding the dots again cost a sender: without dots, and with a dot on every line?
void BM_NextDot(benchmark::State& state, size_t dot_line_every) {
  const std::string content = Mail(Bytes(state), dot_line_every);
  for (auto _ : state) {
    std::string_view left = content;
    while (!left.empty()) {
      left.remove_prefix(net::NextDot(left, false));
      benchmark::DoNotOptimize(left);
    }
  }
  SetBytes(state, content.size());
}
BENCHMARK_CAPTURE(BM_NextDot, no_dot, 0)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_NextDot, each_line, 1)->Apply(Sizes);

}  // namespace
