#include "core/text.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <string_view>

namespace bivalve::core {
namespace {

std::string Escaped(std::string_view text, size_t bytes_max = 1024) {
  std::string out;
  AppendEscaped(out, text, bytes_max);
  return out;
}

TEST(EqualsIgnoreCase, FoldsAsciiLettersOnly) {
  EXPECT_TRUE(EqualsIgnoreCase("EhLo", "eHlO"));
  EXPECT_TRUE(EqualsIgnoreCase("", ""));
  EXPECT_FALSE(EqualsIgnoreCase("EHLO", "EHL"));
  EXPECT_FALSE(EqualsIgnoreCase("@[`{", "`{@["));          // the neighbours of the letters
  EXPECT_FALSE(EqualsIgnoreCase("\xc3\x84", "\xc3\xa4"));  // Ä and ä in UTF-8
}

TEST(StartsWithIgnoreCase, ComparesThePrefixOnly) {
  EXPECT_TRUE(StartsWithIgnoreCase("from:<a>", "FROM:"));
  EXPECT_TRUE(StartsWithIgnoreCase("from:", "FROM:"));
  EXPECT_FALSE(StartsWithIgnoreCase("from", "FROM:"));
}

TEST(Trim, TakesBlanksOffBothEnds) {
  EXPECT_EQ(Trim(" \t a b \r\n"), "a b");
  EXPECT_EQ(Trim(" \t "), "");
  EXPECT_EQ(Trim(""), "");
  EXPECT_EQ(Trim("--a-", "-"), "a");
}

TEST(Cat, JoinsTextCharactersAndIntegers) {
  const std::string text = "a";
  EXPECT_EQ(Cat(text, '-', std::string_view("b"), -7, "c", uint8_t{65}), "a-b-7c65");
  EXPECT_EQ(Cat(std::numeric_limits<uint64_t>::max()), "18446744073709551615");
  EXPECT_EQ(Cat(std::numeric_limits<int64_t>::min()), "-9223372036854775808");
  EXPECT_EQ(Cat(), "");
}

TEST(AppendEscaped, EscapesWhatWouldBreakALine) {
  EXPECT_EQ(Escaped("a\nb\rc\td\\e"), "a\\nb\\rc\\td\\\\e");
  EXPECT_EQ(Escaped(std::string_view("\0\x01\x1f\x7f", 4)), "\\x00\\x01\\x1f\\x7f");
}

TEST(AppendEscaped, PassesPrintableTextWordForWord) {
  EXPECT_EQ(Escaped("<\"a b\"@example.org> ~"), "<\"a b\"@example.org> ~");
  EXPECT_EQ(Escaped("gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\x9a"), "gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\x9a");
}

TEST(AppendEscaped, EscapesControlCharactersInUtf8) {
  std::string out;
  AppendEscaped(out,
                "\xc3\xa4 \xc2\x85 \xc2\x9b"
                "31m \xc2\xa0");
  EXPECT_EQ(out, "\xc3\xa4 \\xc2\\x85 \\xc2\\x9b31m \xc2\xa0");
}

TEST(AppendEscaped, LeavesWhatWasThere) {
  std::string out = "from=";
  AppendEscaped(out, "abcdef", 4);
  EXPECT_EQ(out, "from=a...");
}

TEST(AppendEscaped, PassesWhatJustFits) {
  EXPECT_EQ(Escaped("abcdef", 6), "abcdef");
  EXPECT_EQ(Escaped("ab\ncd", 6), "ab\\ncd");
  EXPECT_EQ(Escaped("", 0), "");
}

TEST(AppendEscaped, PutsAnEllipsisForTheRest) {
  EXPECT_EQ(Escaped("abcdefg", 6), "abc...");
  EXPECT_EQ(Escaped("abcdefg", 3), "...");
  EXPECT_EQ(Escaped("abcdefg", 2), "..");
  EXPECT_EQ(Escaped("abcdefg", 0), "");
}

TEST(AppendEscaped, CutsNoEscape) {
  EXPECT_EQ(Escaped("ab\x01zzzz", 8), "ab...");  // "ab\x01" and the ellipsis would take nine bytes
  EXPECT_EQ(Escaped("ab\x01zzzz", 9), "ab\\x01...");
}

TEST(AppendEscaped, CutsNoUtf8Character) {
  const std::string_view shell = "a\xf0\x9f\x90\x9azzzz";
  EXPECT_EQ(Escaped(shell, 7), "a...");
  EXPECT_EQ(Escaped(shell, 8), "a\xf0\x9f\x90\x9a...");
}

TEST(AppendEscaped, CutsWhatIsNoUtf8) {
  const std::string out = Escaped(std::string(100, '\xbf'), 20);
  EXPECT_TRUE(out.ends_with("\\xbf..."));
  EXPECT_GE(out.size(), 16u);
}

// A terminal that is not set to UTF-8 obeys 0x9b alone; inside a UTF-8 character the byte is not a control.
TEST(AppendEscaped, EscapesControlBytesThatAreNoPartOfACharacter) {
  EXPECT_EQ(Escaped("\x9b"
                    "2J"),
            "\\x9b2J");
  EXPECT_EQ(Escaped("\xe9t\xe9 \x80\x9f\xa0"), "\\xe9t\\xe9 \\x80\\x9f\\xa0");
  EXPECT_EQ(Escaped("\xc5\x9b\xe2\x82\xac"), "\xc5\x9b\xe2\x82\xac");
  EXPECT_EQ(Escaped("\xe2\x82"), "\\xe2\\x82");
}

// In a terminal these characters turn "gpj.exe" into "exe.jpg", or end the line for some readers of a log.
TEST(AppendEscaped, EscapesWhatMakesTextLookLikeOther) {
  const auto utf8 = [](uint32_t code) {
    std::string text;
    if (code < 0x800) {
      text += static_cast<char>(0xc0 | code >> 6);
    } else {
      text += static_cast<char>(0xe0 | code >> 12);
      text += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    }
    return text + static_cast<char>(0x80 | (code & 0x3f));
  };
  const std::set<uint32_t> hidden = {0x061c, 0x200e, 0x200f, 0x2028, 0x2029, 0x202a, 0x202b, 0x202c,
                                     0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069, 0xfeff};
  for (uint32_t code = 0x80; code < 0x10000; ++code) {
    if (code >= 0xd800 && code < 0xe000) continue;
    const std::string character = utf8(code);
    const bool passes = code >= 0xa0 && hidden.count(code) == 0;
    ASSERT_EQ(Escaped(character) == character, passes) << std::hex << code;
    ASSERT_EQ(Escaped(character).size(), character.size() * (passes ? 1 : 4)) << std::hex << code;
  }
  EXPECT_EQ(Escaped("gnp.\xe2\x80\xae"
                    "exe"),
            "gnp.\\xe2\\x80\\xae"
            "exe");
  EXPECT_EQ(Escaped("abc\xe2\x80\xae", 14), "abc...") << "an escape is not cut";
  EXPECT_EQ(Escaped("abc\xe2\x80\xae", 15), "abc\\xe2\\x80\\xae");
}

TEST(AppendEscaped, LeavesAsciiAloneInAHeader) {
  std::string out;
  AppendEscaped(out, "Win.Caf\xc3\xa9, \xf0\x9f\x90\x9a \xe9\r\n", 1024, EscapeFor::kHeader);
  EXPECT_EQ(out, "Win.Caf\\xc3\\xa9, \\xf0\\x9f\\x90\\x9a \\xe9\\r\\n");
}

TEST(AppendEscaped, LeavesNoSeparatorInAField) {
  const auto field = [](std::string_view text) {
    std::string out;
    AppendEscaped(out, text, 1024, EscapeFor::kField);
    return out;
  };
  EXPECT_EQ(field("\"a, status=CLEAN\"@x"), "\"a\\x2c status=CLEAN\"@x");
  EXPECT_EQ(field(", , ,, "), "\\x2c \\x2c ,\\x2c ");
  EXPECT_EQ(field("a,b ,c"), "a,b ,c");
  EXPECT_EQ(field("a\\x2c b"), "a\\\\x2c b") << "told from what was escaped";
  EXPECT_EQ(Escaped("a, b"), "a, b");
}

// For any text and limit: at most that many bytes are added, and all are printable.
TEST(AppendEscaped, KeepsToItsLimit) {
  std::string text;
  for (int i = 0; i < 1024; ++i) text.push_back(static_cast<char>((i * 167) ^ (i >> 3)));
  for (size_t bytes = 0; bytes < text.size(); bytes += 13) {
    for (size_t bytes_max = 0; bytes_max < 300; ++bytes_max) {
      const std::string out = Escaped(std::string_view(text).substr(0, bytes), bytes_max);
      ASSERT_LE(out.size(), bytes_max);
      for (const char c : out) ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
    }
  }
}

TEST(Utf8CharacterBytes, KnowsTheCharactersOfEachLength) {
  EXPECT_EQ(Utf8CharacterBytes("a\xff"), 1u);
  EXPECT_EQ(Utf8CharacterBytes(std::string_view("\0", 1)), 1u);
  EXPECT_EQ(Utf8CharacterBytes("\xc2\x80"), 2u);
  EXPECT_EQ(Utf8CharacterBytes("\xe0\xa0\x80x"), 3u);
  EXPECT_EQ(Utf8CharacterBytes("\xed\x9f\xbf"), 3u);
  EXPECT_EQ(Utf8CharacterBytes("\xf0\x90\x80\x80"), 4u);
  EXPECT_EQ(Utf8CharacterBytes("\xf4\x8f\xbf\xbf"), 4u);
}

// Continuation bytes alone, cut and overlong characters, surrogates, and values beyond U+10FFFF.
TEST(Utf8CharacterBytes, RefusesWhatIsNone) {
  for (const std::string_view text :
       {"", "\x80", "\xbf", "\xc1\xbf", "\xc2", "\xc2(", "\xe0\x9f\xbf", "\xe2\x82", "\xed\xa0\x80",
        "\xf0\x8f\xbf\xbf", "\xf0\x90\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    EXPECT_EQ(Utf8CharacterBytes(text), 0u);
  }
}

}  // namespace
}  // namespace bivalve::core
