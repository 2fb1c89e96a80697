#include "net/end_of_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "net/dot_search.h"

namespace bivalve::net {

// Lets a test choose the search; the program uses the best one of the machine.
class EndOfDataPeer {
 public:
  static EndOfData::Result Process(EndOfData& end, internal::Simd simd, std::span<char> block) {
    return end.ProcessWith(simd, block);
  }
};

namespace {

using namespace std::string_view_literals;
using internal::Mark;
using internal::Simd;
using Check = EndOfData::Check;

constexpr Check kChecks[] = {Check::kNone, Check::kGuard, Check::kBareNewline};
constexpr std::string_view kAlphabet = "\r\n.\0a"sv;

// The expected result for some bytes from the wire. Bytes that are still undecided count as content.
struct Outcome {
  std::string content;
  bool ended = false;
  std::string rest;  // after the end
  bool ambiguous = false;
  bool bare_newline = false;
  bool dot_after_bare_newline = false;
  uint64_t stuffed_dots = 0;

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

std::string Readable(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    switch (c) {
      case '\r':
        text += "<CR>";
        break;
      case '\n':
        text += "<LF>";
        break;
      case '\0':
        text += "<NUL>";
        break;
      default:
        text += c;
    }
  }
  return text;
}

std::ostream& operator<<(std::ostream& out, const Outcome& o) {
  return out << "content '" << Readable(o.content) << "' ended " << o.ended << " rest '" << Readable(o.rest)
             << "' ambiguous " << o.ambiguous << " bare " << o.bare_newline << " bare dot "
             << o.dot_after_bare_newline << " dots " << o.stuffed_dots;
}

// The rules, one byte after the other, on the whole wire at once: the model for all comparisons.
Outcome Model(std::string_view wire, Check check) {
  const auto is = [&](ptrdiff_t at, std::string_view set) {
    if (at == -1) return set.find('\n') != set.npos;  // the end of the command line before the data
    if (at == -2) return set.find('\r') != set.npos;
    if (at < 0 || at >= std::ssize(wire)) return false;
    return set.find(wire[static_cast<size_t>(at)]) != set.npos;
  };
  constexpr std::string_view kEdges = "\r\n\0"sv;
  Outcome o;
  for (ptrdiff_t i = 0; i < std::ssize(wire); ++i) {
    const char c = wire[static_cast<size_t>(i)];
    if (check == Check::kBareNewline) {
      if (c == '\n' && !is(i - 1, "\r")) o.bare_newline = true;
      if (c != '\n' && is(i - 1, "\r")) o.bare_newline = true;
    }
    if (c != '.') {
      o.content += c;
      continue;
    }
    const bool begins_line = is(i - 2, "\r") && is(i - 1, "\n");
    if (begins_line && is(i + 1, "\r") && is(i + 2, "\n")) {
      if (check != Check::kNone && is(i - 3, "\r\0"sv)) o.ambiguous = true;
      o.ended = true;
      o.rest = wire.substr(static_cast<size_t>(i) + 3);
      return o;
    }
    const bool is_open =
        i + 1 == std::ssize(wire) || (begins_line && i + 2 == std::ssize(wire) && is(i + 1, "\r"));
    if (check != Check::kNone && !is_open && is(i - 1, kEdges) && is(i + 1, kEdges)) o.ambiguous = true;
    const bool bare_dot = !begins_line && !is_open && !is(i + 1, kEdges);
    const bool after_lf = bare_dot && is(i - 1, "\n");
    const bool after_cr = bare_dot && is(i - 1, "\r") && check != Check::kNone && !o.ambiguous;
    if (after_lf || after_cr) o.dot_after_bare_newline = true;
    if ((begins_line && !is_open) || after_lf) {
      ++o.stuffed_dots;
    } else {
      o.content += c;
    }
  }
  return o;
}

// The result of EndOfData if the wire is cut before each of `cuts` (ascending), as in a session.
Outcome Receive(std::string_view wire, Check check, Simd simd, std::span<const size_t> cuts) {
  EndOfData end(check);
  Outcome o;
  std::string held;
  size_t from = 0;
  for (size_t piece = 0; piece <= cuts.size(); ++piece) {
    const size_t to = piece < cuts.size() ? cuts[piece] : wire.size();
    std::string block = held;
    block.append(wire.substr(from, to - from));
    from = to;
    const std::string given = block;
    const EndOfData::Result r = EndOfDataPeer::Process(end, simd, block);
    EXPECT_LE(r.held_bytes, EndOfData::kHeldBytesMax);
    if (r.content_bytes + r.held_bytes > block.size() || r.rest_offset > block.size()) {
      ADD_FAILURE() << "impossible result for '" << Readable(given) << "'";
      return o;
    }
    o.content += block.substr(0, r.content_bytes);
    held = block.substr(r.content_bytes, r.held_bytes);
    if (r.ended) {
      EXPECT_EQ(r.held_bytes, 0u);
      EXPECT_EQ(block.substr(r.rest_offset), given.substr(r.rest_offset)) << "the rest was touched";
      o.ended = true;
      o.rest = block.substr(r.rest_offset).append(wire.substr(to));
      break;
    }
    EXPECT_EQ(r.rest_offset, block.size());
  }
  o.content += held;
  o.ambiguous = end.ambiguous();
  o.bare_newline = end.bare_newline();
  o.dot_after_bare_newline = end.dot_after_bare_newline();
  o.stuffed_dots = end.stuffed_dots();
  return o;
}

Outcome Receive(std::string_view wire, Check check, Simd simd, std::initializer_list<size_t> cuts = {}) {
  return Receive(wire, check, simd, std::span(cuts.begin(), cuts.size()));
}

// Calls `visit` with every string of `bytes` characters out of kAlphabet.
template <typename Visit>
void ForEachString(size_t bytes, Visit visit) {
  std::string text(bytes, kAlphabet[0]);
  std::vector<size_t> digits(bytes, 0);
  for (;;) {
    visit(std::string_view(text));
    size_t i = 0;
    for (; i < bytes; ++i) {
      digits[i] = (digits[i] + 1) % kAlphabet.size();
      text[i] = kAlphabet[digits[i]];
      if (digits[i] != 0) break;
    }
    if (i == bytes) return;
  }
}

// All of the following tests for each instruction set of the machine.
class EndOfDataTest : public testing::TestWithParam<Simd> {
 protected:
  void SetUp() override {
    if (!internal::HasSimd(GetParam())) GTEST_SKIP() << "not on this machine";
  }
};

std::string SearchName(const testing::TestParamInfo<Simd>& search) {
  constexpr const char* kNames[] = {"Portable", "Sse2", "Avx2"};
  return kNames[static_cast<size_t>(search.param)];
}

INSTANTIATE_TEST_SUITE_P(Searches, EndOfDataTest, testing::Values(Simd::kPortable, Simd::kSse2, Simd::kAvx2),
                         SearchName);

TEST_P(EndOfDataTest, AgreesWithTheModelOnAllShortStrings) {
  for (size_t bytes = 0; bytes <= 7; ++bytes) {
    ForEachString(bytes, [&](std::string_view wire) {
      for (const Check check : kChecks) {
        const Outcome model = Model(wire, check);
        const Outcome whole = Receive(wire, check, GetParam());
        if (whole != model) {
          ADD_FAILURE() << Readable(wire) << "\n  is     " << whole << "\n  not    " << model;
        }
      }
    });
    ASSERT_FALSE(HasFailure());
  }
}

TEST_P(EndOfDataTest, GivesTheSameForAllCutsOfShortStrings) {
  for (size_t bytes = 1; bytes <= 6; ++bytes) {
    ForEachString(bytes, [&](std::string_view wire) {
      for (const Check check : kChecks) {
        if (bytes == 6 && check != Check::kBareNewline) continue;  // which does the work of the others too
        const Outcome model = Model(wire, check);
        for (size_t first = 0; first <= bytes; ++first) {
          for (size_t second = first; second <= bytes; ++second) {
            const Outcome cut = Receive(wire, check, GetParam(), {first, second});
            if (cut == model) continue;
            ADD_FAILURE() << Readable(wire) << " cut at " << first << " and " << second << "\n  is     "
                          << cut << "\n  not    " << model;
          }
        }
      }
    });
    ASSERT_FALSE(HasFailure());
  }
}

TEST_P(EndOfDataTest, GivesTheSameForShortStringsByteByByte) {
  const std::vector<size_t> every = {1, 2, 3, 4, 5, 6};
  ForEachString(7, [&](std::string_view wire) {
    for (const Check check : kChecks) {
      const Outcome cut = Receive(wire, check, GetParam(), every);
      if (cut != Model(wire, check)) ADD_FAILURE() << Readable(wire) << "\n  is     " << cut;
    }
  });
}

// The searches look at 64 bytes at once, 16, 32 or 8 of them by one instruction. Tests every short string at
// every position relative to these groups.
TEST_P(EndOfDataTest, FindsTheSameAtEveryPlaceOfAGroup) {
  ForEachString(5, [&](std::string_view pattern) {
    for (size_t offset = 57; offset <= 66; ++offset) {
      std::string wire = std::string(offset, 'a').append(pattern).append(140 - offset, 'a');
      const Outcome model = Model(wire, Check::kBareNewline);
      if (Receive(wire, Check::kBareNewline, GetParam()) != model)
        ADD_FAILURE() << Readable(pattern) << " at " << offset;
    }
  });
  ForEachString(4, [&](std::string_view pattern) {
    for (size_t offset = 0; offset <= 134; ++offset) {
      std::string wire = std::string(offset, 'a').append("\r\n.").append(pattern).append("aa");
      const Outcome model = Model(wire, Check::kGuard);
      if (Receive(wire, Check::kGuard, GetParam()) != model)
        ADD_FAILURE() << Readable(pattern) << " at " << offset;
    }
  });
}

// Long strings of pieces that are rare in random bytes, cut at random. Half of the strings have few line
// ends, so that whole groups without a mark are skipped.
TEST_P(EndOfDataTest, AgreesWithTheModelOnRandomStrings) {
  std::mt19937 random(20260901);
  const auto below = [&](size_t limit) { return static_cast<size_t>(random() % limit); };
  constexpr std::string_view kPieces[] = {
      "\r\n", "\r\n.", "\r\n..", "\n.",  "\r.", "\0."sv,  ".\r\n",  "\r\n.\r",   "\r\n.\n",    "\r",    "\n",
      "\0"sv, ".",     "a",      "\xff", "\t.", "\r\r\n", "ab\r\n", "\r\n.\r\n", "text\r\n.x", "\r\n.x"};
  for (int round = 0; round < 20000; ++round) {
    std::string wire;
    const size_t bytes = 1 + below(round % 50 == 0 ? 3000 : 200);
    const bool sparse = below(2) == 0;
    const bool may_end = below(4) == 0;
    while (wire.size() < bytes) {
      if (sparse) wire.append(below(100), 'a');
      const std::string_view piece = kPieces[below(std::size(kPieces))];
      if (may_end || piece != "\r\n.\r\n") wire += piece;
    }
    if (below(2) == 0) wire += "\r\n.\r\nMAIL FROM:<>\r\n.\r\n..";
    std::vector<size_t> cuts(below(6));
    for (size_t& cut : cuts) cut = below(wire.size() + 1);
    std::sort(cuts.begin(), cuts.end());
    const Check check = kChecks[below(3)];
    const Outcome model = Model(wire, check);
    ASSERT_EQ(Receive(wire, check, GetParam(), cuts), model) << "round " << round << ": " << Readable(wire);
    ASSERT_EQ(Receive(wire, check, GetParam()), model) << "round " << round << ": " << Readable(wire);
  }
}

TEST_P(EndOfDataTest, TakesManyStuffedDotsOutOfALargeBlock) {
  std::string wire;
  std::string content;
  for (size_t line = 0; line < 3000; ++line) {
    const std::string text = (line % 3 == 0 ? "." : "") + std::string(line % 151, 'x') + "\r\n";
    content += text;
    if (text.starts_with('.')) wire += '.';
    wire += text;
  }
  wire += ".\r\n";
  const Outcome o = Receive(wire, Check::kBareNewline, GetParam(), {1, 70000, 70001});
  EXPECT_TRUE(o.ended);
  EXPECT_TRUE(o.content == content);
  EXPECT_EQ(o.stuffed_dots, 1000u);
  EXPECT_FALSE(o.ambiguous);
  EXPECT_FALSE(o.bare_newline);
}

TEST(EndOfData, EndsAtADotAloneOnALine) {
  std::string block = "Subject: x\r\n\r\nbody\r\n.\r\nQUIT\r\n";
  EndOfData end(Check::kBareNewline);
  const auto r = end.Process(block);
  EXPECT_TRUE(r.ended);
  EXPECT_EQ(block.substr(0, r.content_bytes), "Subject: x\r\n\r\nbody\r\n");
  EXPECT_EQ(block.substr(r.rest_offset), "QUIT\r\n");
  EXPECT_EQ(r.held_bytes, 0u);
  EXPECT_FALSE(end.ambiguous());
  EXPECT_FALSE(end.bare_newline());
}

TEST(EndOfData, EndsAnEmptyMessage) {
  std::string block = ".\r\n";
  EndOfData end(Check::kBareNewline);
  const auto r = end.Process(block);
  EXPECT_TRUE(r.ended);
  EXPECT_EQ(r.content_bytes, 0u);
  EXPECT_EQ(r.rest_offset, 3u);
  EXPECT_FALSE(end.ambiguous());
}

TEST(EndOfData, TakesAnEmptyBlock) {
  EndOfData end(Check::kGuard);
  const auto r = end.Process({});
  EXPECT_FALSE(r.ended);
  EXPECT_EQ(r.content_bytes + r.held_bytes + r.rest_offset, 0u);
}

TEST(EndOfData, DoesNotEndWithoutCrlfOnBothSides) {
  for (std::string_view wire :
       {"\n.\r\n"sv, "a\n.\n"sv, "a\r\n.\n"sv, "a\r.\r\n"sv, "a.\r\n"sv, "a\r\n.\r"sv, "\r\n.\ra\n"sv,
        "\r\n. \r\n"sv, "\r\n..\r\n"sv, "\r\n.\0\r\n"sv, "\r\n\0.\r\n"sv, "\r\n.\r\0\n"sv}) {
    EXPECT_FALSE(Receive(wire, Check::kGuard, internal::BestSimd()).ended) << Readable(wire);
  }
}

// Patterns that were used for SMTP smuggling, and similar ones.
TEST(EndOfData, CallsAmbiguousWhatSomeServerTakesForTheEnd) {
  for (std::string_view line :
       {"a\n.\r\n"sv,     "a\n.\n"sv,       "a\r\n.\n"sv,     "a\r.\r"sv,       "a\r.\r\n"sv,
        "a\r\n.\ra"sv,    "a\r\n.\r\r\n"sv, "a\r\r\n.\r\n"sv, "a\0\r\n.\r\n"sv, "a\r\n\0.\r\n"sv,
        "a\r\n.\0\r\n"sv, "a\0.\0"sv,       "\n\r.\r\n"sv,    "a\n\r.\n"sv,     ".\n"sv,
        ".\r."sv,         "\n.\r\n"sv,      ".\0"sv,          "a\r\0\n.\r\n"sv, "\r\n.\r\0\n"sv}) {
    EXPECT_TRUE(Receive(line, Check::kGuard, internal::BestSimd()).ambiguous ||
                Model(line, Check::kGuard).ended)
        << Readable(line);
    EXPECT_TRUE(Receive(std::string(line) + "a\r\n.\r\n", Check::kGuard, internal::BestSimd()).ambiguous)
        << Readable(line);
    EXPECT_TRUE(
        Receive(std::string(line) + "a\r\n.\r\n", Check::kBareNewline, internal::BestSimd()).ambiguous)
        << Readable(line);
    EXPECT_FALSE(Receive(std::string(line) + "a\r\n.\r\n", Check::kNone, internal::BestSimd()).ambiguous)
        << Readable(line);
  }
}

TEST(EndOfData, EndsAfterCrCrLfAllTheSame) {
  const Outcome o = Receive("a\r\r\n.\r\nrest", Check::kGuard, internal::BestSimd());
  EXPECT_TRUE(o.ended);
  EXPECT_TRUE(o.ambiguous);
  EXPECT_EQ(o.content, "a\r\r\n");
  EXPECT_EQ(o.rest, "rest");
}

TEST(EndOfData, LetsStrayLineEndsAndNulsPassTheGuard) {
  for (std::string_view wire :
       {"a\rb\nc\0d\r\n.\r\n"sv, "a\n..\r\n.\r\n"sv, "a\n.b\r\n.\r\n"sv, "a\r\r\nb\r\n.\r\n"sv,
        "\0\r\nb\r\n.\r\n"sv, "a.\n\r\n.\r\n"sv, "\r\n..\n\r\n.\r\n"sv, "a\t.\n\r\n.\r\n"sv, ".\r\n"sv,
        "\r\n.\r\n"sv, "\n\r\n.\r\n"sv}) {
    const Outcome o = Receive(wire, Check::kGuard, internal::BestSimd());
    EXPECT_TRUE(o.ended) << Readable(wire);
    EXPECT_FALSE(o.ambiguous) << Readable(wire);
  }
}

TEST(EndOfData, TakesTheDotOffAnAmbiguousLineToo) {
  const Outcome o = Receive("a\r\n.\nb", Check::kGuard, internal::BestSimd());
  EXPECT_EQ(o.content, "a\r\n\nb");
  EXPECT_EQ(o.stuffed_dots, 1u);
}

// Postfix and sendmail do this. So the bytes that are scanned, and sent on by BDAT, are those that readers
// behind them would get by DATA.
TEST(EndOfData, TakesADotAfterABareLineFeedOut) {
  for (const Check check : kChecks) {
    const Outcome o = Receive("a\n.b\n..c\r\nd\n.", check, internal::BestSimd());
    EXPECT_EQ(o.content, "a\nb\n.c\r\nd\n.");
    EXPECT_EQ(o.stuffed_dots, 2u);
    EXPECT_TRUE(o.dot_after_bare_newline);
  }
}

TEST(EndOfData, SaysThatADotStandsAfterABareCarriageReturn) {
  const Outcome o = Receive("a\r.b", Check::kGuard, internal::BestSimd());
  EXPECT_EQ(o.content, "a\r.b");
  EXPECT_TRUE(o.dot_after_bare_newline);
  EXPECT_FALSE(Receive("a\r\n.b\r\nc.d\ne\rf", Check::kGuard, internal::BestSimd()).dot_after_bare_newline);
}

TEST(EndOfData, TakesOneDotOffALine) {
  EXPECT_EQ(Receive("..\r\n...x\r\na..\r\n", Check::kGuard, internal::BestSimd()).content,
            ".\r\n..x\r\na..\r\n");
}

TEST(EndOfData, FindsBareNewlinesOnlyWhenAsked) {
  for (std::string_view wire :
       {"a\nb"sv, "a\rb"sv, "\n"sv, "\r\r\n"sv, "a\n\r"sv, "a\r\n\nb"sv, "\r\0\n"sv}) {
    EXPECT_TRUE(Receive(wire, Check::kBareNewline, internal::BestSimd()).bare_newline) << Readable(wire);
    EXPECT_FALSE(Receive(wire, Check::kGuard, internal::BestSimd()).bare_newline) << Readable(wire);
    EXPECT_FALSE(Receive(wire, Check::kNone, internal::BestSimd()).bare_newline) << Readable(wire);
  }
  for (std::string_view wire : {"a\r\nb"sv, "\r\n"sv, "a\r"sv, ""sv, "\r\n.\r\n\n\r\r"sv}) {
    EXPECT_FALSE(Receive(wire, Check::kBareNewline, internal::BestSimd()).bare_newline) << Readable(wire);
  }
}

TEST(EndOfData, HoldsOnlyADotLineThatMayBeTheEnd) {
  EndOfData end(Check::kGuard);
  std::string first = "a\r\n.";
  auto r = end.Process(first);
  EXPECT_EQ(r.content_bytes, 3u);
  EXPECT_EQ(r.held_bytes, 1u);
  std::string second = ".\r";
  r = end.Process(second);
  EXPECT_EQ(r.content_bytes, 0u);
  EXPECT_EQ(r.held_bytes, 2u);
  std::string third = ".\r\nQUIT";
  r = end.Process(third);
  EXPECT_TRUE(r.ended);
  EXPECT_EQ(third.substr(r.rest_offset), "QUIT");
}

// The content and then the held bytes are at the front of the block, even if a dot before them was removed.
TEST(EndOfData, MovesHeldBytesBehindTheContent) {
  EndOfData end(Check::kGuard);
  std::string block = "..a\r\n.\r";
  const auto r = end.Process(block);
  EXPECT_EQ(block.substr(0, r.content_bytes), ".a\r\n");
  EXPECT_EQ(block.substr(r.content_bytes, r.held_bytes), ".\r");
}

std::string Stuffed(std::string_view content, Simd simd) {
  std::string wire;
  bool at_line_start = true;
  for (;;) {
    const size_t dot = internal::NextDot(simd, content, at_line_start);
    wire += content.substr(0, dot);
    if (dot == content.size()) return wire;
    wire += "..";
    content.remove_prefix(dot + 1);
    at_line_start = false;
  }
}

TEST_P(EndOfDataTest, FindsEveryDotToStuff) {
  ForEachString(6, [&](std::string_view pattern) {
    for (const size_t offset : {0u, 1u, 58u, 61u, 63u, 64u, 130u}) {
      const std::string content = std::string(offset, 'a').append(pattern).append("a");
      for (const bool at_line_start : {false, true}) {
        size_t expected = content.find("\n.");
        expected = expected == content.npos ? content.size() : expected + 1;
        if (at_line_start && content[0] == '.') expected = 0;
        ASSERT_EQ(internal::NextDot(GetParam(), content, at_line_start), expected) << Readable(content);
      }
    }
  });
}

// For every content that passes the guard, the bytes sent are the bytes received.
TEST_P(EndOfDataTest, StuffingIsTheReverseOfTakingDotsOut) {
  for (size_t bytes = 0; bytes <= 7; ++bytes) {
    ForEachString(bytes, [&](std::string_view content) {
      const std::string wire = Stuffed(content, GetParam());
      const Outcome o = Receive(wire + (wire.empty() || wire.ends_with("\r\n") ? "" : "\r\n") + ".\r\n",
                                Check::kGuard, GetParam());
      if (o.ambiguous) return;
      const std::string_view back = std::string_view(o.content).substr(0, content.size());
      if (!o.ended || back != content || !o.rest.empty()) ADD_FAILURE() << Readable(content) << "\n  " << o;
    });
  }
}

TEST(NextDot, IsTheSizeWithoutADot) {
  EXPECT_EQ(NextDot("", true), 0u);
  EXPECT_EQ(NextDot("a.b\nc", true), 5u);
}

TEST(NextDot, StuffsTheFirstByteOnlyAtALineStart) {
  EXPECT_EQ(NextDot(".a", true), 0u);
  EXPECT_EQ(NextDot(".a", false), 2u);
  EXPECT_EQ(NextDot("\r\n.", false), 2u);
  EXPECT_EQ(NextDot("\n.", false), 1u);
}

TEST(CopyStuffed, PutsInWhatTheWireNeeds) {
  std::mt19937 random(1);
  constexpr std::string_view kBytes = "..\r\n\nx";
  for (int round = 0; round < 20'000; ++round) {
    std::string content(random() % 200 + 2, ' ');
    for (char& byte : content) byte = kBytes[random() % kBytes.size()];
    const size_t from = random() % content.size();
    size_t to = from + random() % (content.size() - from) + 1;
    if (to < content.size() && content[to] == '.' && content[to - 1] == '\n') --to;
    std::string expected;
    for (size_t i = from; i < to; ++i) {
      if (i > from && content[i] == '.' && content[i - 1] == '\n') {
        if (i < 2 || content[i - 2] != '\r') expected.insert(expected.size() - 1, "\r");
        expected += '.';
      }
      expected += content[i];
    }
    std::vector<char> out(StuffedBytesMax(to - from));
    const char* const end = CopyStuffed(content, from, to, out.data());
    ASSERT_EQ(std::string_view(out.data(), static_cast<size_t>(end - out.data())), expected)
        << Readable(content) << ' ' << from << ' ' << to;
  }
}

TEST(DotSearch, TakesTheBestThatTheMachineHas) {
  const Simd best = internal::BestSimd();
  EXPECT_TRUE(internal::HasSimd(best));
  for (const Simd simd : {Simd::kPortable, Simd::kSse2, Simd::kAvx2}) {
    EXPECT_TRUE(!internal::HasSimd(simd) || simd <= best);
  }
}

// Every pair of bytes, for every mark, at every position in a full and in a shorter group.
TEST_P(EndOfDataTest, MarksExactlyWhatTheMarksSay) {
  const auto is_marked = [](Mark mark, unsigned char before, unsigned char byte) {
    switch (mark) {
      case Mark::kDotAfterLf:
        return byte == '.' && before == '\n';
      case Mark::kDotAfterControl:
        return byte == '.' && before <= 13;
      case Mark::kDelimiterAfterLf:
        return (byte == '-' || byte == '(') && before == '\n';
      case Mark::kBareCrOrBC:
        return (before == '\r' && byte != '\n') ||
               (before == '\n' && (std::tolower(byte) == 'b' || std::tolower(byte) == 'c'));
      case Mark::kNotBase64:
        return byte >= 128 || (std::isalnum(byte) == 0 && byte != '+' && byte != '/');
      case Mark::kDotOrBareNewline:
        return (byte == '.' && before <= 13) || (byte == '\n') != (before == '\r');
    }
    return false;
  };
  // All pairs of neighbours, twice, so that they fall on different positions.
  std::string bytes;
  for (int a = 0; a < 256; ++a) {
    for (int b = a; b < 256; ++b) bytes.append({static_cast<char>(a), static_cast<char>(b)});
  }
  bytes += 'x' + bytes + bytes.substr(0, 77);
  for (const Mark mark : {Mark::kDotAfterLf, Mark::kDotAfterControl, Mark::kDelimiterAfterLf,
                          Mark::kBareCrOrBC, Mark::kNotBase64, Mark::kDotOrBareNewline}) {
    std::vector<bool> marked(bytes.size(), false);
    for (size_t from = 1; from < bytes.size(); from += internal::kGroupBytes) {
      const char* const end = bytes.data() + bytes.size();
      const internal::Group group = internal::NextGroup(GetParam(), mark, bytes.data() + from, end);
      ASSERT_GE(group.at, bytes.data() + from);
      from = static_cast<size_t>(group.at - bytes.data());
      for (size_t i = 0; i < internal::kGroupBytes; ++i) {
        if ((group.marks >> i & 1) == 0) continue;
        ASSERT_LT(from + i, bytes.size());
        marked[from + i] = true;
      }
    }
    for (size_t i = 1; i < bytes.size(); ++i) {
      ASSERT_EQ(marked[i], is_marked(mark, static_cast<unsigned char>(bytes[i - 1]),
                                     static_cast<unsigned char>(bytes[i])))
          << "mark " << static_cast<int>(mark) << " at " << i;
    }
  }
}

}  // namespace
}  // namespace bivalve::net
