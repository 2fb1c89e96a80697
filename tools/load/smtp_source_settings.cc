#include "tools/load/smtp_source_settings.h"

#include <algorithm>
#include <utility>

namespace bivalve::tools {
namespace {

using S = SourceSettings;
using std::string_view;
constexpr core::Duration kSecond = std::chrono::seconds(1);
constexpr uint64_t kSizeBytesMax = uint64_t{1} << 30;

absl::Status Switch(bool& stored) {
  stored = true;
  return absl::OkStatus();
}

absl::Status SetRate(double& rate, string_view text) {
  uint64_t number = 0;
  const absl::Status status = SetNumber(number, text, {1, 10'000'000});
  if (status.ok()) rate = static_cast<double>(number);
  return status;
}

constexpr Option<S> kTable[] = {
    {"--sessions", "N", "connections at once, at most (1)",
     [](S& s, string_view v) { return SetNumber(s.sessions, v, {1, 1'000'000}); }},
    {"--threads", "N", "share the sessions among N threads (1)",
     [](S& s, string_view v) { return SetNumber(s.threads, v, {1, 256}); }},
    {"--messages", "N", "stop after N messages (1, without --duration)",
     [](S& s, string_view v) { return SetNumber(s.messages, v, {1}); }},
    {"--duration", "SECONDS", "stop starting messages after that time",
     [](S& s, string_view v) { return SetDuration(s.duration, v, kSecond); }},
    {"--warmup", "SECONDS", "messages of the first SECONDS are sent in addition and not counted (0)",
     [](S& s, string_view v) { return SetDuration(s.warmup, v, kSecond); }},
    {"--rate", "R",
     "open loop: R messages are due each second, at random times (Poisson), whatever\n"
     "the server does; latency counts from when a message was due",
     [](S& s, string_view v) { return SetRate(s.rate, v); }},
    {"--fixed", "", "with --rate: at equal distances instead",
     [](S& s, string_view) { return Switch(s.fixed); }},
    {"--drain", "SECONDS",
     "with --rate: how long messages that are still due may take after the last one\n"
     "became due; what is unsent then counts as unsent (30)",
     [](S& s, string_view v) { return SetDuration(s.drain, v, kSecond); }},
    {"--size", "BYTES", "of a message, 10k; or a mix with weights, 1k:60,10k:30,1m:10 (1k)",
     [](S& s, string_view v) { return SetSizes(s.sizes, v); }},
    {"--infected", "PERCENT", "this share of the messages has the EICAR test file attached (0)",
     [](S& s, string_view v) { return SetShare(s.infected_share, v); }},
    {"--random-content", "", "every message is different: subject, message-id and body",
     [](S& s, string_view) { return Switch(s.random_content); }},
    {"--recipients", "N", "of each message (1)",
     [](S& s, string_view v) { return SetNumber(s.recipients, v, {1, 10'000}); }},
    {"--from", "ADDRESS", "reverse-path; '<>' for the null one (source@example.com)",
     [](S& s, string_view v) {
       if (v != "<>") return SetText(s.from, v);
       s.from.clear();
       return absl::OkStatus();
     }},
    {"--to", "ADDRESS", "forward-path; several recipients get a number in front (sink@example.net)",
     [](S& s, string_view v) { return SetText(s.to, v); }},
    {"--helo", "NAME", "in EHLO (smtp-source.test)", [](S& s, string_view v) { return SetText(s.helo, v); }},
    {"--keep", "", "keep connections for all messages, instead of one each",
     [](S& s, string_view) {
       s.per_session = 0;
       return absl::OkStatus();
     }},
    {"--per-session", "N", "send N messages over a connection, then QUIT (1)",
     [](S& s, string_view v) { return SetNumber(s.per_session, v, {1}); }},
    {"--pipelining", "", "send commands in groups (RFC 2920)",
     [](S& s, string_view) { return Switch(s.pipelining); }},
    {"--bdat", "", "send messages by BDAT (RFC 3030) instead of DATA",
     [](S& s, string_view) { return Switch(s.bdat); }},
    {"--timeout", "SECONDS", "longest wait for a reply or for the server to take data (30)",
     [](S& s, string_view v) { return SetDuration(s.timeout, v, kSecond); }},
    {"--seed", "N", "of arrival times, sizes, infected messages and content (1)",
     [](S& s, string_view v) { return SetNumber(s.seed, v, {}); }},
    {"--progress", "", "print a line each second, to standard error",
     [](S& s, string_view) { return Switch(s.progress); }},
    {"--json", "", "print the result as JSON instead of a table",
     [](S& s, string_view) { return Switch(s.json); }},
    {"--tolerate", "", "exit with status 0 although messages were refused, or connections lost",
     [](S& s, string_view) { return Switch(s.tolerate); }},
    {"--help", "", "show this text", [](S& s, string_view) { return Switch(s.help); }},
};

}  // namespace

const std::span<const Option<SourceSettings>> kSourceOptions(kTable);

absl::Status SetSizes(std::vector<SourceSettings::Size>& sizes, std::string_view text) {
  std::vector<SourceSettings::Size> parsed;
  for (bool more = true; more;) {
    const size_t comma = std::min(text.find(','), text.size());
    const string_view item = text.substr(0, comma);
    more = comma < text.size();
    text.remove_prefix(std::min(comma + 1, text.size()));
    const size_t colon = std::min(item.find(':'), item.size());
    SourceSettings::Size size;
    if (const absl::Status status = SetBytes(size.bytes, item.substr(0, colon), {1, kSizeBytesMax});
        !status.ok()) {
      return status;
    }
    if (colon < item.size()) {
      uint64_t weight = 0;
      if (const absl::Status status = SetNumber(weight, item.substr(colon + 1), {1, 1'000'000});
          !status.ok()) {
        return status;
      }
      size.weight = static_cast<double>(weight);
    }
    parsed.push_back(size);
  }
  sizes = std::move(parsed);
  return absl::OkStatus();
}

}  // namespace bivalve::tools
