// An event as one line of JSON (LogFormat: json). What it looks like is the JSON LOG section of bivalved(8).
#pragma once

#include <cstddef>
#include <string>

#include "appliance/log/event.h"

namespace bivalve::appliance {

// No line is longer, whatever clients send: rsyslog cuts at 8 KiB and journald at 48 KiB unless told
// otherwise, and half an object is none. Recipients that do not fit are left out and counted.
inline constexpr size_t kJsonLineBytesMax = 8000;

// One object without a line end, in printable ASCII. In its texts a backslash is doubled, and a byte that is
// no UTF-8 is \xNN, before JSON's own escapes; a text that is cut ends in "...".
std::string FormatEventJson(const Event& event);

}  // namespace bivalve::appliance
