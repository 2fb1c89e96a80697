// Does the time to read clamd's replies matter compared with a scan? A reply is parsed once for each message,
// so anything below a microsecond does not matter.
#include <benchmark/benchmark.h>

#include <string>
#include <string_view>

#include "core/text.h"
#include "scan/clamd_protocol.h"

namespace bivalve::scan {
namespace {

// What does it cost to split and parse one reply: for a clean message, for an infected one, and from a
// scanner that sends a record of the longest accepted length?
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

// What does a whole record cost if it arrives byte by byte and is parsed each time?
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
