#include "core/text.h"

#include <algorithm>

namespace bivalve::core {
namespace {

constexpr std::string_view kEllipsis = "...";

// Characters of several bytes that a terminal obeys or a reader does not see: the control characters of ISO
// 8859-1, line and paragraph ends, characters that change the direction of text, and the byte order mark.
bool IsHidden(std::string_view character) {
  uint32_t code = static_cast<unsigned char>(character[0]) & (character.size() == 2 ? 0x1f : 0x0f);
  for (const char c : character.substr(1)) code = code << 6 | (static_cast<unsigned char>(c) & 0x3f);
  if (character.size() == 2) return code < 0xa0 || code == 0x061c;
  return character.size() == 3 && ((code >= 0x200e && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
                                   (code >= 0x2066 && code <= 0x2069) || code == 0xfeff);
}

// Room to build an escape in: four bytes for each byte of a character.
using EscapeRoom = std::array<char, 16>;

// The bytes as \xNN, in `room`.
std::string_view Hex(std::string_view bytes, EscapeRoom& room) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  size_t size = 0;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    for (const char out : {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 0x0f]}) room[size++] = out;
  }
  return {room.data(), size};
}

// How `character` is written: a UTF-8 character, or a byte that does not begin one. The result borrows from
// it or `room`.
std::string_view EscapedCharacter(std::string_view character, bool valid, EscapeRoom& room) {
  switch (character[0]) {
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    case '\\':
      return "\\\\";
    default:
      break;
  }
  const auto byte = static_cast<unsigned char>(character[0]);
  const bool control = byte < 0x20 || byte == 0x7f;
  const bool hidden = !valid || control || (character.size() > 1 && IsHidden(character));
  return hidden ? Hex(character, room) : character;
}

}  // namespace

size_t Utf8CharacterBytes(std::string_view text) {
  const auto byte = [text](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : static_cast<unsigned char>(0);
  };
  const auto within = [](unsigned char c, unsigned char first, unsigned char last) {
    return c >= first && c <= last;
  };
  const auto tail = [&](size_t i) { return within(byte(i), 0x80, 0xbf); };
  if (text.empty()) return 0;
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  if (within(lead, 0xc2, 0xdf)) return tail(1) ? 2 : 0;
  if (within(lead, 0xe0, 0xef)) {
    const bool second = lead == 0xe0   ? within(byte(1), 0xa0, 0xbf)
                        : lead == 0xed ? within(byte(1), 0x80, 0x9f)
                                       : tail(1);
    return second && tail(2) ? 3 : 0;
  }
  if (within(lead, 0xf0, 0xf4)) {
    const bool second = lead == 0xf0   ? within(byte(1), 0x90, 0xbf)
                        : lead == 0xf4 ? within(byte(1), 0x80, 0x8f)
                                       : tail(1);
    return second && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

void AppendEscaped(std::string& out, std::string_view text, size_t bytes_max, EscapeFor what) {
  const size_t start = out.size();
  const size_t ellipsis_bytes = std::min(kEllipsis.size(), bytes_max);
  // Where the ellipsis goes if the rest does not fit: no escape and no UTF-8 character is cut.
  size_t cut = start;
  EscapeRoom room;
  while (!text.empty()) {
    const size_t added = out.size() - start;
    if (added + ellipsis_bytes <= bytes_max) cut = out.size();
    const size_t bytes = Utf8CharacterBytes(text);
    const std::string_view character = text.substr(0, std::max<size_t>(bytes, 1));
    const bool excluded =
        (what == EscapeFor::kField && text.starts_with(", ")) || (what == EscapeFor::kHeader && bytes > 1);
    const std::string_view piece =
        excluded ? Hex(character, room) : EscapedCharacter(character, bytes > 0, room);
    if (added + piece.size() > bytes_max) {
      out.resize(cut);
      out.append(kEllipsis.substr(0, ellipsis_bytes));
      return;
    }
    out.append(piece);
    text.remove_prefix(character.size());
  }
}

}  // namespace bivalve::core
