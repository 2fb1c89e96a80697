#include "net/transfer_encoding.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/text.h"

namespace bivalve::net {
namespace {

constexpr uint8_t kNoValue = 0xff;

constexpr std::array<uint8_t, 256> MakeBase64Values() {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::array<uint8_t, 256> values{};
  values.fill(kNoValue);
  for (size_t i = 0; i < kAlphabet.size(); ++i)
    values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<uint8_t>(i);
  return values;
}
constexpr std::array<uint8_t, 256> kBase64Values = MakeBase64Values();

// Takes the next line, without its line end, from the front of `rest`.
std::string_view TakeLine(std::string_view& rest) {
  const size_t lf = rest.find('\n');
  std::string_view line = rest.substr(0, lf);
  rest.remove_prefix(lf == std::string_view::npos ? rest.size() : lf + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

}  // namespace

size_t TransferDecoder::Decode(std::span<char> room) {
  if (room.size() < kRoomBytesMin) return 0;
  char* const begin = room.data();
  // One step writes less than kRoomBytesMin, so a step may begin only before this address.
  const char* const full = begin + room.size() - kRoomBytesMin + 1;
  switch (encoding_) {
    case TransferEncoding::kIdentity:
      return static_cast<size_t>(DecodeIdentity(begin, room.size()) - begin);
    case TransferEncoding::kBase64:
    case TransferEncoding::kBase64BehindPads:
      return static_cast<size_t>(DecodeBase64(begin, full) - begin);
    case TransferEncoding::kQuotedPrintable:
      return static_cast<size_t>(DecodeQuotedPrintable(begin, full) - begin);
    case TransferEncoding::kUuencode:
      return static_cast<size_t>(DecodeUuencode(begin, full) - begin);
  }
  return 0;
}

char* TransferDecoder::DecodeIdentity(char* out, size_t room_bytes) {
  const size_t bytes = std::min(room_bytes, rest_.size());
  if (bytes > 0) std::memcpy(out, rest_.data(), bytes);
  rest_.remove_prefix(bytes);
  return out + bytes;
}

// Writes the bytes of a group that pads or the end have cut short.
char* TransferDecoder::FlushQuad(char* out) {
  if (quad_characters_ >= 2) *out++ = static_cast<char>(quad_ >> (6 * quad_characters_ - 8));
  if (quad_characters_ == 3) *out++ = static_cast<char>(quad_ >> 2);
  quad_ = quad_characters_ = pads_ = 0;
  return out;
}

char* TransferDecoder::DecodeBase64(char* out, const char* full) {
  size_t at = 0;
  for (; at < rest_.size() && out < full; ++at) {
    const char c = rest_[at];
    if (c == '=') {
      if (encoding_ == TransferEncoding::kBase64BehindPads) {
        out = FlushQuad(out);
        continue;
      }
      // The group is complete if it has as many pads as it needs. Other pads, at the front or in the middle,
      // are skipped.
      if (quad_characters_ < 2 || quad_characters_ + ++pads_ < 4) continue;
      rest_ = {};
      return FlushQuad(out);
    }
    const uint8_t value = kBase64Values[static_cast<unsigned char>(c)];
    if (value == kNoValue) continue;
    pads_ = 0;
    quad_ = quad_ << 6 | value;
    if (++quad_characters_ < 4) continue;
    *out++ = static_cast<char>(quad_ >> 16);
    *out++ = static_cast<char>(quad_ >> 8);
    *out++ = static_cast<char>(quad_);
    quad_ = quad_characters_ = 0;
  }
  rest_.remove_prefix(at);
  return rest_.empty() && out < full ? FlushQuad(out) : out;
}

char* TransferDecoder::DecodeQuotedPrintable(char* out, const char* full) {
  while (!rest_.empty() && out < full) {
    if (rest_.front() != '=') {
      const auto room_bytes = static_cast<size_t>(full - out);
      const size_t bytes = std::min({rest_.find('='), rest_.size(), room_bytes});
      std::memcpy(out, rest_.data(), bytes);
      out += bytes;
      rest_.remove_prefix(bytes);
      continue;
    }
    // A soft line break, also with blanks before the line end.
    const size_t behind = std::min(rest_.find_first_not_of(" \t", 1), rest_.size());
    if (behind == rest_.size() || rest_[behind] == '\n' || rest_[behind] == '\r') {
      const size_t lf = rest_.find('\n', behind);
      rest_.remove_prefix(lf == std::string_view::npos ? rest_.size() : lf + 1);
      continue;
    }
    const int high = rest_.size() > 2 ? core::HexValue(rest_[1]) : -1;
    const int low = rest_.size() > 2 ? core::HexValue(rest_[2]) : -1;
    if (high >= 0 && low >= 0) {
      *out++ = static_cast<char>(high << 4 | low);
      rest_.remove_prefix(3);
    } else {
      *out++ = '=';
      rest_.remove_prefix(rest_.starts_with("==") ? 2 : 1);
    }
  }
  return out;
}

char* TransferDecoder::DecodeUuencode(char* out, const char* full) {
  const auto value = [](char c) { return (static_cast<unsigned>(c) - 32U) & 63U; };
  while (!rest_.empty() && out < full) {
    const std::string_view line = TakeLine(rest_);
    if (line == "end") {
      rest_ = {};
      break;
    }
    if (line.empty()) continue;
    const size_t bytes = value(line.front());
    for (size_t i = 0; i < bytes; ++i) {
      // Byte i is in the characters i/3*4 + i%3 and the next one.
      const size_t first = 1 + i / 3 * 4 + i % 3;
      const unsigned one = first < line.size() ? value(line[first]) : 0;
      const unsigned two = first + 1 < line.size() ? value(line[first + 1]) : 0;
      const unsigned shift = 2 * static_cast<unsigned>(i % 3) + 2;
      *out++ = static_cast<char>(one << shift | two >> (6 - shift));
    }
  }
  return out;
}

}  // namespace bivalve::net
