// What stands somewhere in a message's lines and lets readers differ about it, and small helpers for
// lines. Pure
// functions over bytes; they never suspend.
#pragma once

#include <cstddef>
#include <string_view>

namespace bivalve::net {

struct LineSurvey {
  bool bare_cr = false;   // a CR without LF behind it
  bool nul = false;       // which ends a line to a program written in C
  bool uuencode = false;  // a line with which uuencode may begin (BeginsUuencode)
  // Lines that begin as the field Content-Transfer-Encoding does, by which libclamav knows a bounce: then it
  // looks at nothing in front of it.
  size_t encoding_lines = 0;
  bool long_line = false;  // one longer than kLongLineBytes, which libclamav cuts up at a thousand bytes
};

// RFC 5321 section 4.5.3.1.6 allows as many before CR and LF; a CR counts here.
inline constexpr size_t kLongLineBytes = 998;

LineSurvey SurveyLines(std::string_view content);

// Where the line after the one at `at` begins; text.size() without one.
inline size_t LineBehind(std::string_view text, size_t at) {
  const size_t lf = text.find('\n', at);
  return lf == std::string_view::npos ? text.size() : lf + 1;
}

// Whether the line that begins at `at` is empty.
inline bool IsBlankLine(std::string_view text, size_t at) {
  const std::string_view rest = text.substr(at);
  return rest.starts_with("\r\n") || rest.starts_with('\n');
}

// Whether uuencode may begin with this line: "begin", a blank, and a mode as any program takes it.
bool BeginsUuencode(std::string_view line);

// Whether `text` has a line longer than kLongLineBytes. Looks at a few bytes of each kilobyte only.
bool HasLongLine(std::string_view text);

}  // namespace bivalve::net
