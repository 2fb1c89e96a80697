#include "net/field_edits.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "core/text.h"

namespace bivalve::net {
namespace {

constexpr std::string_view kBlanks = " \t";

// A line without its line end, and where the next one begins.
struct Line {
  std::string_view text;
  size_t next = 0;
};

Line LineAt(std::string_view content, size_t at, size_t end) {
  const size_t lf = std::min(content.find('\n', at), end);
  size_t text_end = lf;
  while (text_end > at && content[text_end - 1] == '\r') --text_end;
  return {content.substr(at, text_end - at), std::min(lf + 1, end)};
}

bool IsFold(std::string_view line) { return line.starts_with(' ') || line.starts_with('\t'); }

// The offset of `word` in `text` without regard to case; npos without.
size_t FindWord(std::string_view text, std::string_view word) {
  const auto found = std::search(text.begin(), text.end(), word.begin(), word.end(),
                                 [](char a, char b) { return core::AsciiLower(a) == core::AsciiLower(b); });
  return found == text.end() ? std::string_view::npos : static_cast<size_t>(found - text.begin());
}

// Writes `type` over the subtype behind `prefix`, with blanks up to the end of the subtype, where it fits.
// `known`: those that libclamav looks into as they are.
void EditSubtype(std::string_view value, size_t value_at, std::string_view prefix, std::string_view type,
                 std::initializer_list<std::string_view> known, std::vector<core::Body::Edit>& edits) {
  const size_t at = FindWord(value, prefix);
  if (at == std::string_view::npos) return;
  const std::string_view rest = value.substr(at + prefix.size());
  const std::string_view subtype = rest.substr(0, std::min(rest.find_first_of(" \t\r\n;(\""), rest.size()));
  if (subtype.size() < type.size()) return;
  for (const std::string_view one : known) {
    if (core::EqualsIgnoreCase(subtype, one)) return;
  }
  edits.push_back({.offset = value_at + at + prefix.size(),
                   .bytes = std::string(type) + std::string(subtype.size() - type.size(), ' ')});
}

bool IsBase64(char c) {
  const char lower = core::AsciiLower(c);
  return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

// Pads, and what decoders pass over between them, in front of the first character of a body in base64.
void EditPads(std::string_view content, size_t body, std::vector<core::Body::Edit>& edits) {
  static constexpr size_t kBytesMax = 1000;
  if (body >= content.size()) return;
  const std::string_view start = content.substr(body, kBytesMax);
  const auto* const end = std::find_if(start.begin(), start.end(), IsBase64);
  std::string bytes(start.begin(), end);
  if (bytes.find('=') == std::string::npos) return;
  std::replace(bytes.begin(), bytes.end(), '=', ' ');
  edits.push_back({.offset = body, .bytes = std::move(bytes)});
}

}  // namespace

size_t HeaderSectionEnd(std::string_view content, size_t begin, size_t bytes_max) {
  const size_t last = std::min(content.size(), begin + bytes_max);
  size_t at = begin;
  while (at < last) {
    const Line line = LineAt(content, at, content.size());
    if (line.text.empty()) break;
    at = line.next;
  }
  return at;
}

void EditFields(std::string_view content, size_t begin, size_t end, std::vector<core::Body::Edit>& edits) {
  static constexpr size_t kPadsMax = 16;
  std::vector<size_t> pads;
  bool base64 = false;
  std::array<bool, 2> seen = {};  // Content-Type, Content-Transfer-Encoding
  for (size_t at = begin; at < end;) {
    const Line first = LineAt(content, at, end);
    size_t next = first.next;
    size_t value_end = at + first.text.size();
    while (next < end) {
      const Line fold = LineAt(content, next, end);
      if (!IsFold(fold.text)) break;
      value_end = next + fold.text.size();
      next = fold.next;
    }
    const size_t field_at = std::exchange(at, next);
    // The body's first line, where the section has no blank line.
    if (first.text.starts_with('=') && pads.size() < kPadsMax) pads.push_back(field_at);
    const size_t colon = first.text.find(':');
    if (colon == std::string_view::npos || !core::StartsWithIgnoreCase(first.text, "Content-")) continue;
    const std::string_view name = core::Trim(first.text.substr(0, colon), kBlanks);
    const bool is_type = core::EqualsIgnoreCase(name, "Content-Type");
    const bool is_encoding = core::EqualsIgnoreCase(name, "Content-Transfer-Encoding");
    if ((is_type || is_encoding) && std::exchange(seen[is_type ? 0 : 1], true)) {
      edits.push_back({.offset = field_at, .bytes = "x"});
      continue;
    }
    const size_t value_at = field_at + colon + 1;
    const std::string_view value = content.substr(value_at, std::max(value_end, value_at) - value_at);
    if (is_type) {
      EditSubtype(value, value_at, "multipart/", "mixed", {"mixed", "alternative", "related"}, edits);
      EditSubtype(value, value_at, "message/", "rfc822", {"rfc822"}, edits);
    }
    base64 = base64 || (is_encoding && FindWord(value, "base64") != std::string_view::npos);
    const size_t last = value.find_last_not_of(" \t\r\n");
    if (last != std::string_view::npos && value[last] == ';')
      edits.push_back({.offset = value_at + last, .bytes = " "});
    if (std::count(value.begin(), value.end(), '"') % 2 == 1)
      edits.push_back({.offset = value_at + value.rfind('"'), .bytes = " "});
  }
  if (!base64) return;
  // libclamav takes a pad for the end.
  if (end < content.size()) pads.push_back(LineAt(content, end, content.size()).next);
  for (const size_t pad : pads) EditPads(content, pad, edits);
}

void EditFolds(std::string_view content, size_t begin, size_t end, std::vector<core::Body::Edit>& edits) {
  size_t text_end = begin;  // of the line before
  for (size_t at = begin; at < end;) {
    const Line line = LineAt(content, at, end);
    if (at > begin && IsFold(line.text) && core::Trim(line.text, kBlanks).empty()) {
      const size_t bytes = at + line.text.size() - text_end;
      edits.push_back({.offset = text_end, .bytes = std::string(bytes, ' ')});
    }
    text_end = at + line.text.size();
    at = line.next;
  }
}

}  // namespace bivalve::net
