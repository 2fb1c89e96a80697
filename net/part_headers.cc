#include "net/part_headers.h"

#include <algorithm>
#include <string>

#include "core/text.h"
#include "net/dot_search.h"
#include "net/field_edits.h"
#include "net/header_section.h"

namespace bivalve::net {
namespace {

// The longest header section of a part that is looked at.
constexpr size_t kPartHeaderBytesMax = size_t{64} << 10;

// Where a reader who goes on behind no doubtful line begins the body; the section's size when there is none.
size_t FirstDoubt(const HeaderSection& section) {
  size_t first = std::string_view::npos;
  for (const Reading& reading : section.readings) {
    if (reading.blank_line) first = std::min(first, reading.head_bytes);
  }
  return first;
}

bool Names(std::string_view header, std::string_view type) {
  return std::search(header.begin(), header.end(), type.begin(), type.end(),
                     [](char a, char b) { return core::AsciiLower(a) == b; }) != header.end();
}

bool IsMessage(std::string_view header) { return Names(header, "message/"); }

// To no reader has it parts: its header section ends where all see it, and names nothing that has any.
bool IsOnePart(std::string_view content, size_t header_bytes) {
  const std::string_view header = content.substr(0, header_bytes);
  const std::string_view behind = content.substr(std::min(header_bytes, content.size()));
  const bool ends = behind.empty() || behind.starts_with("\r\n") || behind.starts_with('\n');
  return ends && !Names(header, "multipart") && !IsMessage(header);
}

// libclamav takes a message in a part for mail when it begins with one of these fields, or holds some of them
// further down; case counts.
constexpr std::string_view kMailFields[] = {
    "Received: ",     "From: ",         "Subject: ",     "Date: ",         "To: ",
    "Message-ID: ",   "Message-Id: ",   "Return-Path: ", "Delivered-To: ", "MIME-Version: ",
    "Mime-Version: ", "Content-Type: ", "Content-type: "};

// Makes the header section at `begin`, of a message in a part, begin with a field that libclamav knows it by.
// Returns where that ends; npos when there is no place for one.
size_t AddMailField(std::string_view content, size_t begin, std::vector<core::Body::Edit>& edits) {
  static constexpr std::string_view kField = "From: ";
  const std::string_view section = content.substr(begin);
  if (std::any_of(std::begin(kMailFields), std::end(kMailFields),
                  [&](std::string_view field) { return section.starts_with(field); }))
    return begin;
  const auto is_mime = [](std::string_view line) {
    return core::StartsWithIgnoreCase(line, "Content-") || core::StartsWithIgnoreCase(line, "MIME-");
  };
  if (is_mime(section)) {
    // It says how to decode the body, so it stays: only the case of its name changes.
    std::string name(section.substr(0, std::min(section.find_first_of(": \r\n"), section.size())));
    bool first = true;
    for (char& c : name) {
      if (first && c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
      first = c == '-';
    }
    edits.push_back({.offset = begin, .bytes = name});
    return begin + name.size();
  }
  // In the place of the first lines that together are long enough, which say nothing of the body.
  size_t bytes = 0;
  for (size_t line = 0; bytes < kField.size();) {
    const std::string_view rest = section.substr(line);
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos || rest.starts_with('\n') || rest.starts_with("\r\n") || is_mime(rest))
      return std::string_view::npos;
    bytes = line + end - (end > 0 && rest[end - 1] == '\r' ? 1 : 0);
    line += end + 1;
  }
  edits.push_back({.offset = begin, .bytes = std::string(kField) + std::string(bytes - kField.size(), 'x')});
  return begin + bytes;
}

// Makes a blank line in front of `at`, which begins a line of the header section that begins at `begin`.
bool AddBlankLine(std::string_view content, size_t begin, size_t at, std::vector<core::Body::Edit>& edits) {
  if (at >= 2 && content.substr(at - 2, 2) == "\r\n") {
    edits.push_back({.offset = at - 2, .bytes = "\n\n"});
    return true;
  }
  if (content[at] == ' ' || content[at] == '\t' || content[at] == '\r') {
    edits.push_back({.offset = at, .bytes = "\n"});
    return true;
  }
  // The blank behind the last colon goes, and what follows it moves by one.
  const size_t colon = content.substr(begin, at - begin).rfind(": ");
  if (colon == std::string_view::npos) return false;
  const size_t blank = begin + colon + 1;
  edits.push_back({.offset = blank, .bytes = std::string(content.substr(blank + 1, at - blank - 1)) + "\n"});
  return true;
}

}  // namespace

PartHeaders ExaminePartHeaders(std::string_view content, size_t header_bytes) {
  PartHeaders parts;
  std::vector<core::Body::Edit> fields;
  std::vector<core::Body::Edit> folds;
  const auto edit_fields = [&](size_t begin) {
    const size_t end = HeaderSectionEnd(content, begin, kPartHeaderBytesMax);
    EditFields(content, begin, end, fields);
    EditFolds(content, begin, end, folds);
    if (fields.size() + folds.size() >= kPartEditsMax) parts.unreadable = true;
  };
  edit_fields(0);
  // The header section that begins at `begin`, and those of messages inside; returns where it has looked to.
  const auto examine = [&](size_t begin, bool message) {
    while (begin < content.size() && !parts.unreadable) {
      edit_fields(begin);
      const HeaderSection section = ExamineHeaderSection(content.substr(begin), kPartHeaderBytesMax);
      size_t begin_of_fields = begin;
      if (!section.well_formed) {
        const size_t doubt = FirstDoubt(section);
        // A CR alone, and nothing else: that has readings of its own.
        if (doubt == std::string_view::npos) return;
        if (message && doubt > 0) begin_of_fields = AddMailField(content, begin, parts.edits);
        parts.unreadable = begin_of_fields > begin + doubt || parts.edits.size() >= kPartEditsMax ||
                           !AddBlankLine(content, begin_of_fields, begin + doubt, parts.edits);
        return;
      }
      if (message && section.bytes > 0 && AddMailField(content, begin, parts.edits) == std::string_view::npos)
        parts.unreadable = true;
      if (!IsMessage(content.substr(begin, section.bytes))) return;
      // Behind the blank line there is another header section.
      begin = std::min(content.find('\n', begin + section.bytes), content.size() - 1) + 1;
      message = true;
    }
  };
  if (IsMessage(content.substr(0, header_bytes))) {
    examine(std::min(content.find('\n', header_bytes), content.size() - 1) + 1, true);
  }
  size_t from = 0;
  const bool one_part = IsOnePart(content, header_bytes);
  while (!parts.unreadable && !one_part) {
    const size_t dashes = internal::NextDashes(internal::BestSimd(), content, from);
    if (dashes >= content.size()) break;
    const size_t line_end = std::min(content.find('\n', dashes), content.size());
    from = std::min(line_end + 1, content.size());
    // "-- " is where a signature begins, for people.
    const bool boundary = content.substr(dashes + 2, line_end - dashes - 2).find_first_not_of(" \t\r") !=
                          std::string_view::npos;
    // A part without anything in it.
    if (boundary && !content.substr(from).starts_with("--")) examine(from, false);
  }
  if (!folds.empty()) {
    parts.folded = fields;
    parts.folded.insert(parts.folded.end(), folds.begin(), folds.end());
  }
  parts.edits.insert(parts.edits.begin(), fields.begin(), fields.end());
  return parts;
}

}  // namespace bivalve::net
