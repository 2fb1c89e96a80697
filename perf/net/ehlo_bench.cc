#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "net/ehlo.h"

namespace {

using namespace bivalve;

// What does it cost to build one EHLO reply from that of a typical Postfix, once for every session?
void BM_EhloReply(benchmark::State& state) {
  constexpr std::string_view kLines[] = {
      "mx.example.org",          "PIPELINING",          "SIZE 52428800", "VRFY", "ETRN",     "STARTTLS",
      "AUTH PLAIN LOGIN GSSAPI", "ENHANCEDSTATUSCODES", "8BITMIME",      "DSN",  "SMTPUTF8", "CHUNKING"};
  size_t bytes = 0;
  for (std::string_view line : kLines) bytes += line.size();
  for (auto _ : state) {
    net::EhloReply reply("smtp.passthru", {.size_bytes_max = 100 << 20, .chunking = true});
    for (std::string_view line : kLines) reply.Add(line);
    auto text = reply.Finish();
    benchmark::DoNotOptimize(text);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes));
}
BENCHMARK(BM_EhloReply);

}  // namespace
