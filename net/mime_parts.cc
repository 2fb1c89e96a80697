#include "net/mime_parts.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "core/text.h"
#include "net/dot_search.h"
#include "net/header_section.h"
#include "net/line_survey.h"

namespace bivalve::net {
namespace {

// White space as Python defines it.
constexpr std::string_view kSpace = " \t\v\f\r\n\x1c\x1d\x1e\x1f";

// A message with more of these is made to be costly. Boundaries count for one header section.
constexpr size_t kBoundariesMax = 24;
constexpr size_t kBoundaryBytesMax = 200;
constexpr size_t kDashLinesMax = 200'000;
constexpr size_t kEntitiesMax = 4'000;
// Limit for the header bytes and delimiter lines examined: a fixed number, and this many for each byte of the
// content. At 25 MB this is less than a tenth of a second.
constexpr uint64_t kStepsForByte = 2;
constexpr uint64_t kStepsMax = uint64_t{1} << 20;
// The same limit for bytes of parts to be decoded and scanned.
constexpr uint64_t kPartBytesForByte = 8;
constexpr size_t kHeaderBytesMax = size_t{256} << 10;

bool HasWord(std::string_view text, std::string_view word) {
  return core::FindIgnoreCase(text, word) != std::string_view::npos;
}

template <typename T>
void AddOnce(std::vector<T>& all, T one) {
  if (std::find(all.begin(), all.end(), one) == all.end()) all.push_back(std::move(one));
}

// The value of a parameter in extended form (RFC 2231 section 4): decoded, without charset and language.
std::string DecodeExtended(std::string_view value) {
  if (const size_t charset = value.find('\''); charset != std::string_view::npos) {
    const size_t language = value.find('\'', charset + 1);
    if (language != std::string_view::npos) value.remove_prefix(language + 1);
  }
  std::string decoded;
  for (size_t i = 0; i < value.size(); ++i) {
    const int high = value[i] == '%' && i + 2 < value.size() ? core::HexValue(value[i + 1]) : -1;
    const int low = high >= 0 ? core::HexValue(value[i + 2]) : -1;
    if (low >= 0) {
      decoded += static_cast<char>(high << 4 | low);
      i += 2;
    } else {
      decoded += value[i];
    }
  }
  return decoded;
}

// The value of a quoted string (RFC 2045 section 5.1, RFC 5322 section 3.2.4). It begins with a quote; the
// closing quote may be missing. `unescape`: removes the backslashes before quoted characters.
std::string Unquoted(std::string_view text, bool unescape) {
  std::string value;
  for (size_t i = 1; i < text.size() && text[i] != '"'; ++i) {
    if (unescape && text[i] == '\\' && i + 1 < text.size()) ++i;
    if (text[i] != '\r' && text[i] != '\n') value += text[i];
  }
  return value;
}

// All boundaries that a Content-Type field may mean.
void AddBoundaries(std::string_view field, std::vector<std::string>& boundaries) {
  static constexpr std::string_view kName = "boundary";
  std::string pieces;
  size_t piece_count = 0;
  const auto add = [&](std::string_view value) {
    // Some programs keep stray quotes and brackets as part of the value; others remove them or stop there.
    static constexpr std::string_view kStray = "\"'<>()\\\xc2\xa0";
    static constexpr std::string_view kSpecials = "()<>@,;:\\\"/[]?=*'%";
    for (const std::string_view one :
         {core::Trim(value, kSpace), core::Trim(core::Trim(value, kSpace), kStray),
          value.substr(0, value.find_first_of(kStray)), value.substr(0, value.find_first_of(kSpecials))}) {
      if (!one.empty()) AddOnce(boundaries, std::string(one));
    }
  };
  for (size_t at = core::FindIgnoreCase(field, kName); at != std::string_view::npos;
       at = core::FindIgnoreCase(field, kName, at)) {
    at += kName.size();
    const size_t equals = field.find_first_not_of("*0123456789 \t\v\f\r\n", at);
    if (equals == std::string_view::npos || (field[equals] != '=' && field[equals] != ':')) continue;
    const bool in_pieces = field.substr(at, equals - at).find('*') != std::string_view::npos;
    const std::string_view value =
        field.substr(std::min(field.find_first_not_of(kSpace, equals + 1), field.size()));
    std::string first;
    if (value.starts_with('"')) {
      first = Unquoted(value, true);
      add(first);
      add(Unquoted(value, false));
    } else {
      first = value.substr(0, value.find_first_of("; \t\v\f\r\n"));
      add(first);
    }
    if (in_pieces) {
      pieces += first;
      ++piece_count;
      add(DecodeExtended(first));
    }
  }
  if (piece_count > 1) {
    add(pieces);
    add(DecodeExtended(pieces));
  }
}

// What the MIME fields of a header section may mean.
struct MimeFields {
  size_t types = 0;
  size_t encodings = 0;
  bool digest = false;  // the parts are messages (RFC 2046 section 5.1.5)
  bool message = false;
  bool status = false;  // the body is a sequence of header sections (RFC 3464 section 2)
  std::vector<std::string> boundaries;
  std::vector<TransferEncoding> transfer_encodings;
};

void AddField(std::string_view field, MimeFields& fields) {
  const size_t colon = field.find(':');
  if (colon == std::string_view::npos) return;
  const std::string_view name = core::Trim(field.substr(0, colon), kSpace);
  const std::string_view value = field.substr(colon + 1);
  if (core::EqualsIgnoreCase(name, "Content-Type")) {
    ++fields.types;
    fields.digest = fields.digest || HasWord(value, "digest");
    fields.message = fields.message || HasWord(value, "message");
    fields.status = fields.status || HasWord(value, "status");
    AddBoundaries(value, fields.boundaries);
  } else if (core::EqualsIgnoreCase(name, "Content-Transfer-Encoding")) {
    ++fields.encodings;
    const std::string_view encoding = core::Trim(value, kSpace);
    if (HasWord(encoding, "base64")) AddOnce(fields.transfer_encodings, TransferEncoding::kBase64);
    if (HasWord(encoding, "quoted")) AddOnce(fields.transfer_encodings, TransferEncoding::kQuotedPrintable);
    // A value that is not exactly the name of an encoding means no encoding (RFC 2045 section 6.4), or the
    // one that it resembles.
    if (!core::EqualsIgnoreCase(encoding, "base64") && !core::EqualsIgnoreCase(encoding, "quoted-printable"))
      AddOnce(fields.transfer_encodings, TransferEncoding::kIdentity);
  }
}

size_t BehindBareCr(std::string_view text, size_t from) {
  for (size_t cr = text.find('\r', from); cr != std::string_view::npos; cr = text.find('\r', cr + 1)) {
    if (!text.substr(cr + 1).starts_with('\n')) return cr + 1;
  }
  return text.size();
}

MimeFields ReadFields(std::string_view section) {
  MimeFields fields;
  for (size_t at = 0; at < section.size();) {
    size_t end = at;
    // The field with its folded lines.
    do {
      end = std::min(section.find('\n', end), section.size() - 1) + 1;
    } while (end < section.size() && (section[end] == ' ' || section[end] == '\t'));
    AddField(section.substr(at, end - at), fields);
    // For some programs a CR alone ends a line, but in the header section only.
    const std::string_view field = section.substr(at, end - at);
    for (size_t line = BehindBareCr(field, 0); line < field.size();) {
      const size_t next = BehindBareCr(field, line);
      AddField(field.substr(line, next - line), fields);
      line = next;
    }
    at = end;
  }
  const bool one = fields.encodings <= 1 && fields.transfer_encodings.size() <= 1;
  if (fields.transfer_encodings.empty() || !one)
    AddOnce(fields.transfer_encodings, TransferEncoding::kIdentity);
  return fields;
}

class Finder {
 public:
  explicit Finder(std::string_view content) : content_(content) {}

