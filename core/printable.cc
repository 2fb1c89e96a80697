#include "core/printable.h"

#include <cstdio>

namespace bivalve::core {
namespace {

// Characters that cannot be seen and change what is seen: direction, joining, line and paragraph ends, tags.
constexpr std::array kInvisible = {Range{0x00ad, 0x00ad}, Range{0x061c, 0x061c}, Range{0x180e, 0x180e},
                                   Range{0x200b, 0x200f}, Range{0x2028, 0x202e}, Range{0x2060, 0x206f},
                                   Range{0xfeff, 0xfeff}, Range{0xfff0, 0xfffb}, Range{0xe0000, 0xe0fff}};

}  // namespace

Utf8Character Decode(std::string_view text) {
  const auto byte = [&text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {.code = first, .bytes = 1, .valid = true};
  size_t bytes = 0;
  uint32_t code = 0;
  uint32_t least = 0;
  if (first >= 0xc2 && first < 0xe0) bytes = 2, code = first & 0x1f, least = 0x80;
  if (first >= 0xe0 && first < 0xf0) bytes = 3, code = first & 0x0f, least = 0x800;
  if (first >= 0xf0 && first < 0xf5) bytes = 4, code = first & 0x07, least = 0x10000;
  if (bytes == 0 || text.size() < bytes) return {};
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3f);
  }
  if (code < least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return {};
  return {.code = code, .bytes = bytes, .valid = true};
}

std::string Shown(const Utf8Character& c, std::string_view bytes) {
  char text[16];
  if (!c.valid || c.code < 0x20 || c.code == 0x7f) {
    std::snprintf(text, sizeof(text), "\\x%02x", static_cast<unsigned char>(bytes.front()));
    return text;
  }
  if (c.code == '\\') return "\\\\";
  if ((c.code >= 0x80 && c.code < 0xa0) || IsIn(kInvisible, c.code)) {
    std::snprintf(text, sizeof(text), "\\u{%x}", c.code);
    return text;
  }
  return std::string(bytes);
}

std::string Printable(std::string_view text, size_t characters_max) {
  std::string out;
  for (size_t count = 0; !text.empty(); ++count) {
    if (count == characters_max) return out + "...";
    const Utf8Character c = Decode(text);
    out += Shown(c, text.substr(0, c.bytes));
    text.remove_prefix(c.bytes);
  }
  return out;
}

}  // namespace bivalve::core
