#include "net/part_headers.h"

#include <gtest/gtest.h>

#include <string>

namespace bivalve::net {
namespace {

constexpr std::string_view kTop = "From: a\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n";

// What a scanner is shown of `content`; "unreadable" when it cannot be.
std::string Edited(std::string content, size_t header_bytes = kTop.size() - 2) {
  const PartHeaders parts = ExaminePartHeaders(content, header_bytes);
  if (parts.unreadable) return "unreadable";
  for (const core::Body::Edit& edit : parts.edits)
    content.replace(edit.offset, edit.bytes.size(), edit.bytes);
  return content;
}

std::string Mail(std::string_view part) {
  return std::string(kTop) + "--B\r\n" + std::string(part) + "--B--\r\n";
}

TEST(PartHeaders, LeavesWellFormedOnesAlone) {
  for (const std::string_view part :
       {"\r\nbody\r\n", "A: b\r\n folded\r\n\r\nX\r\n-\r\n- \r\n-- \r\nAda\r\n", "A: b\n\nX\n", ""}) {
    EXPECT_EQ(Edited(Mail(part)), Mail(part));
  }
  EXPECT_EQ(Edited(""), "");
  EXPECT_EQ(Edited("--"), "--");
  EXPECT_EQ(Edited("--B"), "--B");
}

TEST(PartHeaders, LooksForPartsOnlyWhereSomethingHasParts) {
  const std::string part = "--B\r\nA: b\r\nYmFzZTY0\r\n--B--\r\n";
  const std::string plain = "From: a\r\nContent-Type: text/plain\r\n";
  EXPECT_EQ(Edited(plain + "\r\n" + part, plain.size()), plain + "\r\n" + part);
  // A line that is no field may be the end, and what is behind it may name them.
  const std::string faulty = plain + "x\r\nContent-Type: multipart/mixed\r\n\r\n";
  EXPECT_NE(Edited(faulty + part, plain.size()), faulty + part);
  EXPECT_NE(Edited(std::string(kTop) + part), std::string(kTop) + part);
}

TEST(PartHeaders, MakesABlankLineBeforeTheFirstLineThatIsNoField) {
  EXPECT_EQ(Edited(Mail("A: b\r\nYmFzZTY0\r\n")), Mail("A: b\n\nYmFzZTY0\r\n"));
  EXPECT_EQ(Edited(Mail("begin 644 a\r\n")), std::string(kTop) + "--B\n\nbegin 644 a\r\n--B--\r\n");
  EXPECT_EQ(Edited(Mail("A: b\r\n \r\nYmFzZTY0\r\n")), Mail("A: b\n\n \r\nYmFzZTY0\r\n"));
  EXPECT_EQ(Edited(Mail("A: b\n\tc\n \nYmFz\n")), Mail("A: b\n\tc\n\n\nYmFz\n"));
  EXPECT_EQ(Edited(Mail("A:b\nC: d\nYmFz\n")), Mail("A:b\nC:d\n\nYmFz\n"));
  EXPECT_EQ(Edited(Mail("A:b\nYmFz\n")), "unreadable") << "there is no byte to spare";
}

// libclamav knows mail by some fields, and an unknown one hides that it is mail.
TEST(PartHeaders, BeginsMessagesInsidePartsWithAFieldThatScannersKnow) {
  const auto inside = [](std::string_view message) {
    return Mail("Content-Type: message/rfc822\r\n\r\n" + std::string(message) + "\r\n\r\nbody\r\n");
  };
  for (const std::string_view message :
       {"From: a", "Received: b", "Content-Type: text/plain", "Subject: c"}) {
    EXPECT_EQ(Edited(inside(message)), inside(message));
  }
  EXPECT_EQ(Edited(inside("X-Foo: bar\r\nFrom: a")), inside("From: xxxx\r\nFrom: a"));
  EXPECT_EQ(Edited(inside("A: b\r\nC: d\r\nE: f")), inside("From: xxxx\r\nE: f"));
  EXPECT_EQ(Edited(inside("A: b\nC: d\nE: f")), inside("From: xxx\nE: f")) << "bare line feeds";
  EXPECT_EQ(Edited(inside("content-type: a/b\r\nX: y")), inside("Content-Type: a/b\r\nX: y"));
  EXPECT_EQ(Edited(inside("A: b\r\nContent-Type: a/b")), "unreadable");
}

TEST(PartHeaders, LooksIntoMessagesInsideParts) {
  EXPECT_EQ(Edited(Mail("Content-Type: Message/RFC822\r\n\r\nTo: b\r\nYmFz\r\n")),
            Mail("Content-Type: Message/RFC822\r\n\r\nTo: b\n\nYmFz\r\n"));
  const std::string_view top = "Content-Type: message/rfc822\r\n";
  EXPECT_EQ(
      Edited(std::string(top) + "\r\nContent-Type: message/rfc822\r\n\r\nTo: b\r\nYmFz\r\n", top.size()),
      std::string(top) + "\r\nContent-Type: message/rfc822\r\n\r\nTo: b\n\nYmFz\r\n");
}

TEST(PartHeaders, MendsAllOfThem) {
  std::string content(kTop);
  std::string expected(kTop);
  for (int i = 0; i < 1000; ++i) {
    content += "--B\r\nA: b\r\nYmFz\r\n";
    expected += "--B\r\nA: b\n\nYmFz\r\n";
  }
  EXPECT_EQ(Edited(content), expected);
  for (size_t i = 1000; i < kPartEditsMax; ++i) content += "--B\r\nA: b\r\nYmFz\r\n";
  EXPECT_NE(Edited(content), "unreadable");
  content += "--B\r\nA: b\r\nYmFz\r\n";
  EXPECT_EQ(Edited(content), "unreadable");
}

}  // namespace
}  // namespace bivalve::net