  MimeParts Find() {
    FindLines();
    Entity(0, content_.size(), false, 0);
    // Some programs skip empty lines at the start.
    const size_t first = content_.find_first_not_of("\r\n");
    if (first != 0 && first != std::string_view::npos) Entity(first, content_.size(), false, 0);
    std::sort(found_.parts.begin(), found_.parts.end());
    found_.parts.erase(std::unique(found_.parts.begin(), found_.parts.end()), found_.parts.end());
    return std::move(found_);
  }

 private:
  // Finds the lines that may be delimiters and the lines that may begin uuencode.
  void FindLines() {
    const internal::Simd simd = internal::BestSimd();
    const auto see_dash = [this](size_t at) {
      if (content_.substr(at).starts_with("--")) dash_lines_.push_back(at);
      found_.too_many = dash_lines_.size() > kDashLinesMax;
      return !found_.too_many;
    };
    if (content_.starts_with("--")) dash_lines_.push_back(0);
    internal::ForEachMark(simd, internal::Mark::kDelimiterAfterLf, content_, see_dash);
    std::vector<size_t> begins;
    const auto see_begin = [&](size_t at) {
      if (content_[at - 1] == '\n' && BeginsUuencode(content_.substr(at))) begins.push_back(at);
      return begins.size() <= kMimePartsMax;
    };
    if (BeginsUuencode(content_)) begins.push_back(0);
    internal::ForEachMark(simd, internal::Mark::kBareCrOrBC, content_, see_begin);
    for (size_t i = 0; i < begins.size(); ++i) {
      const size_t end = i + 1 < begins.size() ? begins[i + 1] : content_.size();
      const bool base64 = content_.substr(begins[i]).starts_with("begin-base64");
      AddPart(LineBehind(content_, begins[i]), end,
              base64 ? TransferEncoding::kBase64 : TransferEncoding::kUuencode, false);
    }
  }

