// Small helpers for std::string_view that the standard library lacks and that Debian 12's abseil has only for
// its own string_view type.
#pragma once

#include <array>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace bivalve::core {

constexpr char AsciiLower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

// The value of a hexadecimal digit of either case; -1 for any other character.
constexpr int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = AsciiLower(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// Compares without regard to the case of ASCII letters.
constexpr bool EqualsIgnoreCase(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (AsciiLower(a[i]) != AsciiLower(b[i])) return false;
  }
  return true;
}

constexpr bool StartsWithIgnoreCase(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && EqualsIgnoreCase(text.substr(0, prefix.size()), prefix);
}

// The offset of `part` in `text`, from `from` on, ignoring the case of ASCII letters; npos if not found.
constexpr size_t FindIgnoreCase(std::string_view text, std::string_view part, size_t from = 0) {
  for (; from + part.size() <= text.size(); ++from) {
    if (StartsWithIgnoreCase(text.substr(from), part)) return from;
  }
  return std::string_view::npos;
}

// The text without the given characters (blanks by default) at both ends.
constexpr std::string_view Trim(std::string_view text, std::string_view characters = " \t\r\n\v\f") {
  const size_t first = text.find_first_not_of(characters);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(characters) - first + 1);
}

// A control character of ASCII except tab.
constexpr bool IsControl(char c) { return (c >= 0 && c < ' ' && c != '\t') || c == '\x7f'; }

namespace internal {
inline void AppendPiece(std::string& out, std::string_view piece) { out.append(piece); }
inline void AppendPiece(std::string& out, char piece) { out.push_back(piece); }
template <typename Integer>
  requires(std::is_integral_v<Integer> && !std::is_same_v<Integer, char> && !std::is_same_v<Integer, bool>)
void AppendPiece(std::string& out, Integer piece) {
  std::array<char, 24> digits;
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), piece);
  out.append(digits.data(), end);
}
}  // namespace internal

// Appends text, characters and integers (decimal).
template <typename... Pieces>
void Append(std::string& out, const Pieces&... pieces) {
  (internal::AppendPiece(out, pieces), ...);
}
template <typename... Pieces>
std::string Cat(const Pieces&... pieces) {
  std::string out;
  Append(out, pieces...);
  return out;
}

// How many bytes the UTF-8 character at the start of `text` has; 0 if there is none (RFC 3629 section 4).
size_t Utf8CharacterBytes(std::string_view text);

// Where the escaped text will stand.
enum class EscapeFor : uint8_t {
  kLine,
  kField,   // a field among several, separated by ", "
  kHeader,  // a message header, where everything is ASCII (RFC 5322 section 2.2)
};
// Appends `text` so that it stays one printable line without hidden or turned text. Control characters (also
// U+0080 to U+009F), DEL and the backslash become \n, \r, \t, \\ or \xNN. Byte by byte the same happens to
// bytes that are not UTF-8, line and paragraph separators (U+2028, U+2029), characters that change the
// direction of text (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069) and U+FEFF. In a field the
// comma of ", " is escaped too, and in a header everything beyond ASCII. Everything else is unchanged. At
// most `bytes_max` bytes are added; "..." takes the place of the rest.
void AppendEscaped(std::string& out, std::string_view text, size_t bytes_max = 1024,
                   EscapeFor what = EscapeFor::kLine);

}  // namespace bivalve::core
