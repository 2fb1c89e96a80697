#include "net/plain_mime.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/text.h"
#include "net/dot_search.h"
#include "net/transfer_encoding.h"

namespace bivalve::net {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

constexpr bool IsAlphanumeric(char c) {
  const char lower = core::AsciiLower(c);
  return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9');
}

// Sets of bytes as tables, because header sections are read byte by byte.
using ByteSet = std::array<bool, 256>;
constexpr ByteSet Bytes(std::string_view beside_alphanumeric) {
  ByteSet set{};
  for (int c = 0; c < 256; ++c) set[static_cast<size_t>(c)] = c < 128 && IsAlphanumeric(static_cast<char>(c));
  for (const char c : beside_alphanumeric) set[static_cast<unsigned char>(c)] = true;
  return set;
}
constexpr ByteSet kNameBytes = Bytes("-_.");
constexpr ByteSet kTokenBytes = Bytes("-_.+!#$%&'*^{|}~");
constexpr ByteSet kValueBytes = Bytes("-_.+!#$%&'*^{|}~/:@=?");
// The characters of RFC 2046 section 5.1.1 except those that some readers take for the end of the boundary or
// for something else: in quotes, and without quotes.
constexpr ByteSet kQuotedBoundaryBytes = Bytes("-_.+,/=");
constexpr ByteSet kBoundaryBytes = Bytes("-_.+");
bool Has(const ByteSet& set, char c) { return set[static_cast<unsigned char>(c)]; }
bool AllOf(std::string_view text, const ByteSet& set) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) { return Has(set, c); });
}

bool Contains(std::string_view text, std::string_view word) {
  return core::FindIgnoreCase(text, word) != std::string_view::npos;
}

// Reads the value of a field from left to right. Matching text is removed from the front.
class Value {
 public:
  explicit Value(std::string_view rest) : rest_(rest) {}

