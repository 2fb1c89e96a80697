#include "net/line_survey.h"

#include <algorithm>
#include <cstring>

#include "core/text.h"
#include "net/dot_search.h"

namespace bivalve::net {

bool BeginsUuencode(std::string_view line) {
  static constexpr std::string_view kBegin = "begin";
  if (!line.starts_with(kBegin)) return false;
  if (line.starts_with("begin-base64 ")) return true;
  // Programs differ about the mode: they accept blanks of any kind, signs, digits.
  line = line.substr(kBegin.size(), line.find('\n') - kBegin.size());
  const auto is_blank = [](char c) { return c >= 0 && c <= ' '; };
  if (line.empty() || !is_blank(line.front())) return false;
  const auto* const mode =
      std::find_if_not(line.begin(), line.end(), [&](char c) { return is_blank(c) || c == '+' || c == '-'; });
  return mode != line.end() && *mode >= '0' && *mode <= '9';
}

bool HasLongLine(std::string_view text) {
  // A line without an LF in this many bytes is too long. Otherwise the last LF found is where the next
  // candidate begins.
  for (size_t begin = 0; text.size() - begin > kLongLineBytes;) {
    const auto* const lf = static_cast<const char*>(memrchr(text.data() + begin, '\n', kLongLineBytes + 1));
    if (lf == nullptr) return true;
    begin = static_cast<size_t>(lf - text.data()) + 1;
  }
  return false;
}

LineSurvey SurveyLines(std::string_view content) {
  LineSurvey survey;
  survey.long_line = HasLongLine(content);
  survey.nul = content.find('\0') != std::string_view::npos;
  survey.bare_cr = content.ends_with('\r');
  const auto look_at = [&survey](std::string_view line) {
    survey.uuencode = survey.uuencode || BeginsUuencode(line);
    if (core::StartsWithIgnoreCase(line, "content-transfer-encoding")) ++survey.encoding_lines;
  };
  look_at(content);
  internal::ForEachMark(internal::BestSimd(), internal::Mark::kBareCrOrBC, content, [&](size_t at) {
    if (content[at - 1] == '\r') {
      survey.bare_cr = true;
    } else {
      look_at(content.substr(at));
    }
    return true;
  });
  return survey;
}

}  // namespace bivalve::net