  bool TakeSteps(uint64_t steps) {
    steps_ += steps;
    if (steps_ > kStepsMax + kStepsForByte * content_.size()) found_.too_many = true;
    return !found_.too_many;
  }

  void AddPart(size_t begin, size_t end, TransferEncoding encoding, bool message) {
    if (begin >= end) return;
    // The line end of the last part belongs to the part, or to the delimiter that is missing.
    const std::string_view text = content_.substr(begin, end - begin);
    const size_t line_end = text.ends_with("\r\n") ? 2 : text.ends_with('\n') ? 1 : 0;
    const bool changes_it =
        encoding == TransferEncoding::kIdentity || encoding == TransferEncoding::kQuotedPrintable;
    if (end == content_.size() && line_end > 0 && changes_it)
      AddPart(begin, end - line_end, encoding, message);
    if (found_.parts.size() >= kMimePartsMax) {
      std::sort(found_.parts.begin(), found_.parts.end());
      found_.parts.erase(std::unique(found_.parts.begin(), found_.parts.end()), found_.parts.end());
      if (found_.parts.size() >= kMimePartsMax || !TakeSteps(kMimePartsMax)) {
        found_.too_many = true;
        return;
      }
    }
    found_.parts.push_back({.begin = begin, .end = end, .encoding = encoding, .message = message});
    part_bytes_ += end - begin;
    if (part_bytes_ > kStepsMax + kPartBytesForByte * content_.size()) found_.too_many = true;
    if (encoding != TransferEncoding::kBase64) return;
    // Pads, and more data behind them.
    const std::string_view body = content_.substr(begin, end - begin);
    const size_t pads = body.find('=');
    const bool more = pads != std::string_view::npos &&
                      std::any_of(body.begin() + static_cast<ptrdiff_t>(pads), body.end(), [](char c) {
                        return c != '=' && c != '\n' && c != '\r' && c != ' ' && c != '\t';
                      });
    if (more)
      found_.parts.push_back(
          {.begin = begin, .end = end, .encoding = TransferEncoding::kBase64BehindPads, .message = message});
  }

  // A message or a part: all its possible header sections and bodies. `in_digest`: an entity without a type
  // is a message.
  void Entity(size_t begin, size_t end, bool in_digest, size_t depth) {
    if (begin >= end || found_.too_many) return;
    if (depth > kMimeDepthMax || ++entities_ > kEntitiesMax) {
      found_.too_many = true;
      return;
    }
    const std::string_view text = content_.substr(begin, end - begin);
    const HeaderSection section = ExamineHeaderSection(text, kHeaderBytesMax);
    // Where the section may end: behind the first empty line, and at each line that is not a field.
    std::vector<std::pair<size_t, size_t>> ends;  // end of the section, begin of the body
    size_t blank = 0;
    while (blank < text.size() && !IsBlankLine(text, blank) && blank < kHeaderBytesMax)
      blank = LineBehind(text, blank);
    if (!TakeSteps(blank + 1)) return;
    if (blank <= kHeaderBytesMax) {
      AddOnce(ends, std::pair(blank, LineBehind(text, blank)));
    } else if (!section.ends_in_text) {
      found_.too_many = true;
    }
    for (const Reading& reading : section.readings) {
      if (!reading.blank_line) continue;
      const size_t doubt = reading.head_bytes;
      AddOnce(ends, std::pair(doubt, doubt));
      const size_t next = LineBehind(text, doubt);
      if (core::Trim(text.substr(doubt, next - doubt)).empty()) AddOnce(ends, std::pair(doubt, next));
    }
    for (const auto& [header_end, body] : ends)
      Body(text.substr(0, header_end), begin + body, end, in_digest, depth);
  }