  bool at_end() const { return rest_.empty(); }
  void SkipSpace() { rest_.remove_prefix(std::min(rest_.find_first_not_of(kSpace), rest_.size())); }
  bool Skip(char c) {
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  // Takes as many bytes of `set` as there are; empty if there are none.
  std::string_view Take(const ByteSet& set) {
    const auto* const end = std::find_if_not(rest_.begin(), rest_.end(), [&](char c) { return Has(set, c); });
    return TakeBytes(static_cast<size_t>(end - rest_.begin()));
  }
  // The text between quotes, which must not contain a backslash; nullopt otherwise.
  std::optional<std::string_view> TakeQuoted() {
    if (!Skip('"')) return std::nullopt;
    const size_t end = rest_.find_first_of("\"\\");
    if (end == std::string_view::npos || rest_[end] != '"') return std::nullopt;
    const std::string_view quoted = TakeBytes(end);
    rest_.remove_prefix(1);
    return quoted;
  }

 private:
  std::string_view TakeBytes(size_t bytes) {
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return taken;
  }

  std::string_view rest_;
};

// What the header section of a message or a part says about its body.
struct PlainHeader {
  TransferEncoding encoding = TransferEncoding::kIdentity;
  bool names_encoding = false;  // a field names the encoding
  std::string_view boundary;    // of a multipart; empty: not a multipart
};

// Reads the parameters up to the end of a field. `boundary`: receives the value of that parameter; null if
// the field must not have one that matters. Sets `named` if a parameter names a file.
bool ReadParameters(Value& value, std::string_view* boundary, bool& named) {
  static constexpr std::string_view kBoundary = "boundary";
  static constexpr size_t kParametersMax = 40;
  for (size_t count = 0;; ++count) {
    value.SkipSpace();
    if (value.at_end()) return true;
    if (!value.Skip(';') || count == kParametersMax) return false;
    value.SkipSpace();
    const std::string_view name = value.Take(kTokenBytes);
    if (name.empty() || !value.Skip('=')) return false;
    std::string_view text = value.Take(kValueBytes);
    const bool in_quotes = text.empty();
    if (in_quotes) {
      const std::optional<std::string_view> quoted = value.TakeQuoted();
      if (!quoted) return false;
      text = *quoted;
    }
    named = named || Contains(name, "name");
    if (boundary == nullptr) continue;
    // libclamav also cuts at a semicolon in quotes, and could take the text behind it for another boundary.
    if (text.find(';') != std::string_view::npos) return false;
    if (!core::StartsWithIgnoreCase(name, kBoundary)) continue;
    if (name.size() != kBoundary.size() || !boundary->empty() ||
        !AllOf(text, in_quotes ? kQuotedBoundaryBytes : kBoundaryBytes))
      return false;
    *boundary = text;
  }
}

// Further information from a header section, besides its PlainHeader.
struct File {
  bool text = true;  // by its type, or without a type
  bool named = false;
  bool attached = false;
};

bool ReadType(std::string_view field, PlainHeader& header, File& file) {
  static constexpr size_t kBoundaryBytesMax = 70;
  // libclamav takes any other type for the one that it resembles most, and skips a message in which nothing
  // is encoded.
  static constexpr std::string_view kTypes[] = {"text", "application", "image", "audio", "video"};
  Value value(field);
  value.SkipSpace();
  const std::string_view type = value.Take(kTokenBytes);
  if (type.empty() || !value.Skip('/')) return false;
  const std::string_view subtype = value.Take(kTokenBytes);
  if (subtype.empty()) return false;
  if (core::EqualsIgnoreCase(type, "multipart")) {
    const auto is = [&](std::string_view one) { return core::EqualsIgnoreCase(subtype, one); };
    if (!is("mixed") && !is("alternative") && !is("related")) return false;
    return ReadParameters(value, &header.boundary, file.named) && !header.boundary.empty() &&
           header.boundary.size() <= kBoundaryBytesMax;
  }
  if (std::none_of(std::begin(kTypes), std::end(kTypes),
                   [&](std::string_view one) { return core::EqualsIgnoreCase(type, one); }))
    return false;
  // Some mail programs treat other texts as files.
  file.text = core::EqualsIgnoreCase(type, "text") &&
              (core::EqualsIgnoreCase(subtype, "plain") || core::EqualsIgnoreCase(subtype, "html"));
  return ReadParameters(value, nullptr, file.named);
}

bool ReadEncoding(std::string_view field, PlainHeader& header) {
  const std::string_view name = core::Trim(field, kSpace);
  const auto is = [&](std::string_view one) { return core::EqualsIgnoreCase(name, one); };
  if (is("base64")) {
    header.encoding = TransferEncoding::kBase64;
  } else if (is("quoted-printable")) {
    header.encoding = TransferEncoding::kQuotedPrintable;
  } else {
    // libclamav reads binary content as lines of text.
    return is("7bit") || is("8bit");
  }
  return true;
}

bool ReadDisposition(std::string_view field, File& file) {
  Value value(field);
  value.SkipSpace();
  const std::string_view type = value.Take(kTokenBytes);
  file.attached = core::EqualsIgnoreCase(type, "attachment");
  // libclamav does not look at a text with another disposition.
  return (file.attached || core::EqualsIgnoreCase(type, "inline")) &&
         ReadParameters(value, nullptr, file.named);
}

// Whether the body has only base64's characters, in whole groups, and pads only at the end.
bool IsPlainBase64(std::string_view body) {
  const internal::Simd simd = internal::BestSimd();
  const char* const end = body.data() + body.size();
  size_t line_end_bytes = 0;
  size_t pads = 0;
  // The search also reads the byte before the first one, which exists: it is a line end.
  for (const char* from = body.data(); from < end;) {
    const internal::Group group = internal::NextGroup(simd, internal::Mark::kNotBase64, from, end);
    if (pads > 0 && group.at != from) return false;
    const auto bytes = std::min<size_t>(internal::kGroupBytes, static_cast<size_t>(end - group.at));
    size_t last = 0;  // behind the last marked byte
    for (uint64_t marks = group.marks; marks != 0; marks &= marks - 1) {
      const auto offset = static_cast<size_t>(std::countr_zero(marks));
      const char c = group.at[offset];
      if (pads > 0 && offset > last) return false;
      last = offset + 1;
      if (c == '=') {
        if (++pads > 2) return false;
      } else if (c == '\r' || c == '\n') {
        ++line_end_bytes;
      } else {
        return false;
      }
    }
    if (pads > 0 && last < bytes) return false;
    from = group.at + internal::kGroupBytes;
  }
  return (body.size() - line_end_bytes) % 4 == 0;
}

// Whether each '=' stands before two hexadecimal digits as RFC 2045 requires them, or before a line end.
bool IsPlainQuotedPrintable(std::string_view body) {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  for (size_t at = body.find('='); at != std::string_view::npos; at = body.find('=', at + 1)) {
    const std::string_view rest = body.substr(at + 1);
    if (rest.starts_with("\r\n") || rest.starts_with('\n')) continue;
    if (rest.size() < 2 || !is_hex(rest[0]) || !is_hex(rest[1])) return false;
  }
  return true;
}

// Reads the fields from the start of `section` to its end, which is the blank line. nullopt if they are not
// plain.
std::optional<PlainHeader> ReadPlainHeader(std::string_view section) {
  PlainHeader header;
  File file;
  bool has_type = false;
  bool has_encoding = false;
  bool has_disposition = false;
  for (size_t at = 0; at < section.size();) {
    const size_t begin = at;
    while (at < section.size() && Has(kNameBytes, section[at])) ++at;
    if (at == begin || at >= section.size() || section[at] != ':') return std::nullopt;
    const std::string_view name = section.substr(begin, at - begin);
    ++at;
    const size_t value = at;
    size_t line = begin;
    for (;;) {
      const size_t lf = section.find('\n', at);
      // For some readers a line of white space alone ends a header section.
      if (line > begin && core::Trim(section.substr(line, lf - line), kSpace).empty()) return std::nullopt;
      at = lf == std::string_view::npos ? section.size() : lf + 1;
      line = at;
      if (at >= section.size() || (section[at] != ' ' && section[at] != '\t')) break;
    }
    if (core::AsciiLower(name.front()) != 'c') continue;
    const std::string_view text = section.substr(value, at - value);
    const auto is = [&](std::string_view one) { return core::EqualsIgnoreCase(name, one); };
    bool* seen = nullptr;
    bool plain = true;
    if (is("Content-Type")) {
      seen = &has_type;
      plain = ReadType(text, header, file);
    } else if (is("Content-Transfer-Encoding")) {
      seen = &has_encoding;
      plain = ReadEncoding(text, header);
    } else if (is("Content-Disposition")) {
      seen = &has_disposition;
      plain = ReadDisposition(text, file);
    }
    if (seen == nullptr) continue;
    header.names_encoding = has_encoding || seen == &has_encoding;
    static constexpr size_t kFieldBytesMax = 4'000;
    if (!plain || *seen || text.size() > kFieldBytesMax) return std::nullopt;
    *seen = true;
  }
  // libclamav changes line ends in content that is not base64, so the hash of a file would no longer match.
  const bool is_file = !file.text || file.named || file.attached;
  if (header.boundary.empty() && is_file && header.encoding != TransferEncoding::kBase64) return std::nullopt;
  return header;
}

// Walks through the parts in their order.
class PlainWalk {
 public:
  explicit PlainWalk(std::string_view content) : content_(content) {}

