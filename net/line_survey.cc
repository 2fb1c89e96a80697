#include "net/line_survey.h"

#include <bit>
#include <cstdint>
#include <cstring>

#include "core/text.h"
#include "net/dot_search.h"

namespace bivalve::net {
namespace {

using internal::Mark;

bool BeginsUuencode(std::string_view line) {
  static constexpr std::string_view kBegin = "begin ";
  if (!line.starts_with(kBegin)) return false;
  const size_t mode = line.find_first_not_of(" \t+", kBegin.size());
  return mode < line.size() && line[mode] >= '0' && line[mode] <= '7';
}

}  // namespace

bool HasLongLine(std::string_view text) {
  // Without an LF in so many bytes the line is longer; else the last one begins the next line that may be.
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
  const internal::Simd simd = internal::BestSimd();
  const char* const end = content.data() + content.size();
  for (size_t from = 1; from < content.size();) {
    const internal::Group group = internal::NextGroup(simd, Mark::kBareCrOrBC, content.data() + from, end);
    const auto at = static_cast<size_t>(group.at - content.data());
    for (uint64_t marks = group.marks; marks != 0; marks &= marks - 1) {
      const size_t offset = at + static_cast<size_t>(std::countr_zero(marks));
      if (content[offset - 1] == '\r') {
        survey.bare_cr = true;
      } else {
        look_at(content.substr(offset));
      }
    }
    from = at + internal::kGroupBytes;
  }
  return survey;
}

size_t NextUuencode(std::string_view content, size_t from) {
  static constexpr std::string_view kBegin = "\nbegin ";
  if (from == 0 && BeginsUuencode(content)) return 0;
  for (from = from > 0 ? from - 1 : 0; from < content.size(); ++from) {
    const void* const found =
        memmem(content.data() + from, content.size() - from, kBegin.data(), kBegin.size());
    if (found == nullptr) break;
    from = static_cast<size_t>(static_cast<const char*>(found) - content.data());
    if (BeginsUuencode(content.substr(from + 1))) return from + 1;
  }
  return content.size();
}

}  // namespace bivalve::net
