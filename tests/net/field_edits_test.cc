#include "net/field_edits.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace bivalve::net {
namespace {

std::string Applied(std::string content, const std::vector<core::Body::Edit>& edits) {
  for (const core::Body::Edit& edit : edits) {
    EXPECT_LE(edit.offset + edit.bytes.size(), content.size());
    content.replace(edit.offset, edit.bytes.size(), edit.bytes);
  }
  return content;
}

std::string Edited(std::string_view content) {
  std::vector<core::Body::Edit> edits;
  EditFields(content, 0, HeaderSectionEnd(content, 0, 1 << 16), edits);
  return Applied(std::string(content), edits);
}

std::string Folded(std::string_view content) {
  std::vector<core::Body::Edit> edits;
  EditFolds(content, 0, HeaderSectionEnd(content, 0, 1 << 16), edits);
  return Applied(std::string(content), edits);
}

TEST(HeaderSectionEnd, IsTheFirstEmptyLine) {
  EXPECT_EQ(HeaderSectionEnd("A: b\r\n\r\nc", 0, 100), 6u);
  EXPECT_EQ(HeaderSectionEnd("A: b\n\nc", 0, 100), 5u);
  EXPECT_EQ(HeaderSectionEnd("A: b\r\n \r\nc", 0, 100), 10u);
  EXPECT_EQ(HeaderSectionEnd("xxA: b\r\n\r\nc", 2, 100), 8u);
  EXPECT_EQ(HeaderSectionEnd("A: b\r\n\r\nc", 0, 3), 6u);
  EXPECT_EQ(HeaderSectionEnd("", 0, 3), 0u);
}

TEST(EditFields, LeavesOrdinaryFieldsAlone) {
  for (const std::string_view header :
       {"From: a;\r\nSubject: \"x\r\n\r\n", "Content-Type: text/plain;\r\n charset=\"x\"\r\n\r\nbody;\r\n",
        "Content-Type: multipart/mixed; boundary=\"B\"\r\n\r\n", "Content-Type: message/rfc822\r\n\r\n",
        "Content-Type: multipart/alternative\r\n\r\n", "X-Content-Type: a;\r\n\r\n", "Content-Type\r\n\r\n",
        "Content-Transfer-Encoding: base64\r\n\r\nWDV=\r\n", "Content-Transfer-Encoding: 7bit\r\n\r\n=x\r\n",
        ""})
    EXPECT_EQ(Edited(header), header);
}

TEST(EditFields, TakesASemicolonAtTheEndOff) {
  EXPECT_EQ(Edited("Content-Disposition: a; filename=x;\r\n\r\nb"),
            "Content-Disposition: a; filename=x \r\n\r\nb");
  EXPECT_EQ(Edited("content-type : a/b ; \t\r\r\nX: y\r\n"), "content-type : a/b   \t\r\r\nX: y\r\n");
  EXPECT_EQ(Edited("Content-Type: a/b;\r\n c=d;\r\n\r\n"), "Content-Type: a/b;\r\n c=d \r\n\r\n");
  EXPECT_EQ(Edited("Content-Disposition:;\n"), "Content-Disposition: \n");
}

TEST(EditFields, ClosesAnOpenQuote) {
  EXPECT_EQ(Edited("Content-Type: a/b; name=\"x\r\n\r\n"), "Content-Type: a/b; name= x\r\n\r\n");
  EXPECT_EQ(Edited("Content-Type: a/b; n=\"x\"; m=\"\r\n\r\n"), "Content-Type: a/b; n=\"x\"; m= \r\n\r\n");
}

TEST(EditFields, KeepsTheFirstOfTwo) {
  EXPECT_EQ(Edited("Content-Type: a/b\r\nX: y\r\nCONTENT-TYPE : c/d;\r\n\r\n"),
            "Content-Type: a/b\r\nX: y\r\nxONTENT-TYPE : c/d;\r\n\r\n");
  EXPECT_EQ(Edited("Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n\r\n="),
            "Content-Transfer-Encoding: 7bit\r\nxontent-Transfer-Encoding: base64\r\n\r\n=");
}

TEST(EditFields, GivesKnownTypesToUnknownContainers) {
  EXPECT_EQ(Edited("Content-Type: Multipart/Signed; a=b\r\n\r\n"),
            "Content-Type: Multipart/mixed ; a=b\r\n\r\n");
  EXPECT_EQ(Edited("Content-Type:\r\n multipart/parallel\r\n\r\n"),
            "Content-Type:\r\n multipart/mixed   \r\n\r\n");
  EXPECT_EQ(Edited("Content-Type: message/global\r\n\r\n"), "Content-Type: message/rfc822\r\n\r\n");
  EXPECT_EQ(Edited("Content-Type: message/partial;x\r\n\r\n"), "Content-Type: message/rfc822 ;x\r\n\r\n");
}

TEST(EditFields, TakesPadsInFrontOff) {
  EXPECT_EQ(Edited("Content-Transfer-Encoding: BASE64\r\n\r\n==WDV=\r\n"),
            "Content-Transfer-Encoding: BASE64\r\n\r\n  WDV=\r\n");
}

TEST(EditFields, TakesPadsBetweenOtherCharactersOff) {
  EXPECT_EQ(Edited("Content-Transfer-Encoding: base64\r\n\r\n.=\r\n!==WDV=\r\n"),
            "Content-Transfer-Encoding: base64\r\n\r\n. \r\n!  WDV=\r\n");
}

TEST(EditFolds, JoinsLinesOfWhiteSpaceToTheOneBefore) {
  EXPECT_EQ(Folded("A: b\r\n \r\nC: d\r\n\r\n"), "A: b   \r\nC: d\r\n\r\n");
  EXPECT_EQ(Folded("A:\n\t \n x\n\n"), "A:   \n x\n\n");
  EXPECT_EQ(Folded("A: b\r\n \r\n\t\r\nC: d\r\n\r\n"), "A: b      \r\nC: d\r\n\r\n");
  for (const std::string_view same : {" \r\nA: b\r\n\r\n", "A: b\r\n c\r\n\r\n", "A: b\r\n\r\n \r\n"})
    EXPECT_EQ(Folded(same), same);
}

TEST(EditFields, StaysWithinAnything) {
  std::mt19937 random(4711);
  const std::string_view pieces[] = {"Content-Type:",
                                     "Content-",
                                     "multipart/signed",
                                     ";",
                                     "\"",
                                     "\r\n",
                                     "\n",
                                     " ",
                                     "\r",
                                     "base64",
                                     "Content-Transfer-Encoding: ",
                                     "=",
                                     ":",
                                     "message/x",
                                     "\r\n\r\n"};
  for (int round = 0; round < 20'000; ++round) {
    std::string content;
    for (size_t i = random() % 14; i > 0; --i) content += pieces[random() % std::size(pieces)];
    EXPECT_EQ(Edited(content).size(), content.size());
    EXPECT_EQ(Folded(content).size(), content.size());
  }
}

}  // namespace
}  // namespace bivalve::net
