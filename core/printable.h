// Text from strangers made safe to look at: anything that controls a terminal, and anything that hides or
// turns other text, is written as an escape. For output that people read; the log has AppendEscaped (text.h).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace bivalve::core {

struct Utf8Character {
  uint32_t code = 0;
  size_t bytes = 1;
  bool valid = false;  // false: one byte that does not begin a character
};
// The first character of `text`, which must not be empty (RFC 3629: shortest form, no surrogates).
Utf8Character Decode(std::string_view text);

// Characters by number, both ends included.
struct Range {
  uint32_t first;
  uint32_t last;
};
template <size_t kSize>
bool IsIn(const std::array<Range, kSize>& ranges, uint32_t code) {
  return std::ranges::any_of(ranges, [code](Range r) { return code >= r.first && code <= r.last; });
}

// How `c`, whose bytes are `bytes`, is shown. Control characters and bytes that are not UTF-8 become \xNN;
// from U+0080 on, control characters and invisible ones become \u{N}; a backslash becomes two. Everything
// else is unchanged.
std::string Shown(const Utf8Character& c, std::string_view bytes);

// One printable line, whatever `text` holds. Two different UTF-8 texts are never shown alike. After
// `characters_max` characters the text is cut, and "..." takes the place of the rest.
std::string Printable(std::string_view text, size_t characters_max = std::string_view::npos);

}  // namespace bivalve::core
