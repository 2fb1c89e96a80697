#include "net/transfer_encoding.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"

namespace bivalve::net {
namespace {

using enum TransferEncoding;

// Decodes with rooms of `room_bytes`.
std::string Decoded(TransferEncoding encoding, std::string_view encoded, size_t room_bytes = 4096) {
  TransferDecoder decoder(encoding, encoded);
  std::string decoded;
  std::vector<char> room(room_bytes);
  while (const size_t bytes = decoder.Decode(room)) decoded.append(room.data(), bytes);
  return decoded;
}

TEST(TransferDecoder, DecodesBase64) {
  EXPECT_EQ(Decoded(kBase64, "SGVsbG8="), "Hello");
  EXPECT_EQ(Decoded(kBase64, "SGVs\r\nbG8h\r\n"), "Hello!");
  EXPECT_EQ(Decoded(kBase64, "SGVsbG8hIQ==\r\n"), "Hello!!");
}

TEST(TransferDecoder, PassesOverWhatIsNotBase64) {
  EXPECT_EQ(Decoded(kBase64, "==S(G)-V_s.=b\r\nG8=\r\n"), "Hello") << "pads in front and in the middle";
  EXPECT_EQ(Decoded(kBase64, "S\nG\nV\ns\nb\nG\n8"), "Hello") << "no pads at all";
  EXPECT_EQ(Decoded(kBase64, "SGVsbG8=SGVs"), "Hello") << "the pads that fit are the end";
  EXPECT_EQ(Decoded(kBase64BehindPads, "SGVsbG8=SGVs"), "HelloHel");
  EXPECT_EQ(Decoded(kBase64, "YQ==YQ=="), "a");
  EXPECT_EQ(Decoded(kBase64BehindPads, "SGVsx=bG8h"), "Hello!") << "a group of one says nothing";
  EXPECT_EQ(Decoded(kBase64, "SGVsb"), "Hel") << "a character alone says nothing";
}

TEST(TransferDecoder, DecodesQuotedPrintable) {
  EXPECT_EQ(Decoded(kQuotedPrintable, "a=3D=\r\nb=\nc\r\n=4a"), "a=bc\r\nJ");
  EXPECT_EQ(Decoded(kQuotedPrintable, "a= \t\r\nb"), "ab") << "blanks behind a soft line break";
  EXPECT_EQ(Decoded(kQuotedPrintable, "=XY==41="), "=XY=41");
}

TEST(TransferDecoder, DecodesUuencode) {
  EXPECT_EQ(Decoded(kUuencode, "%2&5L;&\\\r\n`\r\nend\r\n%2&5L;&\\\r\n"), "Hello");
  EXPECT_EQ(Decoded(kUuencode, "#2&5L\n\n#;&\\A\nend\n"), "Hello!");
  EXPECT_EQ(Decoded(kUuencode, "#2&5"), std::string("He@")) << "a line that is cut short has zeros";
}

TEST(TransferDecoder, TakesAnyBytesThroughAnyRoom) {
  std::mt19937 random(7);
  const std::string pieces = "=AB4a\r\n -\0\"~#";
  for (int round = 0; round < 300; ++round) {
    std::string encoded;
    for (size_t i = random() % 600; i > 0; --i) encoded += pieces[random() % pieces.size()];
    for (const TransferEncoding encoding :
         {kIdentity, kBase64, kBase64BehindPads, kQuotedPrintable, kUuencode}) {
      const std::string whole = Decoded(encoding, encoded);
      EXPECT_LE(whole.size(), encoded.size() * 63);
      for (const size_t room : {TransferDecoder::kRoomBytesMin, size_t{65}, size_t{100}})
        ASSERT_EQ(Decoded(encoding, encoded, room), whole) << absl::Base64Escape(encoded);
    }
  }
}

TEST(TransferDecoder, IsTheWayBackOfAnEncoder) {
  std::mt19937 random(8);
  for (size_t bytes = 0; bytes < 200; ++bytes) {
    std::string data;
    for (size_t i = 0; i < bytes; ++i) data += static_cast<char>(random());
    EXPECT_EQ(Decoded(kBase64, absl::Base64Escape(data)), data);
    EXPECT_EQ(Decoded(kIdentity, data), data);
  }
}

}  // namespace
}  // namespace bivalve::net
