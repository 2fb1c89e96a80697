#include "tools/bivalvectl/output.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace bivalve::ctl {
namespace {

TEST(Printable, PassesText) {
  EXPECT_EQ(Printable("Eicar-Test j\xc3\xb6rg \xe6\xbc\xa2"), "Eicar-Test j\xc3\xb6rg \xe6\xbc\xa2");
}

TEST(Printable, EscapesWhatATerminalObeys) {
  EXPECT_EQ(Printable("\x1b[2J\r\n\t\x7f"), "\\x1b[2J\\x0d\\x0a\\x09\\x7f");
  EXPECT_EQ(Printable("\xc2\x9b"), "\\u{9b}");  // CSI as UTF-8
  EXPECT_EQ(Printable("\x9b"
                      "31m"),
            "\\x9b31m");                     // and as a byte
  EXPECT_EQ(Printable("\\x1b"), "\\\\x1b");  // text that looks escaped differs from escaped text
}

TEST(Printable, EscapesWhatTurnsOrHidesText) {
  EXPECT_EQ(Printable("\xe2\x80\xae"
                      "gpj.exe"),
            "\\u{202e}gpj.exe");
  EXPECT_EQ(Printable("a\xe2\x80\x8b"
                      "b\xef\xbb\xbf"),
            "a\\u{200b}b\\u{feff}");
}

TEST(Printable, EscapesBytesThatAreNoText) {
  EXPECT_EQ(Printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(Printable("\xc0\xaf"), "\\xc0\\xaf");                    // longer than necessary
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // a surrogate
  EXPECT_EQ(Printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond Unicode
}

TEST(Printable, IsCutAtACharacter) {
  EXPECT_EQ(Printable("\xc3\xb6\xc3\xb6\xc3\xb6", 2), "\xc3\xb6\xc3\xb6...");
  EXPECT_EQ(Printable("ab", 2), "ab");
}

// For any bytes: the output has no control character, and printing it again changes only backslashes.
TEST(Printable, LetsNoControlCharacterThrough) {
  std::mt19937 random(20261122);
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    for (size_t i = random() % 12; i > 0; --i) text += static_cast<char>(random() % 3 == 0 ? 0xc2 : random());
    const std::string lines = PrintableLines(text);
    for (const std::string& shown : {Printable(text), lines}) {
      for (size_t i = 0; i < shown.size(); ++i) {
        const auto byte = static_cast<unsigned char>(shown[i]);
        const bool allowed = &shown != &lines && byte == '\n';
        ASSERT_TRUE(byte >= 0x20 || byte == '\n' || byte == '\t' || allowed) << static_cast<int>(byte);
        ASSERT_NE(byte, 0x7f);
        if (byte == 0xc2) {
          ASSERT_GE(static_cast<unsigned char>(shown[i + 1]), 0xa0);
        }
      }
    }
  }
}

TEST(PrintableLines, KeepsLines) {
  EXPECT_EQ(PrintableLines("a\r\n\tb\\c\n\x1b\r"), "a\n\tb\\c\n\\x1b\\x0d");
}

TEST(Fitted, FillsAndCuts) {
  EXPECT_EQ(Fitted("ab", 4), "ab  ");
  EXPECT_EQ(Fitted("ab", 4, true), "  ab");
  EXPECT_EQ(Fitted("abcdef", 4), "abc~");
  EXPECT_EQ(Fitted("abcdef", 0), "");
  EXPECT_EQ(Fitted("\xe6\xbc\xa2\xe5\xad\x97", 4), "\xe6\xbc\xa2\xe5\xad\x97");
  EXPECT_EQ(Fitted("\xe6\xbc\xa2\xe5\xad\x97", 3), "\xe6\xbc\xa2~");
  EXPECT_EQ(Fitted("\xe6\xbc\xa2\xe5\xad\x97", 2), "~ ");
}

TEST(ShortFigures, AreShort) {
  EXPECT_EQ(ShortBytes(0), "0");
  EXPECT_EQ(ShortBytes(999), "999");
  EXPECT_EQ(ShortBytes(1000), "1.0K");
  EXPECT_EQ(ShortBytes(10 * 1024), "10K");
  EXPECT_EQ(ShortBytes(uint64_t{3} << 30), "3.0G");
  EXPECT_EQ(ShortCount(1234), "1.2K");
  EXPECT_EQ(ShortCount(999'600), "1.0M");
  for (uint64_t bytes = 1; bytes < uint64_t{1} << 60; bytes = bytes * 3 + 1)
    EXPECT_LE(ShortBytes(bytes).size(), 4u);
  EXPECT_EQ(ShortTime(-1), "0.0s");
  EXPECT_EQ(ShortTime(0.44), "0.4s");
  EXPECT_EQ(ShortTime(59.9), "59s");
  EXPECT_EQ(ShortTime(185), "3m05s");
  EXPECT_EQ(ShortTime(7260), "2h01m");
  EXPECT_EQ(ShortTime(93600), "1d02h");
  EXPECT_EQ(ShortLatency(850), "850us");
  EXPECT_EQ(ShortLatency(12'340), "12.3ms");
  EXPECT_EQ(ShortLatency(250'000), "250ms");
  EXPECT_EQ(ShortLatency(1'250'000), "1.25s");
}

TEST(Wrapped, BreaksBetweenWords) {
  EXPECT_EQ(Wrapped("one two three", 7), "one two\nthree\n");
  EXPECT_EQ(Wrapped("one two", 7, 2), "  one\n  two\n");
  EXPECT_EQ(Wrapped("", 7), "");
}

TEST(Table, ShrinksWhatMay) {
  const std::vector<Column> columns = {{"ID"}, {"N", true}, {"NAME", false, true}};
  const std::vector<std::vector<std::string>> rows = {{"a", "10", "a long name indeed"}, {"bb", "5", "\x1b"}};
  EXPECT_EQ(Table(columns, rows, 0),
            "ID   N  NAME\n"
            "a   10  a long name indeed\n"
            "bb   5  \\x1b\n");
  EXPECT_EQ(Table(columns, rows, 18),
            "ID   N  NAME\n"
            "a   10  a long na~\n"
            "bb   5  \\x1b\n");
  EXPECT_EQ(Table(columns, {}, 80), "ID  N  NAME\n");
}

}  // namespace
}  // namespace bivalve::ctl
