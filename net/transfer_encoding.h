// Content-Transfer-Encoding (RFC 2045 section 6) and uuencode, decoded like lenient mail programs do: bytes
// that do not belong in the encoding are skipped, and nothing is an error. For scanning, not for the mail
// itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace bivalve::net {

enum class TransferEncoding : uint8_t {
  kIdentity,          // 7bit, 8bit, binary, or none
  kBase64,            // RFC 2045 section 6.8; the first matching pads end it
  kBase64BehindPads,  // the same for programs in which a pad ends only its group
  kQuotedPrintable,   // RFC 2045 section 6.7
  kUuencode,          // the lines between "begin" and "end" (POSIX uuencode)
};

// Decodes one text in pieces. Never suspends, never allocates; no input is an error.
class TransferDecoder {
 public:
  // `encoded` must stay where it is as long as the decoder is used.
  TransferDecoder(TransferEncoding encoding, std::string_view encoded)
      : encoding_(encoding), rest_(encoded) {}

  // A call writes nothing if the room is smaller than this.
  static constexpr size_t kRoomBytesMin = 64;

  // Decodes into `room`. Stops when everything is decoded or less than kRoomBytesMin of the room is left.
  // Returns how many bytes it wrote; 0 with enough room means that everything is decoded.
  size_t Decode(std::span<char> room);

 private:
  char* DecodeIdentity(char* out, size_t room_bytes);
  char* DecodeBase64(char* out, const char* full);
  char* DecodeQuotedPrintable(char* out, const char* full);
  char* DecodeUuencode(char* out, const char* full);
  char* FlushQuad(char* out);

  TransferEncoding encoding_;
  std::string_view rest_;
  // Base64: the characters of a group of four that are not written yet, and the pads behind them.
  uint32_t quad_ = 0;
  unsigned quad_characters_ = 0;
  unsigned pads_ = 0;
};

}  // namespace bivalve::net