  bool Check() {
    if (!Enter(0)) return false;
    if (open_.empty()) return EndLeaf(content_.size());
    const internal::Simd simd = internal::BestSimd();
    // Starts behind the first byte, because no boundary comes before the header section.
    for (size_t at = body_;; ++at) {
      at = internal::NextMark(simd, internal::Mark::kDelimiterAfterLf, content_, at);
      if (at >= content_.size()) break;
      if (!Line(at)) return false;
    }
    return parts_ > 0 && EndLeaf(content_.size());
  }
  size_t encoding_fields() const { return encoding_fields_; }

 private:
  // Enters the message or the part that begins at `at`.
  bool Enter(size_t at) {
    // libclamav, like some mail programs, takes a part without fields for one whose fields come further down.
    if (IsBlankLine(content_, at)) return false;
    size_t end = at;
    while (end < content_.size() && !IsBlankLine(content_, end)) end = LineBehind(content_, end);
    const std::optional<PlainHeader> header = ReadPlainHeader(content_.substr(at, end - at));
    if (!header) return false;
    body_ = LineBehind(content_, end);
    encoding_ = header->encoding;
    encoding_fields_ += header->names_encoding ? 1 : 0;
    in_leaf_ = header->boundary.empty();
    return (in_leaf_ || Open(header->boundary)) && IsPlainFirstLine();
  }

