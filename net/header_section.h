// The header section of a message (RFC 5322 section 2.2): where it ends, and in how many ways readers may see
// it.
//
// Servers and mail programs agree about a message only if each line before the first blank one is a field or
// the folded rest of one. At any other line Postfix and Exim insert a blank line, some mail programs begin
// the body there, and others, libclamav among them, skip the line and continue. What one reader shows as text
// is an attachment for the next, so such a message has several readings, and each of them has to be scanned.
// Pure functions over bytes; they never suspend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bivalve::net {

// One way to read the message as mail: as it is, or with its first bytes replaced by ReadHead().
struct Reading {
  bool as_it_is = true;
  size_t head_bytes = 0;
  bool blank_line = false;  // ends the header section behind the head

  bool operator==(const Reading&) const = default;
};

struct HeaderSection {
  // The length including the last line end, up to the first line that is not a field; in a well formed
  // message that is the blank line. A new field is inserted there. The whole content if there is no such
  // line.
  size_t bytes = 0;
  // True if every line is a field or folded white space: all readers agree.
  bool well_formed = true;
  // True if the section ends at a line that no reading takes for a field: only readers who skip such lines
  // continue.
  bool ends_in_text = false;
  // All ways to read the message as mail, the message as it is first; at most kReadingsMax, whatever the
  // message holds. Empty if the message is well formed, because it then has only one reading, as it is.
  std::vector<Reading> readings;
};

inline constexpr size_t kReadingsMax = 12;

// Examines the lines from the top to the first one that every reader takes for the end. LF ends a line, with
// or without CR before it. Readers differ about a CR alone, so it makes the header section doubtful. Readers
// for whom it ends a line see the content as scan::ScanImage::BareCrAsLf() writes it. Lines that begin behind
// `bytes_max` are not examined; `bytes` is then larger than that.
HeaderSection ExamineHeaderSection(std::string_view content, size_t bytes_max = std::string_view::npos - 1);

// The head of a reading that is not `as_it_is`. White space between a field's name and its colon (RFC 5322
// section 4.5.3) is moved behind the colon, where libclamav knows the field; a CR alone becomes a blank; with
// `blank_line` a blank line follows. At most two bytes longer than head_bytes.
std::string ReadHead(std::string_view content, const Reading& reading);

}  // namespace bivalve::net
