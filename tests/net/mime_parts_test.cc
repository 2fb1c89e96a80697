#include "net/mime_parts.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace bivalve::net {
namespace {

using enum TransferEncoding;

constexpr std::string_view kBase64Field = "Content-Transfer-Encoding: base64\r\n";

std::string Mail(std::string_view type, std::string_view body) {
  return "From: a\r\nContent-Type: " + std::string(type) + "\r\n\r\n" + std::string(body);
}

// Whether one of the parts is exactly `body` in this encoding.
bool Finds(std::string_view content, TransferEncoding encoding, std::string_view body) {
  for (const MimePart& part : FindMimeParts(content).parts) {
    if (part.encoding == encoding && content.substr(part.begin, part.end - part.begin) == body) return true;
  }
  return false;
}

std::string OnePart(std::string_view fields, std::string_view body, std::string_view boundary = "B") {
  const std::string delimiter = "--" + std::string(boundary);
  return delimiter + "\r\n" + std::string(fields) + std::string(body) + "\r\n" + delimiter + "--\r\n";
}

TEST(MimeParts, FindsThoseOfAnOrdinaryMessage) {
  const std::string mail =
      Mail("multipart/mixed; boundary=\"B\"", "--B\r\nContent-Type: text/plain\r\n\r\nhello\r\n--B\r\n" +
                                                  std::string(kBase64Field) + "\r\nAAAA\r\n--B--\r\n");
  EXPECT_EQ(FindMimeParts(mail).parts.size(), 4u) << "with the whole, with its last line end and without";
  EXPECT_TRUE(Finds(mail, kIdentity, "hello"));
  EXPECT_TRUE(Finds(mail, kBase64, "AAAA"));
}

TEST(MimeParts, TakesEachFormOfABoundary) {
  const std::string fields = std::string(kBase64Field) + "\r\n";
  for (const auto& [type, boundary] : std::vector<std::pair<std::string, std::string>>{
           {"multipart/mixed; boundary=a b", "a"},
           {"multipart/mixed; boundary=\"a b\"", "a b"},
           {"multipart/mixed; boundary=\"a\r\n b\"", "a b"},
           {"multipart/mixed; boundary=\"a;b\"", "a;b"},
           {"multipart/mixed; boundary=\"a\\\"b\"", "a\"b"},
           {"multipart/mixed; boundary = \"a\"", "a"},
           {"multipart/mixed; boundary=a(b)c", "a(b)c"},
           {"multipart/mixed; boundary=a(comment)", "a"},
           {"multipart/mixed; boundary*0=a; boundary*1=\"b\"", "ab"},
           {"multipart/mixed; boundary*=us-ascii''a%20b", "a b"},
           {"multipart/mixed; boundary*0*=us-ascii''a%20; boundary*1=b", "a b"},
           {"multipart/mixed; boundary=\"=?utf-8?Q?a?=\"", "=?utf-8?Q?a?="},
           {"multipart/mixed; name=\"x; boundary=no\"; boundary=yes", "yes"},
           {"multipart/mixed; boundary=first; boundary=second", "first"},
           {"multipart/mixed; boundary=first; boundary=second", "second"},
           {"text/plain\r\nContent-Type: multipart/mixed; boundary=a", "a"},
           {"multipart/mixed; boundary=a\r\nContent-Type: text/plain", "a"},
           {"multipart/mixed;\r\n\tboundary=\"a", "a"},
           {"application/x; boundary=a", "a"},
           {"multipart/mixed; boundary=a\"", "a"},
           {"multipart/mixed; boundary=a\\\"", "a"},
           {"multipart/mixed; boundary=<a>", "a"},
           {"multipart/mixed; boundary=(a)", "a"},
           {"multipart/mixed; boundary=a'", "a"},
           {"multipart/mixed; boundary=a*", "a"},
           {"multipart/mixed; boundary=a,", "a"},
           {"multipart/mixed; boundary=\"a\x1f\"", "a"},
           {"text/plain", "a"},
           {"multipart/mixed; boundary=a\"x\"", "a"},
       }) {
    EXPECT_TRUE(Finds(Mail(type, OnePart(fields, "AAAA", boundary)), kBase64, "AAAA")) << type;
  }
}

TEST(MimeParts, EndsHeaderSectionsWhereAnyReaderDoes) {
  const std::string type = "multipart/mixed; boundary=B";
  for (const std::string_view separator : {"\r\n", "\n", "hello\r\n", " \r\n", ":\r\n", "..\r\n"}) {
    const std::string mail = Mail(type, OnePart(std::string(kBase64Field) + std::string(separator), "AAAA"));
    const bool keeps_line = separator == "hello\r\n" || separator == ":\r\n" || separator == "..\r\n";
    EXPECT_TRUE(Finds(mail, kBase64, keeps_line ? std::string(separator) + "AAAA" : "AAAA")) << separator;
  }
  const std::string no_blank_line = Mail(type, OnePart(kBase64Field, "AAAA"));
  EXPECT_TRUE(Finds(no_blank_line, kBase64, "AAAA"));
  // A field behind a line that is not a field.
  const std::string spoiled = Mail(type, OnePart("hello\r\n" + std::string(kBase64Field) + "\r\n", "AAAA"));
  EXPECT_TRUE(Finds(spoiled, kBase64, "AAAA"));
  // Fields with white space, in another case, folded.
  for (const std::string_view field :
       {"content-transfer-encoding:base64\r\n", "Content-Transfer-Encoding : base64\r\n",
        "Content-Transfer-Encoding:\r\n\tBASE64\r\n", "Content-Transfer-Encoding: \"base64\"\r\n",
        "Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n",
        "A: b\r\n \r\nContent-Transfer-Encoding: base64\r\n"})
    EXPECT_TRUE(Finds(Mail(type, OnePart(std::string(field) + "\r\n", "AAAA")), kBase64, "AAAA")) << field;
}

TEST(MimeParts, TakesAWordThatIsNoEncodingForNoneToo) {
  for (const std::string_view field :
       {"base64x", "xbase64", "base64;x", "quoted-printables", "\"base64\"", "BASE64,"}) {
    const std::string mail = "Content-Transfer-Encoding: " + std::string(field) + "\r\n\r\nAAAA\r\n";
    EXPECT_TRUE(Finds(mail, kIdentity, "AAAA\r\n")) << field;
  }
  for (const std::string_view field :
       {"\vContent-Transfer-Encoding: base64", "Content-Transfer-Encoding\r\n\t: base64"})
    EXPECT_TRUE(Finds(std::string(field) + "\r\n\r\nAAAA\r\n", kBase64, "AAAA\r\n")) << field;
  // An entity whose type only resembles a multipart may be a file.
  const std::string similar = Mail("multipartx/x; boundary=B", "file\r\n--B\r\n\r\nx\r\n--B--\r\n");
  EXPECT_TRUE(Finds(similar, kIdentity, similar.substr(similar.find("file"))));
}

TEST(MimeParts, LooksIntoMessages) {
  for (const std::string_view type : {"message/rfc822", "message/news", "message/global"}) {
    const std::string mail = Mail(type, "X: y\r\n" + std::string(kBase64Field) + "\r\nAAAA");
    EXPECT_TRUE(Finds(mail, kBase64, "AAAA")) << type;
  }
  const std::string encoded = "Content-Type: message/rfc822\r\n" + std::string(kBase64Field) + "\r\nAAAA";
  bool is_message = false;
  for (const MimePart& part : FindMimeParts(encoded).parts) is_message = is_message || part.message;
  EXPECT_TRUE(is_message);
}

TEST(MimeParts, KnowsTypesWhosePartsHaveNone) {
  const std::string digest =
      Mail("multipart/digest; boundary=B",
           "--B\r\n\r\nFrom: b\r\n" + std::string(kBase64Field) + "\r\nAAAA\r\n--B--\r\n");
  EXPECT_TRUE(Finds(digest, kBase64, "AAAA"));
  const std::string status =
      Mail("message/delivery-status", "A: b\r\n\r\n" + std::string(kBase64Field) + "AAAA\r\n\r\nC: d\r\n");
  EXPECT_TRUE(Finds(status, kBase64, "AAAA\r\n"));
}

TEST(MimeParts, TakesACarriageReturnForALineEndInAHeaderSection) {
  const std::string mail = "From: a\rContent-Transfer-Encoding: base64\r\n\r\nAA\rAA";
  EXPECT_TRUE(Finds(mail, kBase64, "AA\rAA"));
}

TEST(MimeParts, FindsUuencodeInAnyText) {
  const std::string mail =
      "From: a\r\n\r\nhello\r\nbegin 7 f\r\n#AAAA\r\nend\r\nbegin 644 g\r\n#BBBB\r\nend\r\n";
  EXPECT_TRUE(Finds(mail, kUuencode, "#AAAA\r\nend\r\n"));
  EXPECT_TRUE(Finds(mail, kUuencode, "#BBBB\r\nend\r\n"));
  EXPECT_TRUE(Finds("A: b\r\n\r\nbegin-base64 644 f\r\nAAAA\r\n====\r\n", kBase64, "AAAA\r\n====\r\n"));
}

TEST(MimeParts, GoesOnBehindPadsAndBehindTheEnd) {
  const std::string padded = "From: a\r\n" + std::string(kBase64Field) + "\r\nAA==\r\nAAAA\r\n";
  EXPECT_TRUE(Finds(padded, kBase64, "AA==\r\nAAAA\r\n"));
  EXPECT_TRUE(Finds(padded, kBase64BehindPads, "AA==\r\nAAAA\r\n"));
  const std::string ends = "From: a\r\n" + std::string(kBase64Field) + "\r\nAA==\r\n \r\n=\r\n";
  EXPECT_FALSE(Finds(ends, kBase64BehindPads, "AA==\r\n \r\n=\r\n"));
  const std::string open_end = Mail("multipart/mixed; boundary=B", "--B\r\n\r\none\r\n--B\r\n\r\ntwo\r\n");
  EXPECT_TRUE(Finds(open_end, kIdentity, "one"));
  EXPECT_TRUE(Finds(open_end, kIdentity, "two"));
  EXPECT_TRUE(Finds("\r\n" + std::string(kBase64Field) + "\r\nAAAA\r\n", kBase64, "AAAA\r\n"));
  EXPECT_TRUE(Finds("--A\nC:\nhello\n", kIdentity, "hello\n"));
  EXPECT_TRUE(Finds(open_end, kIdentity, "two\r\n")) << "no delimiter behind it has a line end";
  const std::string epilogue = Mail("multipart/mixed; boundary=B", "--B--\r\n--B\r\n\r\nhello\r\n--B--\r\n");
  EXPECT_TRUE(Finds(epilogue, kIdentity, "hello"));
  const std::string ended = Mail("multipart/mixed; boundary=B", "hello\r\n--B--\r\n");
  EXPECT_TRUE(Finds(ended, kIdentity, "hello\r\n--B--\r\n"));
  EXPECT_TRUE(Finds(ended, kIdentity, "hello\r\n"));
  // For some programs, a line that only begins with the delimiter is a delimiter.
  const std::string longer = Mail("multipart/mixed; boundary=B", "--Bx\r\n\r\nhello\r\n--B--\r\n");
  EXPECT_TRUE(Finds(longer, kIdentity, "hello"));
}

TEST(MimeParts, GivesUpWhatIsMadeToBeCostly) {
  std::string many = Mail("multipart/mixed; boundary=B", "");
  for (size_t i = 0; i < kMimePartsMax + 2; ++i) many += "--B\r\n\r\nx" + std::to_string(i) + "\r\n";
  EXPECT_TRUE(FindMimeParts(many).too_many);
  EXPECT_LE(FindMimeParts(many).parts.size(), kMimePartsMax + 1);

  std::string deep;
  for (int i = 0; i < 200; ++i) deep += "Content-Type: message/rfc822\r\n\r\n";
  EXPECT_TRUE(FindMimeParts(deep).too_many);

  // The same boundary for all of them: each part contains all others.
  std::string loop;
  for (int i = 0; i < 500; ++i) loop += "Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n";
  (void)FindMimeParts(loop);

  std::string boundaries = "Content-Type: multipart/mixed";
  for (int i = 0; i < 60; ++i) boundaries += "; boundary=b" + std::to_string(i);
  EXPECT_TRUE(FindMimeParts(boundaries + "\r\n\r\n").too_many);

  const std::string header = "A: b\r\nX: " + std::string(size_t{1} << 20, 'x') + "\r\n\r\nhello";
  EXPECT_TRUE(FindMimeParts(header).too_many);
  const std::string file = "no field\r\n" + std::string(size_t{1} << 20, 'x');
  EXPECT_FALSE(FindMimeParts(file).too_many);
  EXPECT_TRUE(Finds(file, kIdentity, file));

  std::string dashes = Mail("multipart/mixed; boundary=B", "");
  for (int i = 0; i < 300'000; ++i) dashes += "--x\r\n";
  EXPECT_TRUE(FindMimeParts(dashes).too_many);
}

TEST(MimeParts, StaysWithinAnything) {
  std::mt19937 random(9);
  const std::vector<std::string> pieces = {"Content-Type: multipart/mixed; boundary=B\r\n",
                                           "Content-Type: message/x\r\n",
                                           std::string(kBase64Field),
                                           "--B\r\n",
                                           "--B--",
                                           "\r\n",
                                           "\n",
                                           "\r",
                                           " ",
                                           "=",
                                           "AAAA",
                                           "begin 6 f\n",
                                           "end\n",
                                           "x: ",
                                           ";",
                                           "\"",
                                           "boundary*0=",
                                           std::string(1, '\0')};
  for (int round = 0; round < 3000; ++round) {
    std::string content;
    for (size_t i = random() % 30; i > 0; --i) content += pieces[random() % pieces.size()];
    const MimeParts found = FindMimeParts(content);
    for (size_t i = 0; i < found.parts.size(); ++i) {
      const MimePart& part = found.parts[i];
      ASSERT_LT(part.begin, part.end);
      ASSERT_LE(part.end, content.size());
      if (i > 0) {
        ASSERT_LT(found.parts[i - 1], part) << "none twice";
      }
    }
  }
}

}  // namespace
}  // namespace bivalve::net
