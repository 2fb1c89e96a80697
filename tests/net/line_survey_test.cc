#include "net/line_survey.h"

#include <gtest/gtest.h>

#include <string>

namespace bivalve::net {
namespace {

TEST(LineSurvey, KnowsACarriageReturnThatIsBare) {
  for (const std::string_view content : {"", "a\r\nb\n\r\n", "\n", "\r\n"})
    EXPECT_FALSE(SurveyLines(content).bare_cr) << content;
  for (const std::string_view content : {"\r", "a\rb", "a\r\r\nb", "\r\n\r"})
    EXPECT_TRUE(SurveyLines(content).bare_cr) << content;
}

TEST(LineSurvey, KnowsTheStartOfUuencode) {
  for (const std::string_view line :
       {"begin 644 f", "begin 7 f", "begin 0644 f", "begin +644 f", "begin -1 f", "begin \v4 f",
        "begin-base64 644 f", "begin 9 f", "begin\t644 f", "begin\r644 f", "begin  644 f"}) {
    for (const size_t in_front : {0, 1, 62, 63, 64, 65, 200}) {
      const std::string content =
          std::string(in_front, 'b') + (in_front > 0 ? "\n" : "") + std::string(line) + "\r\n";
      EXPECT_TRUE(SurveyLines(content).uuencode) << content;
    }
  }
  for (const std::string_view content : {"begin with a word\r\n", "xbegin 644 f\r\n", "begin\r\n",
                                         "begin\n644", "begin -x", "Begin 644 f\n"}) {
    EXPECT_FALSE(SurveyLines(content).uuencode) << content;
  }
}

TEST(LineSurvey, KnowsLongLines) {
  const std::string line(kLongLineBytes - 1, 'x');
  EXPECT_FALSE(HasLongLine(""));
  EXPECT_FALSE(HasLongLine(line + "\n" + line + "\r\n" + line));
  EXPECT_TRUE(HasLongLine(line + "xxx"));
  EXPECT_TRUE(HasLongLine("a\n" + line + "xxx\n"));
  EXPECT_TRUE(HasLongLine(line + "\n" + line + "\n" + line + "xxx\n" + line));
  // At any position among short lines.
  for (size_t in_front = 0; in_front < 2 * kLongLineBytes; in_front += 7) {
    std::string content;
    while (content.size() < in_front) content += "short\n";
    EXPECT_FALSE(HasLongLine(content + line + "\n" + content));
    EXPECT_TRUE(HasLongLine(content + line + "xxx\n" + content)) << in_front;
  }
}

TEST(LineSurvey, CountsLinesThatNameAnEncoding) {
  EXPECT_EQ(SurveyLines("").encoding_lines, 0u);
  EXPECT_EQ(SurveyLines("content-transfer-encoding: x\r\nContent-Type: y\nContent-Transfer-Encoding:")
                .encoding_lines,
            2u);
  EXPECT_EQ(SurveyLines("X-Content-Transfer-Encoding: x\r\n Content-Transfer-Encoding: x\r\n").encoding_lines,
            0u);
}

TEST(LineSurvey, KnowsNul) {
  EXPECT_FALSE(SurveyLines("a\r\n").nul);
  EXPECT_TRUE(SurveyLines(std::string("a\0\r\n", 4)).nul);
}

}  // namespace
}  // namespace bivalve::net
