// The parts of a message (RFC 2046), as many as any mail program may find: for a scanner that is shown each
// as a file of its own, because it may find others, or none.
//
// Mail programs do not agree about a faulty message: which of two fields counts, where a header section ends,
// what a boundary is. Here every answer is taken, and the parts of all of them are put together. So none is
// missed, and some are there that nobody sees; a message that all readers understand alike
// (net/plain_mime.h) needs none of this. Pure functions over bytes; they never suspend.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "net/transfer_encoding.h"

namespace bivalve::net {

struct MimePart {
  // Its encoded body in the content.
  size_t begin = 0;
  size_t end = 0;
  TransferEncoding encoding = TransferEncoding::kIdentity;
  // What is decoded is a message again (message/rfc822 that is encoded, which no standard allows).
  bool message = false;

  auto operator<=>(const MimePart&) const = default;
};

struct MimeParts {
  std::vector<MimePart> parts;  // by their place; none twice
  // There are more than the bounds below allow, or to find them takes too long: those found are not all.
  bool too_many = false;
};

inline constexpr size_t kMimePartsMax = 1'000;
inline constexpr size_t kMimeDepthMax = 40;

MimeParts FindMimeParts(std::string_view content);

}  // namespace bivalve::net
