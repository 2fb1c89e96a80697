// Whether all readers of a message find the same parts in it, libclamav among them.
//
// Said the strict way round: what a header section, a boundary and an encoded body may look like is spelled
// out, narrower than RFC 2045 and RFC 2046 do it, and whatever is not of that form is not plain.
// libclamav 1.4 was read and tried for this form alone; what it makes of anything else need not be known.
// Most mail is plain and is scanned once; the parts of the rest are found by net/mime_parts.h and scanned one
// by one. Pure functions over bytes; they never suspend.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "net/line_survey.h"
#include "net/transfer_encoding.h"

namespace bivalve::net {

// What the header section of a message or a part says of its body.
struct PlainHeader {
  TransferEncoding encoding = TransferEncoding::kIdentity;
  bool names_encoding = false;  // by a field
  std::string_view boundary;    // of a multipart; empty: it is none
};

// Reads the fields from the start of `section` to its end, which is the blank line. nullopt when they are not
// plain.
std::optional<PlainHeader> ReadPlainHeader(std::string_view section);

// Multiparts in a message, at most; libclamav's MaxRecursion is 17 by default.
inline constexpr size_t kPlainContainersMax = 10;
inline constexpr size_t kPlainPartsMax = 500;

bool IsPlainMime(std::string_view content, const LineSurvey& survey);

}  // namespace bivalve::net
