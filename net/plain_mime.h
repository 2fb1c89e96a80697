// Whether all readers of a message find the same parts in it, libclamav among them.
//
// Said the strict way round: what a header section, a boundary and an encoded body may look like is spelled
// out, narrower than RFC 2045 and RFC 2046 do it, and whatever is not of that form is not plain.
// libclamav 1.4 was read and tried for this form alone; what it makes of anything else need not be known.
// Most mail is plain and is scanned once; the parts of the rest are found by net/mime_parts.h and scanned one
// by one. Pure functions over bytes; they never suspend.
#pragma once

#include <cstddef>
#include <string_view>

#include "net/line_survey.h"

namespace bivalve::net {

// Multiparts in a message, at most; libclamav's MaxRecursion is 17 by default.
inline constexpr size_t kPlainContainersMax = 10;
inline constexpr size_t kPlainPartsMax = 500;

bool IsPlainMime(std::string_view content, const LineSurvey& survey);

}  // namespace bivalve::net
