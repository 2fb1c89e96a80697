#include "core/text.h"

#include <algorithm>

namespace bivalve::core {
namespace {

constexpr std::string_view kEllipsis = "...";

constexpr bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

// The control characters of ISO 8859-1 as UTF-8 writes them: 0xc2 and 0x80 to 0x9f. Some terminals obey them.
constexpr bool IsControlPair(char first, char second) {
  return first == '\xc2' && (static_cast<unsigned char>(second) & 0xe0) == 0x80;
}

// The same as they stand in ISO 8859-1 itself. Other bytes that are no UTF-8 pass, as with clamsmtpd.
constexpr bool IsControlByte(char c) { return (static_cast<unsigned char>(c) & 0xe0) == 0x80; }

std::string_view Hex(char c, std::array<char, 4>& room) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(c);
  room = {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 0x0f]};
  return {room.data(), room.size()};
}

// How `c` is written into `room`, which holds four bytes; the result borrows from it.
std::string_view EscapedByte(char c, std::array<char, 4>& room) {
  const auto byte = static_cast<unsigned char>(c);
  switch (c) {
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
  if (byte >= 0x20 && byte != 0x7f) {
    room[0] = c;
    return {room.data(), 1};
  }
  return Hex(c, room);
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

void AppendEscaped(std::string& out, std::string_view text, size_t bytes_max) {
  const size_t start = out.size();
  const size_t ellipsis_bytes = std::min(kEllipsis.size(), bytes_max);
  // Where the ellipsis goes should the rest not fit: no escape and no UTF-8 character is cut.
  size_t cut = start;
  std::array<char, 4> room;
  size_t character_end = 0;  // of the UTF-8 character that `i` is in
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t added = out.size() - start;
    // More continuation bytes than UTF-8 has are no character, so they may be cut anywhere.
    const bool inside_character = IsContinuation(text[i]) && out.size() - cut < 4;
    if (added + ellipsis_bytes <= bytes_max && !inside_character) cut = out.size();
    bool alone = false;
    if (i >= character_end) {
      const size_t bytes = Utf8CharacterBytes(text.substr(i));
      alone = bytes == 0;
      character_end = i + std::max<size_t>(bytes, 1);
    }
    const bool control = (alone && IsControlByte(text[i])) ||
                         (i + 1 < text.size() && IsControlPair(text[i], text[i + 1])) ||
                         (i > 0 && IsControlPair(text[i - 1], text[i]));
    const std::string_view piece = control ? Hex(text[i], room) : EscapedByte(text[i], room);
    if (added + piece.size() > bytes_max) {
      out.resize(cut);
      out.append(kEllipsis.substr(0, ellipsis_bytes));
      return;
    }
    out.append(piece);
  }
}

std::string Base64(std::string_view bytes) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) {
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (size_t k = 0; k < 4; ++k) {
      out += i + k <= bytes.size() ? kDigits[group >> (18 - 6 * k) & 63] : '=';
    }
  }
  return out;
}

}  // namespace bivalve::core
