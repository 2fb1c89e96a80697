// Is reading clamd's replies worth a thought next to a scan? A reply is taken apart once for each message, so
// everything below a microsecond is not.
#include <benchmark/benchmark.h>

#include <string>
#include <string_view>

#include "core/text.h"
#include "scan/clamd_protocol.h"

namespace bivalve::scan {
namespace {

// What it costs to split and to parse one reply: of a clean message, of an infected one, and of a scanner
// that sends a record as long as we take.
void TakeReply(benchmark::State& state, const std::string& input) {
  for (auto _ : state) {
    const Record record = NextRecord(input);
    const Reply reply = ParseReply(record.text);
    benchmark::DoNotOptimize(reply.kind);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(input.size()));
}
BENCHMARK_CAPTURE(TakeReply, clean, core::Cat("123456: fd[17]: OK", '\0'));
BENCHMARK_CAPTURE(TakeReply, infected,
                  core::Cat("123456: stream: Win.Test.EICAR_HDB-1.UNOFFICIAL FOUND", '\0'));
BENCHMARK_CAPTURE(TakeReply, longest,
                  core::Cat("1: fd[1]: ", std::string(kRecordBytesMax - 16, 'x'), " FOUND", '\0'));

// What a whole record costs when it arrives byte by byte and is looked at each time.
void ReplyInPieces(benchmark::State& state) {
  const std::string input = core::Cat("123456: fd[17]: OK", '\0');
  for (auto _ : state) {
    for (size_t bytes = 1; bytes <= input.size(); ++bytes) {
      benchmark::DoNotOptimize(NextRecord(std::string_view(input).substr(0, bytes)).state);
    }
  }
}
BENCHMARK(ReplyInPieces);

}  // namespace
}  // namespace bivalve::scan
