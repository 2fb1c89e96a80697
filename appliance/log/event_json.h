// An event as one line of JSON (LogFormat: json). The section JSON LOG of bivalved(8) describes its form.
#pragma once

#include <cstddef>
#include <string>

#include "appliance/log/event.h"

namespace bivalve::appliance {

// No line is longer, whatever clients send: rsyslog cuts lines at 8 KiB and journald at 48 KiB by default,
// and half an object cannot be read. Recipients that do not fit are left out and counted.
inline constexpr size_t kJsonLineBytesMax = 8000;

// One object without a line end, in printable ASCII. In its texts a backslash is doubled, and a byte that is
// not part of UTF-8 becomes \xNN; after that come JSON's own escapes. A text that is cut ends in "...".
std::string FormatEventJson(const Event& event);

}  // namespace bivalve::appliance
