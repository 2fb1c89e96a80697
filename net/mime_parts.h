// The parts of a message (RFC 2046), as many as any mail program may find. The scanner gets each of them as a
// file of its own, because it may find other parts itself, or none.
//
// Mail programs do not agree about a faulty message: which of two fields counts, where a header section ends,
// what a boundary is. Here every answer is followed, and the parts of all of them are collected. So none is
// missed, and some of them no program sees. A message that all readers understand alike (net/plain_mime.h)
// does not need this. Pure functions over bytes; they never suspend.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "net/transfer_encoding.h"

namespace bivalve::net {

struct MimePart {
  // Where its encoded body begins in the content.
  size_t begin = 0;
  size_t end = 0;
  TransferEncoding encoding = TransferEncoding::kIdentity;
  // The decoded body is a message again (an encoded message/rfc822, which no standard allows).
  bool message = false;

  auto operator<=>(const MimePart&) const = default;
};

struct MimeParts {
  std::vector<MimePart> parts;  // ordered by their place; none twice
  // There are more parts than the limits allow, or finding them takes too long: those found are not all.
  bool too_many = false;
};

inline constexpr size_t kMimePartsMax = 1'000;
inline constexpr size_t kMimeDepthMax = 40;

MimeParts FindMimeParts(std::string_view content);

}  // namespace bivalve::net
