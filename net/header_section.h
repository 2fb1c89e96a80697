// The header section of a message (RFC 5322 section 2.2): where it ends, and in how many ways readers see
// that.
//
// Servers and mail programs agree about a message only as long as each line before the first blank one is a
// field or the folded rest of one. At any other line Postfix and Exim put a blank line in, some mail programs
// begin the body there, and others, libclamav among them, skip it and go on. What is a text to one of them is
// an attachment to the next, so such a message has several readings, and each of them has to be scanned. Pure
// functions over bytes; they never suspend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bivalve::net {

// One way to read a message as mail: as it is, or with its first bytes replaced by ReadHead().
struct Reading {
  bool as_it_is = true;
  size_t head_bytes = 0;
  bool blank_line = false;  // ends the header section behind the head

  bool operator==(const Reading&) const = default;
};

struct HeaderSection {
  // Its length with the last line end: up to the first line that is no field, which is the blank line of a
  // well formed message. A field that is added goes there. Everything when there is no such line.
  size_t bytes = 0;
  // Every line is a field or folded white space: all readers agree.
  bool well_formed = true;
  // It ends at a line that is no field by any reading: only those who pass over such lines go on.
  bool ends_in_text = false;
  // All ways to read the message as mail, as it is first; at most kReadingsMax, whatever the message holds.
  // Empty when it is well formed: as it is, is the only one then.
  std::vector<Reading> readings;
};

inline constexpr size_t kReadingsMax = 12;

// Looks at the lines from the top to the first one that every reader takes for the end. LF ends a line, with
// or without CR before it; a CR alone is one more thing that readers understand differently, and makes the
// header section doubtful. To those for whom it ends a line the content is what scan::ScanImage::BareCrAsLf()
// makes of it.
// Nobody looks at lines that begin behind `bytes_max`; `bytes` is larger than that then.
HeaderSection ExamineHeaderSection(std::string_view content, size_t bytes_max = std::string_view::npos - 1);

// The head of a reading that is not as it is: white space between a field's name and its colon (RFC 5322
// section 4.5.3) stands behind the colon, where libclamav knows the field; a CR alone is a blank; with
// `blank_line` a blank line follows. At most two bytes longer than head_bytes.
std::string ReadHead(std::string_view content, const Reading& reading);

}  // namespace bivalve::net
