#include "tools/load/smtp_sink_settings.h"

namespace bivalve::tools {
namespace {

using S = SinkSettings;
using std::string_view;
constexpr core::Duration kMillisecond = std::chrono::milliseconds(1);

absl::Status Switch(bool& stored, bool value) {
  stored = value;
  return absl::OkStatus();
}

constexpr Option<S> kTable[] = {
    {"--listen", "ADDRESS", "HOST:PORT, PORT or /PATH; port 0: any free one",
     [](S& s, string_view v) { return SetText(s.listen, v); }},
    {"--threads", "N", "serve with N threads, each with its own socket (1)",
     [](S& s, string_view v) { return SetNumber(s.threads, v, {1, 256}); }},
    {"--hostname", "NAME", "in the greeting and in the reply to EHLO (smtp-sink.test)",
     [](S& s, string_view v) { return SetText(s.host_name, v); }},
    {"--chunking", "", "offer CHUNKING and BINARYMIME, and take BDAT",
     [](S& s, string_view) { return Switch(s.chunking, true); }},
    {"--no-pipelining", "", "do not offer PIPELINING",
     [](S& s, string_view) { return Switch(s.pipelining, false); }},
    {"--xclient", "", "offer and take XCLIENT and XFORWARD",
     [](S& s, string_view) { return Switch(s.xclient, true); }},
    {"--size", "BYTES", "largest message, offered by SIZE; 10k, 25m (no limit)",
     [](S& s, string_view v) { return SetBytes(s.size_bytes_max, v, {1}); }},
    {"--reject-rcpt", "PERCENT", "refuse this share of the recipients with 550",
     [](S& s, string_view v) { return SetShare(s.reject_recipient_share, v); }},
    {"--tempfail-data", "PERCENT", "answer this share of the messages with 451",
     [](S& s, string_view v) { return SetShare(s.tempfail_share, v); }},
    {"--delay-ms", "N", "wait before the reply to a message",
     [](S& s, string_view v) { return SetDuration(s.delay, v, kMillisecond); }},
    {"--delay-rcpt-ms", "N", "wait before the reply to RCPT",
     [](S& s, string_view v) { return SetDuration(s.delay_recipient, v, kMillisecond); }},
    {"--close-after", "N", "hang up, without a word, after N messages of a connection",
     [](S& s, string_view v) { return SetNumber(s.close_after, v, {1}); }},
    {"--timeout", "SECONDS", "longest silence of a client (300)",
     [](S& s, string_view v) { return SetDuration(s.idle_timeout, v, std::chrono::seconds(1)); }},
    {"--record", "DIRECTORY", "write each accepted message to a file there",
     [](S& s, string_view v) { return SetText(s.record_directory, v); }},
    {"--count", "", "print running totals each second, to standard error",
     [](S& s, string_view) { return Switch(s.count, true); }},
    {"--seed", "N", "of the random choices above (1)",
     [](S& s, string_view v) { return SetNumber(s.seed, v, {}); }},
    {"--help", "", "show this text", [](S& s, string_view) { return Switch(s.help, true); }},
};

}  // namespace

const std::span<const Option<SinkSettings>> kSinkOptions(kTable);

}  // namespace bivalve::tools
