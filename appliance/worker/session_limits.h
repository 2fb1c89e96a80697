// What one client may do before it is told to go. Each limit is far beyond what honest clients do, has its
// reply in replies.h and its row in metrics.h; the limits that an operator has reason to change are settings
// instead.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "core/mono_time.h"

namespace bivalve::appliance::limits {

// Refused commands without one that was accepted in between: syntax errors, what is not implemented, lines
// too long. Not refused senders and recipients, which are the server's to judge. Postfix ends a session at 20
// errors of any kind.
inline constexpr uint32_t kErrorsInARowMax = 50;
// Commands without a message, recipients aside. A connection that is kept and asked NOOP every half minute
// reaches that after 8 hours, and is then made anew.
inline constexpr uint32_t kCommandsWithoutMessageMax = 1000;
// Recipients of one transaction. RFC 5321 section 4.5.3.1.8 asks for 100, Postfix takes 1,000.
inline constexpr uint32_t kRecipientsMax = 10'000;
// Header section of a message. Postfix cuts single headers at 100 KiB, Exim refuses a header section of 1
// MiB.
inline constexpr size_t kHeaderSectionBytesMax = size_t{4} << 20;
// For a PROXY header, which is sent together with the connection. Shorter than TimeOut, because nobody has
// been served.
inline constexpr std::chrono::seconds kProxyHeaderTimeout{10};

// HELO and EHLO names are kept so far, for the log: a domain has no more (RFC 5321 section 4.5.3.1.2).
inline constexpr size_t kHeloBytesKept = 255;

}  // namespace bivalve::appliance::limits
