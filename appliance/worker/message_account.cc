#include "appliance/worker/message_account.h"

#include <algorithm>
#include <span>
#include <string>

#include "core/text.h"

namespace bivalve::appliance {
namespace {

// Indexed by Outcome.
constexpr std::array kOutcomeMetrics = {Metric::kDelivered, Metric::kRefused,    Metric::kDropped,
                                        Metric::kBounced,   Metric::kTempfailed, Metric::kRejected,
                                        Metric::kLost};

// Longer values are cut in the log, so no more bytes of them go into the queue.
constexpr size_t kLoggedBytesMax = 1025;

std::string_view MethodName(scan::Method method) {
  switch (method) {
    case scan::Method::kAuto:
      return {};
    case scan::Method::kFildes:
      return "fildes";
    case scan::Method::kInstream:
      return "instream";
  }
  BV_CHECK(false);
}

}  // namespace

void MessageAccount::Begin() {
  began_at_ = services_.loop.Now();
  shrunken_files_ = core::ShrunkenFilesMet();
}

void MessageAccount::Received(uint64_t content_bytes) {
  BV_CHECK(!in_progress_);
  in_progress_ = true;
  record_.content_bytes = content_bytes;
  record_.receive = services_.loop.Now() - began_at_;
  services_.stats.Record(Phase::kReceive, record_.receive);
  ++messages_;
  content_bytes_ += content_bytes;
  MetricCounters& counters = services_.stats.counters;
  MetricCounters::Update update(counters);
  counters.Add(Metric::kReceived);
  counters.Add(Metric::kInProgress);
  counters.Add(Metric::kBytes, content_bytes);
}

void MessageAccount::Conclude(Outcome outcome, std::string_view status, bool infected_passed,
                              const MessageOrigin& origin) {
  BV_CHECK(in_progress_);
  in_progress_ = false;
  const Metric metric = kOutcomeMetrics[static_cast<size_t>(outcome)];
  {
    MetricCounters& counters = services_.stats.counters;
    MetricCounters::Update update(counters);
    counters.Subtract(Metric::kInProgress);
    counters.Add(metric);
    if (outcome == Outcome::kDelivered && infected_passed) counters.Add(Metric::kPassed);
  }
  services_.stats.Record(Phase::kTotal, services_.loop.Now() - began_at_);
  if (services_.log.Wants(Severity::kInfo)) Log(metric, status, origin);
  record_ = {};
}

void MessageAccount::Log(Metric outcome, std::string_view status, const MessageOrigin& origin) {
  const Transaction& transaction = origin.transaction;
  EventEncoder& event = services_.log.Begin(EventKind::kMessage, Severity::kInfo, session_);
  // An empty value means that it is not known.
  const auto add = [&event](EventField name, std::string_view value) {
    if (!value.empty()) event.Add(name, value.substr(0, kLoggedBytesMax));
  };
  // The null reverse-path is "<>" in clamsmtpd's log too.
  add(EventField::kFrom,
      transaction.reverse_path.empty() ? "<>" : std::string_view(transaction.reverse_path));
  const size_t named = std::min(transaction.recipients.size(), Transaction::kRecipientsLogged);
  for (const net::Recipient& recipient : std::span(transaction.recipients).first(named)) {
    event.Add(EventField::kTo, std::string_view(recipient.path).substr(0, kLoggedBytesMax));
  }
  event.Add(EventField::kStatus, status);
  if (services_.log.detailed()) {
    const core::MonoTime now = services_.loop.Now();
    const auto add_time = [&event](EventField name, core::Duration duration) {
      event.AddNumber(name, core::Microseconds(duration));
    };
    constexpr std::string_view kRejected = "REJECTED:";
    add(EventField::kClient, origin.client);
    add(EventField::kHelo, origin.helo);
    add(EventField::kRemote, origin.original_client.address);
    add(EventField::kRemoteHelo, origin.original_client.helo);
    event.AddNumber(EventField::kRecipients, transaction.recipients_accepted);
    event.AddNumber(EventField::kSize, record_.content_bytes);
    add(EventField::kVirus, record_.virus);
    add(EventField::kScanner, record_.scanner);
    add(EventField::kMethod, MethodName(record_.method));
    add_time(EventField::kReceive, record_.receive);
    add_time(EventField::kWait, record_.wait);
    add_time(EventField::kScan, record_.scan);
    add_time(EventField::kDeliver, record_.deliver);
    add_time(EventField::kTotal, now - began_at_);
    add(EventField::kOutcome, kMetrics[static_cast<size_t>(outcome)].name);
    add(EventField::kCause, status.starts_with(kRejected) ? status.substr(kRejected.size()) : record_.cause);
    add(EventField::kReply, core::Trim(record_.reply, "\r\n"));
    if (!record_.reply.empty()) add(EventField::kReplyFrom, record_.reply_is_servers ? "server" : "bivalved");
  }
  services_.log.Commit();
}

}  // namespace bivalve::appliance
