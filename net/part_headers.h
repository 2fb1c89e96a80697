// The header sections of a message, its own and those inside it: of the parts of a multipart (RFC 2046
// section 5.1), and of messages in it. No server mends them, but mail programs read a faulty one as they read
// that of a message: some begin the body at the first line that is no field, where libclamav goes on to the
// next blank line. Pure functions over bytes; they never suspend.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "core/body.h"

namespace bivalve::net {

struct PartHeaders {
  // What makes a blank line of the end of each faulty header section, and of MIME fields what mail programs
  // read (net/field_edits.h); empty when there is none. No edit changes the length of anything.
  std::vector<core::Body::Edit> edits;
  // Another reading: lines of white space alone end no header section. Empty when there are none.
  std::vector<core::Body::Edit> folded;
  // A faulty one cannot be edited so, or there are more than kPartEditsMax.
  bool unreadable = false;
};

inline constexpr size_t kPartEditsMax = 10'000;

// `header_bytes`: of the message's own header section. Where that ends for all readers alike and names no
// type that has parts, there are none. Else whatever follows a line that begins with two dashes may be a
// part: whether it is a boundary is not asked, because readers disagree about that too.
PartHeaders ExaminePartHeaders(std::string_view content, size_t header_bytes);

}  // namespace bivalve::net
