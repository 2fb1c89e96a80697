// What happens to a complete message that must not be passed on: one row for each net::MailDataFault.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include "appliance/stats/metrics.h"
#include "appliance/worker/message_account.h"
#include "appliance/worker/replies.h"
#include "net/mail_data.h"

namespace bivalve::appliance {

struct MessageFaultInfo {
  net::MailDataFault fault;
  const OwnReply* reply;
  Outcome outcome;
  std::string_view status;  // the log's word for it
  std::optional<Metric> metric = std::nullopt;
};

inline constexpr std::array<MessageFaultInfo, net::kMailDataFaults> kMessageFaults = {{
    {net::MailDataFault::kNone, nullptr, Outcome::kDelivered, ""},
    {net::MailDataFault::kTooLarge, &replies::kTooLarge, Outcome::kRejected, "REJECTED:size"},
    {net::MailDataFault::kNoRoom, &replies::kNoRoom, Outcome::kTempfailed, "REJECTED:no room",
     Metric::kOutOfRoom},
    {net::MailDataFault::kMemoryCut, &replies::kNoRoom, Outcome::kTempfailed, "REJECTED:memory lost"},
    {net::MailDataFault::kAmbiguousEnd, &replies::kAmbiguousEnd, Outcome::kRejected,
     "REJECTED:ambiguous end of data"},
    {net::MailDataFault::kAmbiguousDot, &replies::kAmbiguousDot, Outcome::kRejected,
     "REJECTED:ambiguous dot"},
    {net::MailDataFault::kBareNewline, &replies::kBareNewline, Outcome::kRejected, "REJECTED:bare newline"},
    {net::MailDataFault::kHeaderTooLarge, &replies::kHeaderTooLarge, Outcome::kRejected,
     "REJECTED:header size", Metric::kHeaderTooLarge},
}};

consteval bool MessageFaultsAreInOrder() {
  for (size_t i = 0; i < kMessageFaults.size(); ++i) {
    if (kMessageFaults[i].fault != static_cast<net::MailDataFault>(i)) return false;
  }
  return true;
}
static_assert(MessageFaultsAreInOrder());

constexpr const MessageFaultInfo& InfoOf(net::MailDataFault fault) {
  return kMessageFaults[static_cast<size_t>(fault)];
}

}  // namespace bivalve::appliance
