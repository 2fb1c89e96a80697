#include <benchmark/benchmark.h>

#include <string>

#include "net/header_section.h"

namespace {

using namespace bivalve;

// The cost for every message: the header section of typical mail, some 20 fields and folded lines.
std::string UsualMail() {
  std::string mail;
  for (int i = 0; i < 8; ++i) {
    mail +=
        "Received: from mx.example.org (mx.example.org [192.0.2.7])\r\n\tby relay.example.net with ESMTPS id "
        "4711\r\n"
        "\tfor <bob@example.net>; Thu, 1 Jan 2026 00:00:00 +0000\r\n";
  }
  mail +=
      "From: Ada <ada@example.org>\r\nTo: bob@example.net\r\nSubject: a subject of usual "
      "length\r\nMIME-Version: 1.0\r\n"
      "Content-Type: text/plain; charset=utf-8\r\n\r\n";
  return mail + std::string(10'000, 'x');
}

void Examine(benchmark::State& state, const std::string& content) {
  for (auto _ : state) {
    net::HeaderSection section = net::ExamineHeaderSection(content);
    benchmark::DoNotOptimize(section);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(content.size()));
}

void BM_UsualHeaderSection(benchmark::State& state) { Examine(state, UsualMail()); }
BENCHMARK(BM_UsualHeaderSection);

// How long can a header section of the largest accepted size, made of doubtful lines, occupy a worker?
void BM_HostileHeaderSection(benchmark::State& state) {
  std::string content;
  while (content.size() < size_t{4} << 20) content += "a :\r\r\n";
  Examine(state, content);
}
BENCHMARK(BM_HostileHeaderSection)->Unit(benchmark::kMillisecond);

}  // namespace
