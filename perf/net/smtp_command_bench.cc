#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "net/smtp_command.h"

namespace {

using namespace bivalve;

constexpr std::string_view kTransaction[] = {
    "EHLO client.example.org",
    "MAIL FROM:<bounces+12345@lists.example.org> SIZE=10240 BODY=8BITMIME",
    "RCPT TO:<alice@example.net> ORCPT=rfc822;alice@example.net",
    "RCPT TO:<bob@example.net> ORCPT=rfc822;bob@example.net",
    "DATA",
    "QUIT",
};

// What does it cost to classify the commands of a whole mail transaction, as every session does?
void BM_ParseCommand(benchmark::State& state) {
  size_t bytes = 0;
  for (std::string_view line : kTransaction) bytes += line.size();
  for (auto _ : state) {
    for (std::string_view line : kTransaction) {
      benchmark::DoNotOptimize(line);
      net::Command command = net::ParseCommand(line);
      benchmark::DoNotOptimize(command);
    }
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes));
}
BENCHMARK(BM_ParseCommand);

// What does an unknown verb cost, for which the whole table is searched?
void BM_ParseUnknownCommand(benchmark::State& state) {
  std::string_view line = "XSTATUSX";
  for (auto _ : state) {
    benchmark::DoNotOptimize(line);
    net::Command command = net::ParseCommand(line);
    benchmark::DoNotOptimize(command);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(line.size()));
}
BENCHMARK(BM_ParseUnknownCommand);

// What does it cost to find path and SIZE in a typical MAIL command?
void BM_ParsePathAndSize(benchmark::State& state) {
  std::string_view arguments = net::ParseCommand(kTransaction[1]).arguments;
  for (auto _ : state) {
    benchmark::DoNotOptimize(arguments);
    auto path = net::ParsePath(arguments);
    auto size = net::FindParameter(arguments, "SIZE");
    benchmark::DoNotOptimize(path);
    benchmark::DoNotOptimize(size);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(arguments.size()));
}
BENCHMARK(BM_ParsePathAndSize);

// How long can one hostile line of full length occupy a worker: with every byte of the path quoted or
// escaped, or with parameters only?
void BM_HostileLine(benchmark::State& state) {
  const std::string_view unit = state.range(0) == 0 ? "\"\\\"\" " : " A";
  std::string arguments = state.range(0) == 0 ? "FROM:<" : "FROM:<>";
  while (arguments.size() + unit.size() < net::kCommandLineBytesMax) arguments += unit;
  for (auto _ : state) {
    benchmark::DoNotOptimize(arguments.data());
    auto path = net::ParsePath(arguments);
    auto size = net::FindParameter(arguments, "SIZE");
    benchmark::DoNotOptimize(path);
    benchmark::DoNotOptimize(size);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(arguments.size()));
}
BENCHMARK(BM_HostileLine)->ArgName("parameters")->Arg(0)->Arg(1);

}  // namespace
