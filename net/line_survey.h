// Features of a message's lines about which readers may differ, and small helpers for lines. Pure functions
// over bytes; they never suspend.
#pragma once

#include <cstddef>
#include <string_view>

namespace bivalve::net {

struct LineSurvey {
  bool bare_cr = false;   // a CR without LF behind it
  bool nul = false;       // ends a line for a program written in C
  bool uuencode = false;  // a line that may begin uuencode (BeginsUuencode)
  // Number of lines that begin like the field Content-Transfer-Encoding. libclamav recognises a bounce by
  // them, and then ignores everything before them.
  size_t encoding_lines = 0;
  bool long_line = false;  // longer than kLongLineBytes; libclamav cuts lines at a thousand bytes
};

// RFC 5321 section 4.5.3.1.6 allows this many before CR and LF; here a CR counts.
inline constexpr size_t kLongLineBytes = 998;

LineSurvey SurveyLines(std::string_view content);

// Where the line after the one at `at` begins; text.size() if there is none.
inline size_t LineBehind(std::string_view text, size_t at) {
  const size_t lf = text.find('\n', at);
  return lf == std::string_view::npos ? text.size() : lf + 1;
}

// Whether the line that begins at `at` is empty.
inline bool IsBlankLine(std::string_view text, size_t at) {
  const std::string_view rest = text.substr(at);
  return rest.starts_with("\r\n") || rest.starts_with('\n');
}

// Whether this line may begin uuencode: "begin", a blank, and a mode as any program accepts it.
bool BeginsUuencode(std::string_view line);

// Whether `text` has a line longer than kLongLineBytes. Reads only a few bytes of each kilobyte.
bool HasLongLine(std::string_view text);

}  // namespace bivalve::net
