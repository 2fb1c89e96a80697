#include "net/plain_mime.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "core/text.h"

namespace bivalve::net {
namespace {

bool IsPlain(std::string_view content) { return IsPlainMime(content, SurveyLines(content)); }

std::string Mail(std::string_view fields, std::string_view body) {
  return "From: Ada <a@example.com>\r\nReceived: from a by b\r\n\tfor c\r\n" + std::string(fields) + "\r\n" +
         std::string(body);
}
std::string Multipart(std::string_view body) {
  return Mail("Content-Type: multipart/mixed;\r\n boundary=\"=_B\"\r\n", body);
}
std::string Part(std::string_view fields, std::string_view body) {
  return Multipart("preamble\r\n--=_B\r\n" + std::string(fields) + "\r\n" + std::string(body) +
                   "--=_B--\r\n");
}
constexpr std::string_view kBase64 =
    "Content-Type: application/pdf; name=\"a (1).pdf\"\r\nContent-Transfer-Encoding: base64\r\n"
    "Content-Disposition: attachment; filename*=UTF-8''%e2%82%ac.pdf\r\n";

TEST(PlainMime, MostMailIs) {
  for (const std::string& mail :
       {Mail("", "hello\r\n"), Mail("", ""), std::string("A: b\r\n"), std::string(),
        Mail("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n",
             "hell\xc3\xb6\r\n- (x)\r\n"),
        Mail("Content-Type: text/html; charset=\"utf-8\"\r\nContent-Transfer-Encoding: Quoted-Printable\r\n",
             "<p>a=3Db=\r\nc\r\n"),
        Mail(kBase64, "AAAA\r\nAAA=\r\n"), Mail(kBase64, "AAAA\nAA==\n\n"),
        Mail(kBase64, std::string(76, 'A') + "\r\nAA\r\nAA\r\n"),
        Part("Content-Type: text/plain\r\n", "hello\r\n-- \r\nAda\r\n--\r\n(x)\r\n"),
        Part(kBase64, "AAAA\r\n"), Part("Content-Type: text/plain\r\n", ""),
        Multipart("--=_B\r\nContent-Type: multipart/alternative; "
                  "boundary=inner\r\n\r\n--inner\r\nContent-Type: text/plain\r\n\r\n"
                  "a\r\n--inner\r\nContent-Type: text/html\r\n\r\nb\r\n--inner--\r\n\r\n--=_B\r\n" +
                  std::string(kBase64) + "\r\nAAAA\r\n\r\n--=_B--\r\nepilogue\r\n")}) {
    EXPECT_TRUE(IsPlain(mail)) << mail;
  }
  EXPECT_TRUE(
      IsPlain(Mail("Content-Type: multipart/mixed; boundary=\"----=_Part_1.2\"\r\n",
                   "------=_Part_1.2\r\nContent-Type: text/plain\r\n\r\nx\r\n------=_Part_1.2--\r\n")));
}

TEST(PlainMime, AFieldThatReadersMayTakeForAnotherIsNot) {
  for (const std::string_view fields :
       {"Content-Type: text/plain;\r\n",
        "Content-Type: text\r\n",
        "Content-Type:\r\n",
        "Content-Type: text/plain; a=\"b\r\n",
        "Content-Type: text/plain; a=\"b\\\"c\"\r\n",
        "Content-Type: text/plain (comment)\r\n",
        "Content-Type: text/plain; a = b\r\n",
        "Content-Type: text/plain; a=b c\r\n",
        "Content-Type: text/plain\r\nContent-Type: text/html\r\n",
        "Content-Type : text/plain\r\n",
        "Content-Type(x): text/plain\r\n",
        "Content-Type: message/global\r\n",
        "Content-Type: messge/x\r\n",
        "Content-Type: multipartx/x\r\n",
        "Content-Type: font/woff\r\n",
        "Content-Type: multipart/mixed; boundary=b'\r\n",
        "Content-Type: multipart/signed; boundary=b\r\n",
        "Content-Type: multipart/mixed\r\n",
        "Content-Type: multipart/mixed; boundary=\"a b\"\r\n",
        "Content-Type: multipart/mixed; boundary=a:b\r\n",
        "Content-Type: multipart/mixed; boundary=a=b\r\n",
        "Content-Type: multipart/mixed; boundary=nowhere\r\n",
        "Content-Type: multipart/mixed; boundary=\"=?utf-8?q?b?=\"\r\n",
        "Content-Type: multipart/mixed; boundary*0=a\r\n",
        "Content-Type: multipart/mixed; boundaryx=a; boundary=b\r\n",
        "Content-Type: multipart/mixed; boundary=a; boundary=b\r\n",
        "Content-Type: multipart/mixed; a=\"x; boundary=c\"; boundary=b\r\n",
        "Content-Type: multipart/mixed; boundary=\"\"\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n",
        "Content-Transfer-Encoding: x-uuencode\r\n",
        "Content-Transfer-Encoding: binary\r\n",
        "Content-Transfer-Encoding: base64 x\r\n",
        "Content-Transfer-Encoding:\r\n",
        "Content-Transfer-Encoding: \"base64\"\r\n",
        "Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n",
        "Content-Disposition: attachment; filename=a b\r\n",
        "Content-Disposition: attachment;\r\n",
        "Content-Disposition: form-data; name=a\r\n",
        "X: y\r\n \r\n",
        "x\r\n",
        ": y\r\n",
        " y\r\n\t\r\n",
        "X-\xe9: y\r\n",
        "X y: z\r\n"}) {
    EXPECT_FALSE(IsPlain(Mail(fields, "hello\r\n"))) << fields;
    EXPECT_FALSE(IsPlain(Part(fields, "hello\r\n"))) << fields;
  }
}

// The message also has the boundary's delimiters, so that only the boundary itself is the reason.
TEST(PlainMime, ABoundaryHasOnlyBytesThatAllReadersTakeAlike) {
  const auto with = [](std::string_view boundary, std::string_view value) {
    const std::string line = "--" + std::string(boundary);
    return Mail("Content-Type: multipart/mixed; boundary=" + std::string(value) + "\r\n",
                line + "\r\nContent-Type: text/plain\r\n\r\nhello\r\n" + line + "--\r\n");
  };
  EXPECT_TRUE(IsPlain(with("b", "b")));
  EXPECT_TRUE(IsPlain(with("b=", "\"b=\"")));
  EXPECT_FALSE(IsPlain(with("a b", "\"a b\"")));
  EXPECT_FALSE(IsPlain(with("a:b", "a:b")));
  EXPECT_FALSE(IsPlain(with("a=b", "a=b")));
}

// libclamav changes the line ends of such a file, and thereby its hash.
TEST(PlainMime, AFileIsEncodedInBase64) {
  for (const std::string_view type :
       {"Content-Type: application/pdf\r\n", "Content-Type: text/plain; name=x\r\n",
        "Content-Disposition: attachment\r\n", "Content-Disposition: inline; filename=x\r\n",
        "Content-Type: text/calendar\r\n"}) {
    for (const std::string_view encoding :
         {"", "Content-Transfer-Encoding: 7bit\r\n", "Content-Transfer-Encoding: quoted-printable\r\n"})
      EXPECT_FALSE(IsPlain(Mail(std::string(type) + std::string(encoding), "hello\r\n"))) << type << encoding;
    EXPECT_TRUE(IsPlain(Mail(std::string(type) + "Content-Transfer-Encoding: base64\r\n", "AAAA\r\n")))
        << type;
  }
  EXPECT_TRUE(IsPlain(Mail("Content-Disposition: inline\r\n", "hello\r\n")));
}

TEST(PlainMime, ABodyThatDecodersMayTakeForAnotherIsNot) {
  for (const std::string_view body : {"=AAA\r\n", "AA==\r\nAAAA\r\n", "AA=A\r\n", "AAA\r\n", "A A A A\r\n",
                                      "AAAA-\r\n", "AAAA=\r\n====\r\n", "AA==\r\nx\r\n", "A=\r\nA=\r\n"}) {
    EXPECT_FALSE(IsPlain(Mail(kBase64, body))) << body;
    EXPECT_FALSE(IsPlain(Part(kBase64, body))) << body;
    // Also behind much correct content.
    EXPECT_FALSE(IsPlain(Mail(kBase64, std::string(64, 'A') + std::string(body)))) << body;
    EXPECT_FALSE(IsPlain(Mail(kBase64, std::string(60, 'A') + "\r\n" + std::string(body)))) << body;
  }
  EXPECT_FALSE(IsPlain(Mail(kBase64, "AA==\r\n" + std::string(256, 'A') + "\r\n")));
  for (const std::string_view body : {"=4a\r\n", "=\r", "= \r\n", "=X\r\n", "a="})
    EXPECT_FALSE(IsPlain(Mail("Content-Transfer-Encoding: quoted-printable\r\n", body))) << body;
  for (const std::string_view body :
       {"Content-Type: a/b\r\n", "filename=x\r\n", "the base64 of it\r\n", "Date: x\r\n"}) {
    EXPECT_FALSE(IsPlain(Mail("Content-Type: text/plain\r\n", body))) << body;
    EXPECT_FALSE(IsPlain(Part("Content-Type: text/plain\r\n", body))) << body;
  }
}

TEST(PlainMime, ADelimiterThatReadersMayTakeForAnotherIsNot) {
  const std::string text = "Content-Type: text/plain\r\n";
  for (const std::string_view line :
       {"--=_B x", "--=_Bx", "--=_b", "-x=_B", "----=_B", "(x)--=_B", "--=_B--x", "--=_B\t", "- =_B"})
    EXPECT_FALSE(IsPlain(Part(text, std::string(line) + "\r\nhello\r\n"))) << line;
  // A part without fields, one without a blank line, and one whose boundary contains another one.
  EXPECT_FALSE(IsPlain(Part("", "hello\r\n")));
  EXPECT_FALSE(IsPlain(Multipart("--=_B\r\n" + text + "--=_B--\r\n--=_B\r\n" + text + "\r\n")));
  const auto nested = [](std::string_view boundary) {
    const std::string inner(boundary);
    return Multipart("--=_B\r\nContent-Type: multipart/mixed; boundary=" + inner + "\r\n\r\n--" + inner +
                     "\r\nContent-Type: text/plain\r\n\r\nx\r\n--" + inner + "--\r\n--=_B--\r\n");
  };
  EXPECT_TRUE(IsPlain(nested("other")));
  for (const std::string_view boundary : {"=_B", "=_b", "=_Bx", "B", "x=_B"})
    EXPECT_FALSE(IsPlain(nested(boundary))) << boundary;
  // The outer multipart's delimiter before the inner one's end.
  EXPECT_FALSE(IsPlain(Multipart("--=_B\r\nContent-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\n" +
                                 text + "\r\nx\r\n--=_B\r\n" + text + "\r\ny\r\n--=_B--\r\n")));
}

TEST(PlainMime, APreambleIsNoHeaderSection) {
  const std::string text = "--=_B\r\nContent-Type: text/plain\r\n\r\nx\r\n--=_B--\r\n";
  EXPECT_TRUE(IsPlain(Multipart("This is a message in MIME.\r\n" + text)));
  EXPECT_FALSE(IsPlain(Multipart("Content-Type: multipart/mixed; boundary=other\r\n" + text)));
}

// A message made of lines that may be delimiters occupies a worker for some milliseconds, not for a second.
TEST(PlainMime, LooksAtSoManyLinesAndNoMore) {
  std::string body;
  while (body.size() < size_t{8} << 20)
    body += "-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
  EXPECT_FALSE(IsPlain(Part("Content-Type: text/plain\r\n", body)));
  EXPECT_TRUE(IsPlain(Part("Content-Type: text/plain\r\n", body.substr(0, size_t{73} * 1000))));
}

// libclamav looks into such a message only if something in it is encoded and it begins as libclamav expects.
TEST(PlainMime, AMessageInAPartIsNot) {
  const std::string type = "Content-Type: message/rfc822\r\n";
  EXPECT_FALSE(IsPlain(Part(type, "From: c\r\n\r\nhello\r\n")));
  EXPECT_FALSE(IsPlain(Part(type, "From: c\r\n" + std::string(kBase64) + "\r\nAAAA\r\n")));
  EXPECT_FALSE(IsPlain(Mail(type, "From: c\r\n\r\nhello\r\n")));
}

TEST(PlainMime, WhatLinesHoldMatters) {
  EXPECT_FALSE(IsPlain(Mail("", "a\rb\r\n")));
  EXPECT_FALSE(IsPlain("\r\nhello\r\n"));
  EXPECT_FALSE(IsPlain(Mail("", "--B\r\n\r\nhello\r\n--B--\r\n")));
  EXPECT_FALSE(IsPlain(Mail("", "begin 644 f\r\n")));
  EXPECT_FALSE(IsPlain(Mail("", "hello\r\ncontent-transfer-encoding: x\r\n")));
  EXPECT_FALSE(IsPlain(Mail("", std::string(1000, 'x') + "\r\n")));
  EXPECT_FALSE(IsPlain(Mail("", std::string("a\0b\r\n", 5))));
}

TEST(PlainMime, ManyContainersAreNot) {
  std::string mail = "From: a\r\n";
  const auto open = [](char name) {
    const std::string boundary(3, name);
    return "Content-Type: multipart/mixed; boundary=" + boundary + "\r\n\r\n--" + boundary + "\r\n";
  };
  for (size_t i = 0; i < kPlainContainersMax; ++i) mail += open(static_cast<char>('a' + i));
  const std::string leaf = std::string(kBase64) + "\r\nAAAA\r\n";
  EXPECT_TRUE(IsPlain(mail + leaf));
  EXPECT_FALSE(IsPlain(mail + open('z') + leaf));
  std::string parts;
  for (size_t i = 0; i <= kPlainPartsMax; ++i) parts += "--=_B\r\nContent-Type: text/plain\r\n\r\nx\r\n";
  EXPECT_FALSE(IsPlain(Multipart(parts)));
}

TEST(PlainMime, StaysWithinAnything) {
  std::mt19937 random(11);
  const std::vector<std::string> pieces = {"Content-Type: multipart/mixed; boundary=B\r\n",
                                           std::string(kBase64),
                                           "From: a\r\n",
                                           "--B\r\n",
                                           "--B--",
                                           "\r\n",
                                           "\n",
                                           "AAAA",
                                           "=",
                                           "\"",
                                           ";",
                                           "x",
                                           ":",
                                           " "};
  size_t plain = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string content;
    for (size_t i = random() % 20; i > 0; --i) content += pieces[random() % pieces.size()];
    plain += IsPlain(content) ? 1 : 0;
  }
  EXPECT_GT(plain, 100u);
}

}  // namespace
}  // namespace bivalve::net
