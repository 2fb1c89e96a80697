// What one client may do before its session is ended. Each limit is far beyond what honest clients do, and
// has its reply in replies.h and its row in metrics.h. Limits that an operator may have a reason to change
// are settings instead.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "core/mono_time.h"

namespace bivalve::appliance::limits {

// Refused commands without an accepted one in between: syntax errors, commands that are not implemented,
// lines that are too long. Refused senders and recipients do not count: they are left to the server. Postfix
// ends a session at 20 errors of any kind.
inline constexpr uint32_t kErrorsInARowMax = 50;
// Commands without a message, recipients excepted. A connection that is kept open with a NOOP every half
// minute reaches this limit after 8 hours, and the client then makes a new one.
inline constexpr uint32_t kCommandsWithoutMessageMax = 1000;
// Recipients of one transaction. RFC 5321 section 4.5.3.1.8 asks for 100, Postfix takes 1,000.
inline constexpr uint32_t kRecipientsMax = 10'000;
// Header section of a message. Postfix cuts single headers at 100 KiB, Exim refuses a header section of 1
// MiB.
inline constexpr size_t kHeaderSectionBytesMax = size_t{4} << 20;
// For the PROXY header, which a proxy sends at once when it connects. Shorter than TimeOut, because nobody
// has been served yet.
inline constexpr std::chrono::seconds kProxyHeaderTimeout{10};

// For the log, HELO and EHLO names are cut to this length, the longest of a domain (RFC 5321 4.5.3.1.2).
inline constexpr size_t kHeloBytesKept = 255;

}  // namespace bivalve::appliance::limits