  void Body(std::string_view header, size_t begin, size_t end, bool in_digest, size_t depth) {
    MimeFields fields = ReadFields(header);
    fields.message = fields.message || (in_digest && fields.types == 0);
    if (!TakeSteps(header.size())) return;
    // A body that begins with a delimiter has parts for some programs, whatever its type.
    const std::string_view body = content_.substr(begin, end - begin);
    if (const std::string_view line = body.substr(0, body.find('\n')); line.starts_with("--"))
      AddOnce(fields.boundaries, std::string(core::Trim(line.substr(2, kBoundaryBytesMax), kSpace)));
    if (fields.boundaries.size() > kBoundariesMax) {
      found_.too_many = true;
      return;
    }
    for (const std::string& boundary : fields.boundaries) Split(boundary, begin, end, fields.digest, depth);
    if (fields.message) Entity(begin, end, false, depth + 1);
    if (fields.status) Blocks(begin, end, depth);
    // A multipart as a whole too: some programs take it for a file if it ends before its first part.
    for (const TransferEncoding encoding : fields.transfer_encodings) {
      AddPart(begin, end, encoding, false);
      if (fields.message && encoding != TransferEncoding::kIdentity) AddPart(begin, end, encoding, true);
    }
  }

  // Splits a body into parts: by the lines that are exactly the delimiter, and again by those that only begin
  // with it.
  void Split(const std::string& boundary, size_t begin, size_t end, bool digest, size_t depth) {
    std::vector<size_t> exact;
    std::vector<size_t> similar;
    auto line = std::lower_bound(dash_lines_.begin(), dash_lines_.end(), begin);
    for (; line != dash_lines_.end() && *line < end; ++line) {
      if (!TakeSteps(1)) return;
      std::string_view rest = content_.substr(*line + 2, end - *line - 2);
      if (!rest.starts_with(boundary)) continue;
      similar.push_back(*line);
      rest.remove_prefix(boundary.size());
      rest = rest.substr(0, rest.find('\n'));
      if (rest.starts_with("--")) rest.remove_prefix(2);
      if (core::Trim(rest, " \t\r").empty()) exact.push_back(*line);
    }
    Entities(exact, end, digest, depth);
    if (exact.size() != similar.size()) Entities(similar, end, digest, depth);
    // The preamble, which some programs show.
    if (!similar.empty()) AddPart(begin, similar.front(), TransferEncoding::kIdentity, false);
  }

  // The text between blank lines; each block is a header section for some programs.
  void Blocks(size_t begin, size_t end, size_t depth) {
    for (size_t at = begin; at < end && !found_.too_many;) {
      size_t next = at;
      while (next < end && !IsBlankLine(content_, next)) next = std::min(LineBehind(content_, next), end);
      if (next > at) Entity(at, next, false, depth + 1);
      at = LineBehind(content_, next);
    }
  }

  void Entities(const std::vector<size_t>& delimiters, size_t end, bool digest, size_t depth) {
    for (size_t i = 0; i < delimiters.size() && !found_.too_many; ++i) {
      size_t part_end = i + 1 < delimiters.size() ? delimiters[i + 1] : end;
      const size_t begin = std::min(LineBehind(content_, delimiters[i]), part_end);
      // The line end before a delimiter belongs to the delimiter.
      if (i + 1 < delimiters.size() && part_end > begin && content_[part_end - 1] == '\n') --part_end;
      if (part_end > begin && i + 1 < delimiters.size() && content_[part_end - 1] == '\r') --part_end;
      Entity(begin, part_end, digest, depth + 1);
    }
  }

  std::string_view content_;
  std::vector<size_t> dash_lines_;
  MimeParts found_;
  uint64_t steps_ = 0;
  uint64_t part_bytes_ = 0;
  size_t entities_ = 0;
};

}  // namespace

MimeParts FindMimeParts(std::string_view content) { return Finder(content).Find(); }

}  // namespace bivalve::net
