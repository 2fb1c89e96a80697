#include "net/header_section.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace bivalve::net {
namespace {

// The kinds of lines before the first blank one. For each doubtful kind, some readers continue behind the
// line and for others the header section ends there.
enum class LineKind : uint8_t {
  kBlank,          // ends the header section for everybody
  kField,          // a name and a colon
  kFolded,         // white space and more, behind a field
  kFoldedFirst,    // the same as the very first line
  kWhiteSpace,     // nothing but white space
  kSpacedColon,    // white space before the colon
  kNameless,       // begins with the colon
  kOddName,        // the name has a byte that is not allowed in names
  kEnvelope,       // "From " or ">From ", as mailboxes have it
  kEnvelopeFirst,  // the same as the very first line, where servers know it
  kText,           // the end for everybody except readers who skip lines that are not fields
};
constexpr size_t kLineKinds = static_cast<size_t>(LineKind::kText) + 1;

// A CR within a line is one that ends nothing.
constexpr std::string_view kBlanks = " \t\r";
constexpr bool IsBlank(char c) { return kBlanks.find(c) != std::string_view::npos; }
constexpr bool IsNameByte(char c) { return c >= '!' && c <= '~' && c != ':'; }

LineKind KindOf(std::string_view line, bool first) {
  if (line.empty()) return LineKind::kBlank;
  if (IsBlank(line.front())) {
    if (line.find_first_not_of(kBlanks) == std::string_view::npos) return LineKind::kWhiteSpace;
    return first ? LineKind::kFoldedFirst : LineKind::kFolded;
  }
  if (line.front() == ':') return LineKind::kNameless;
  const std::string_view unquoted = line.substr(std::min(line.find_first_not_of('>'), line.size()));
  if (unquoted.starts_with("From ")) return first ? LineKind::kEnvelopeFirst : LineKind::kEnvelope;
  size_t name = 0;
  bool odd = false;
  for (; name < line.size() && line[name] != ':' && !IsBlank(line[name]); ++name) {
    odd = odd || !IsNameByte(line[name]);
  }
  const size_t colon = line.find_first_not_of(kBlanks, name);
  if (colon == std::string_view::npos || line[colon] != ':') return LineKind::kText;
  if (odd) return LineKind::kOddName;
  return colon == name ? LineKind::kField : LineKind::kSpacedColon;
}

struct View {
  size_t first_doubt = std::string_view::npos;
  // The offset of the first line of each kind.
  std::array<size_t, kLineKinds> first_of = {};
  size_t end = 0;          // where no reader continues: a blank line, a text, the end of the message
  bool ends_blank = true;  // false: ends with a text
  bool has_bare_cr = false;
};

View Examine(std::string_view content, size_t bytes_max) {
  View view;
  view.first_of.fill(std::string_view::npos);
  size_t at = 0;
  while (at < content.size() && at <= bytes_max) {
    const std::string_view rest = content.substr(at);
    const size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    if (end != std::string_view::npos && line.ends_with('\r')) line.remove_suffix(1);
    line = line.substr(0, bytes_max + 1);
    const LineKind kind = KindOf(line, at == 0);
    if (kind == LineKind::kBlank) break;
    view.has_bare_cr = view.has_bare_cr || std::memchr(line.data(), '\r', line.size()) != nullptr;
    if (kind != LineKind::kField && kind != LineKind::kFolded) {
      size_t& first = view.first_of[static_cast<size_t>(kind)];
      first = std::min(first, at);
      // Nothing can be inserted before the mailbox's line.
      if (kind != LineKind::kEnvelopeFirst) view.first_doubt = std::min(view.first_doubt, at);
    }
    if (kind == LineKind::kText) {
      view.ends_blank = false;
      break;
    }
    at += end == std::string_view::npos ? rest.size() : end + 1;
  }
  view.end = at;
  return view;
}

bool HasDoubt(const View& view) {
  return std::any_of(view.first_of.begin(), view.first_of.end(),
                     [](size_t offset) { return offset != std::string_view::npos; });
}

// A reader continues behind a certain set of kinds, and for him the header section ends at the first line of
// any other kind. So there are at most as many ends as kinds.
void AddReadings(const View& view, std::vector<Reading>& readings) {
  std::array<size_t, kLineKinds> ends = view.first_of;
  std::sort(ends.begin(), ends.end());
  for (const size_t end : ends) {
    if (end == std::string_view::npos) break;
    readings.push_back({.as_it_is = false, .head_bytes = end, .blank_line = true});
  }
  // Up to the real end: readers know fields with a spaced colon and fields behind a CR.
  const bool spaced = view.first_of[static_cast<size_t>(LineKind::kSpacedColon)] != std::string_view::npos;
  if (view.ends_blank && (spaced || view.has_bare_cr)) {
    readings.push_back({.as_it_is = false, .head_bytes = view.end});
  }
}

// Moves the white space between a name and its colon behind the colon.
void DrawColon(char* line, size_t bytes) {
  const std::string_view text(line, bytes);
  if (KindOf(text, false) != LineKind::kSpacedColon) return;
  const size_t name = text.find_first_of(kBlanks);
  const size_t colon = text.find(':', name);
  std::memmove(line + name + 1, line + name, colon - name);
  line[name] = ':';
}

}  // namespace

HeaderSection ExamineHeaderSection(std::string_view content, size_t bytes_max) {
  const View view = Examine(content, bytes_max);
  HeaderSection section;
  section.bytes = std::min(view.first_doubt, view.end);
  section.ends_in_text = !view.ends_blank;
  section.well_formed = !HasDoubt(view) && !view.has_bare_cr;
  if (section.well_formed) return section;
  section.readings.push_back({});
  AddReadings(view, section.readings);
  return section;
}

std::string ReadHead(std::string_view content, const Reading& reading) {
  static constexpr std::string_view kLineEnd = "\r\n";
  std::string head;
  head.reserve(reading.head_bytes + kLineEnd.size());
  head.append(content.substr(0, reading.head_bytes));
  for (size_t at = 0; at < head.size();) {
    size_t end = std::min(head.find('\n', at), head.size());
    const size_t next = end + 1;
    if (end < head.size() && end > at && head[end - 1] == '\r') --end;
    std::replace(head.begin() + static_cast<ptrdiff_t>(at), head.begin() + static_cast<ptrdiff_t>(end), '\r',
                 ' ');
    DrawColon(head.data() + at, end - at);
    at = next;
  }
  if (reading.blank_line) head += kLineEnd;
  return head;
}

}  // namespace bivalve::net