  // The first line of a body. At a line that is not plain, libclamav continues the header section, and some
  // programs begin a part.
  bool IsPlainFirstLine() const {
    const std::string_view body = content_.substr(std::min(body_, content_.size()));
    const std::string_view line = body.substr(0, body.find('\n'));
    const bool is_delimiter =
        !open_.empty() && line.substr(std::min<size_t>(2, line.size())).starts_with(open_.back());
    if (in_leaf_ && line.starts_with("--") && !is_delimiter) return false;
    return !core::StartsWithIgnoreCase(line, "content") && !core::StartsWithIgnoreCase(line, "filename=") &&
           !core::StartsWithIgnoreCase(line, "message-id:") && !core::StartsWithIgnoreCase(line, "date:") &&
           !Contains(line, "base64");
  }

  bool Open(std::string_view boundary) {
    if (encoding_ != TransferEncoding::kIdentity || boundaries_.size() >= kPlainContainersMax) return false;
    // Readers differ about a boundary that is part of another one.
    for (const std::string_view other : boundaries_) {
      if (Contains(other, boundary) || Contains(boundary, other)) return false;
    }
    boundaries_.push_back(boundary);
    open_.push_back(boundary);
    return true;
  }

  // Checks a line that begins with '-' or '('. False if readers may differ about it.
  bool Line(size_t at) {
    std::string_view line = content_.substr(at, content_.find('\n', at) - at);
    if (line.ends_with('\r')) line.remove_suffix(1);
    looked_bytes_ += (line.size() + kLineCost) * boundaries_.size();
    if (looked_bytes_ > kLookedBytesMax) return false;
    const bool named = std::any_of(boundaries_.begin(), boundaries_.end(),
                                   [&](std::string_view one) { return Contains(line, one); });
    if (!named) return true;
    // If it names a boundary, it must be the delimiter of the innermost multipart, or its end.
    if (open_.empty() || !line.starts_with("--") || !line.substr(2).starts_with(open_.back())) return false;
    line.remove_prefix(2 + open_.back().size());
    if (!EndLeaf(at)) return false;
    if (line.empty()) return ++parts_ <= kPlainPartsMax && Enter(LineBehind(content_, at));
    open_.pop_back();
    return line == "--";
  }

  bool EndLeaf(size_t end) {
    if (!in_leaf_) return true;
    in_leaf_ = false;
    const std::string_view body = content_.substr(body_, std::max(end, body_) - body_);
    if (encoding_ == TransferEncoding::kBase64) return IsPlainBase64(body);
    return encoding_ != TransferEncoding::kQuotedPrintable || IsPlainQuotedPrintable(body);
  }

  // Limit for the bytes in lines that may be delimiters, counted for each boundary: some milliseconds.
  static constexpr size_t kLookedBytesMax = size_t{8} << 20;
  static constexpr size_t kLineCost = 16;

  std::string_view content_;
  std::vector<std::string_view> boundaries_;  // of all multiparts
  std::vector<std::string_view> open_;        // of multiparts that have not ended, the innermost last
  size_t body_ = 0;                           // begin of the last body
  bool in_leaf_ = false;
  TransferEncoding encoding_ = TransferEncoding::kIdentity;
  size_t encoding_fields_ = 0;
  size_t parts_ = 0;
  size_t looked_bytes_ = 0;
};

}  // namespace

bool IsPlainMime(std::string_view content, const LineSurvey& survey) {
  if (survey.bare_cr || survey.nul || survey.uuencode || survey.long_line) return false;
  PlainWalk walk(content);
  return walk.Check() && walk.encoding_fields() == survey.encoding_lines;
}

}  // namespace bivalve::net
