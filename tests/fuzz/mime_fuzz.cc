// The parts of a message. For any message they lie within it, are in order and not repeated, are limited in
// number, and are decoded to the same bytes with any size of room.
#include <string>
#include <vector>

#include "net/line_survey.h"
#include "net/mime_parts.h"
#include "net/plain_mime.h"
#include "net/transfer_encoding.h"
#include "tests/fuzz/fuzz.h"

using namespace bivalve;

namespace {

std::string Decoded(net::TransferEncoding encoding, std::string_view encoded, size_t room_bytes) {
  net::TransferDecoder decoder(encoding, encoded);
  std::vector<char> room(room_bytes);
  std::string decoded;
  while (const size_t bytes = decoder.Decode(room)) {
    BV_CHECK(bytes <= room_bytes);
    decoded.append(room.data(), bytes);
  }
  return decoded;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view content(reinterpret_cast<const char*>(data), size);
  (void)net::IsPlainMime(content, net::SurveyLines(content));
  const net::MimeParts found = net::FindMimeParts(content);
  BV_CHECK(found.parts.size() <= net::kMimePartsMax + 1);
  for (size_t i = 0; i < found.parts.size(); ++i) {
    const net::MimePart& part = found.parts[i];
    BV_CHECK(part.begin < part.end && part.end <= size);
    BV_CHECK(i == 0 || found.parts[i - 1] < part);
    const std::string_view encoded = content.substr(part.begin, part.end - part.begin);
    BV_CHECK(Decoded(part.encoding, encoded, 4096) ==
             Decoded(part.encoding, encoded, net::TransferDecoder::kRoomBytesMin));
  }
  return 0;
}
