// Whether all readers of a message find the same parts in it, libclamav among them.
//
// The rule is strict: it spells out what a header section, a boundary and an encoded body may look like, more
// narrowly than RFC 2045 and RFC 2046. Anything that does not have this form is not plain. libclamav 1.4 was
// read and tested for this form only; it does not matter how it reads anything else. Most mail is plain and
// is scanned once. The parts of other messages are found by net/mime_parts.h and scanned one by one. Pure
// functions over bytes; they never suspend.
#pragma once

#include <cstddef>
#include <string_view>

#include "net/line_survey.h"

namespace bivalve::net {

// Most multiparts in a message; libclamav's MaxRecursion is 17 by default.
inline constexpr size_t kPlainContainersMax = 10;
inline constexpr size_t kPlainPartsMax = 500;

bool IsPlainMime(std::string_view content, const LineSurvey& survey);

}  // namespace bivalve::net
