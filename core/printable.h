// Text from strangers made harmless for whoever looks at it: what a terminal would obey, and what hides or
// turns other text, is written out. For what people read; the log has AppendEscaped (text.h).
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
  bool valid = false;  // else it is one byte that begins no character
};
// The first character of `text`, which is not empty (RFC 3629: shortest form, no surrogates).
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

// How `c`, whose bytes are `bytes`, is shown: control characters and bytes that are no UTF-8 as \xNN, from
// U+0080 on and invisible ones as \u{N}, a backslash as two; everything else as it is.
std::string Shown(const Utf8Character& c, std::string_view bytes);

// One printable line, whatever `text` holds. No two texts of UTF-8 are shown alike. Cut behind
// `characters_max` characters, "..." in place of the rest.
std::string Printable(std::string_view text, size_t characters_max = std::string_view::npos);

}  // namespace bivalve::core
