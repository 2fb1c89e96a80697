#include <benchmark/benchmark.h>

#include <cstdint>
#include <string_view>

#include "net/smtp_reply.h"

namespace {

// What does it cost to split one server reply line: the smallest step of every relayed command?
void BM_ParseReplyLine(benchmark::State& state) {
  std::string_view line = "250-mx.example.org at your service";
  for (auto _ : state) {
    benchmark::DoNotOptimize(line);
    auto reply = bivalve::net::ParseReplyLine(line);
    benchmark::DoNotOptimize(reply);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(line.size()));
}
BENCHMARK(BM_ParseReplyLine);

}  // namespace
