// CloseReason: why a session ends, and what follows from that.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "appliance/log/event.h"
#include "appliance/stats/metrics.h"
#include "appliance/worker/replies.h"

namespace bivalve::appliance {

enum class CloseReason : uint8_t {
  kNone,  // the session continues
  kQuit,  // the server has said goodbye, and its reply was relayed
  kClientGone,
  kClientTimeout,
  kUnreachable,  // no connection to a server could be made
  kServerLost,
  kServerTimeout,
  kServerNonsense,
  kShutdown,
  kServerGone,          // it has closed after the last message, and the client has sent no command since
  kNotIntroduced,       // XClient: the server was not told who the client is
  kProxyHeader,         // it is missing, or its sender is not trusted
  kTooManyConnections,  // from this client
  kTooManyErrors,
  kTooManyCommands,
  kBadChunk,  // a BDAT whose size cannot be read
  kTooSlow,   // mail data came too slowly
};

struct CloseReasonInfo {
  CloseReason reason = CloseReason::kNone;
  const OwnReply* farewell = nullptr;           // the last reply to the client; null: none
  bool server_listens = true;                   // the server gets QUIT
  std::optional<Metric> metric = std::nullopt;  // counts the reason, unless it was counted where it was found
  std::string_view message = {};  // for the log; empty: none, or already logged where the reason was found
  Severity severity = Severity::kDebug;  // of `message`
};

inline constexpr std::array kCloseReasons = {
    CloseReasonInfo{.reason = CloseReason::kNone, .server_listens = false},
    CloseReasonInfo{.reason = CloseReason::kQuit, .server_listens = false},
    CloseReasonInfo{.reason = CloseReason::kClientGone, .message = "client closed the connection"},
    CloseReasonInfo{.reason = CloseReason::kClientTimeout,
                    .farewell = &replies::kClientTimeout,
                    .metric = Metric::kTimeouts,
                    .message = "client was silent for too long",
                    .severity = Severity::kWarning},
    CloseReasonInfo{
        .reason = CloseReason::kUnreachable, .farewell = &replies::kUnreachable, .server_listens = false},
    CloseReasonInfo{.reason = CloseReason::kServerLost,
                    .farewell = &replies::kServerLost,
                    .server_listens = false,
                    .message = "mail server closed the connection",
                    .severity = Severity::kError},
    CloseReasonInfo{.reason = CloseReason::kServerTimeout,
                    .farewell = &replies::kServerTimeout,
                    .server_listens = false,
                    .metric = Metric::kTimeouts,
                    .message = "mail server was silent for too long",
                    .severity = Severity::kError},
    CloseReasonInfo{.reason = CloseReason::kServerNonsense,
                    .farewell = &replies::kServerNonsense,
                    .server_listens = false,
                    .metric = Metric::kProtocolErrors,
                    .message = "mail server broke the protocol",
                    .severity = Severity::kError},
    CloseReasonInfo{.reason = CloseReason::kShutdown, .farewell = &replies::kShutdown},
    CloseReasonInfo{.reason = CloseReason::kServerGone,
                    .server_listens = false,
                    .message = "mail server closed the connection"},
    CloseReasonInfo{.reason = CloseReason::kNotIntroduced,
                    .farewell = &replies::kNotIntroduced,
                    .metric = Metric::kNotIntroduced},
    CloseReasonInfo{.reason = CloseReason::kProxyHeader, .metric = Metric::kProxyHeaders},
    CloseReasonInfo{.reason = CloseReason::kTooManyConnections,
                    .farewell = &replies::kTooManyConnections,
                    .metric = Metric::kRefusedPerClient},
    CloseReasonInfo{.reason = CloseReason::kTooManyErrors,
                    .farewell = &replies::kTooManyErrors,
                    .metric = Metric::kTooManyErrors,
                    .message = "client makes too many errors",
                    .severity = Severity::kWarning},
    CloseReasonInfo{.reason = CloseReason::kTooManyCommands,
                    .farewell = &replies::kTooManyCommands,
                    .metric = Metric::kTooManyCommands,
                    .message = "client sends too many commands without a message",
                    .severity = Severity::kWarning},
    CloseReasonInfo{.reason = CloseReason::kBadChunk,
                    .farewell = &replies::kBadChunk,
                    .message = "client sent a BDAT whose size cannot be read",
                    .severity = Severity::kWarning},
    CloseReasonInfo{.reason = CloseReason::kTooSlow,
                    .farewell = &replies::kTooSlow,
                    .metric = Metric::kTooSlow,
                    .message = "client sends its message too slowly",
                    .severity = Severity::kWarning},
};

// One row for each value, in the order of the enumeration.
consteval bool CloseReasonsAreInOrder() {
  for (size_t i = 0; i < kCloseReasons.size(); ++i) {
    if (kCloseReasons[i].reason != static_cast<CloseReason>(i)) return false;
  }
  return kCloseReasons.size() == static_cast<size_t>(CloseReason::kTooSlow) + 1;
}
static_assert(CloseReasonsAreInOrder());

constexpr const CloseReasonInfo& InfoOf(CloseReason reason) {
  return kCloseReasons[static_cast<size_t>(reason)];
}

}  // namespace bivalve::appliance
