#include <benchmark/benchmark.h>

#include <string>
#include <string_view>

#include "net/line_survey.h"
#include "net/mime_parts.h"
#include "net/plain_mime.h"

namespace {

using namespace bivalve;

constexpr std::string_view kMultipart =
    "Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\nContent-Type: text/plain\r\n\r\n";
constexpr std::string_view kBase64 =
    "Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n";

std::string Repeated(std::string_view head, std::string_view unit, size_t bytes) {
  std::string content(head);
  while (content.size() < bytes) content += unit;
  return content;
}

void Examine(benchmark::State& state, const std::string& content) {
  for (auto _ : state) {
    bool plain = net::IsPlainMime(content, net::SurveyLines(content));
    benchmark::DoNotOptimize(plain);
    if (plain) continue;
    net::MimeParts parts = net::FindMimeParts(content);
    benchmark::DoNotOptimize(parts);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(content.size()));
}

// What is the cost for every message?
void BM_Usual(benchmark::State& state, std::string_view head) {
  const std::string line(76, 'x');
  Examine(state, Repeated(head, line + "\r\n", static_cast<size_t>(state.range(0))));
}
BENCHMARK_CAPTURE(BM_Usual, text, "Content-Type: text/plain\r\n\r\n")->Arg(10'000)->Arg(1'000'000);
BENCHMARK_CAPTURE(BM_Usual, base64, kBase64)->Arg(10'000)->Arg(1'000'000);
BENCHMARK_CAPTURE(BM_Usual, multipart, kMultipart)->Arg(10'000)->Arg(1'000'000);

// How long can a message of 25 MB that is made for this purpose occupy a worker? The time between two
// receives of other sessions is at stake: the limit is a tenth of a second.
void BM_Hostile(benchmark::State& state, std::string_view head, std::string_view unit) {
  Examine(state, Repeated(head, unit, 25'000'000));
}
#define HOSTILE(name, head, unit) \
  BENCHMARK_CAPTURE(BM_Hostile, name, head, unit)->Unit(benchmark::kMillisecond)->Iterations(3)
HOSTILE(bare_cr, "A: b\r\n\r\n", "\r");
HOSTILE(lines_of_b, "A: b\r\n\r\n", "b\n");
HOSTILE(begin_lines, "A: b\r\n\r\n", "begin 6 x\n");
HOSTILE(dashes, kMultipart, "-\n");
HOSTILE(delimiters, kMultipart, "--B\n");
HOSTILE(parts, kMultipart, "--B\r\nContent-Type: text/plain\r\n\r\n");
HOSTILE(nested, "", "Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n");
HOSTILE(messages, "", "Content-Type: message/rfc822\r\n\r\n");
HOSTILE(delivery_status, "Content-Type: message/delivery-status\r\n\r\n", "A: b\r\n\r\n");
HOSTILE(status_without_end, "Content-Type: message/delivery-status\r\n\r\n", "\r\nA");
HOSTILE(types, "", "Content-Type: a/b\r\n");
HOSTILE(boundaries, "Content-Type: multipart/mixed", " boundary*0=a");
HOSTILE(fields_behind_cr, "", "c\r");
HOSTILE(pads, kBase64, "=");
HOSTILE(spaced_colons, "", "x : y\r\n");

}  // namespace
