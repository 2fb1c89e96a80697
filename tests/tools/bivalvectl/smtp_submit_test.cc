#include "tools/bivalvectl/smtp_submit.h"

#include <gtest/gtest.h>

#include <random>
#include <span>
#include <string>

#include "net/end_of_data.h"
#include "net/smtp_command.h"

namespace bivalve::ctl {
namespace {

TEST(Stuffed, DoublesDotsAtTheStartOfLines) {
  EXPECT_EQ(Stuffed(""), ".\r\n");
  EXPECT_EQ(Stuffed(".\r\n"), "..\r\n.\r\n");
  EXPECT_EQ(Stuffed("a\r\n..b\r\n.\r\nc.d\r\n"), "a\r\n...b\r\n..\r\nc.d\r\n.\r\n");
}

TEST(PathFault, FindsWhatEndsAPath) {
  for (const std::string_view path :
       {"", "a@example.com", "Postmaster", R"("a > b"@example.com)", R"("a\" b"@example.com)",
        "j\xc3\xb6rg@example.com", "j\xf6rg@example.com", "@a,@b:c@example.com"}) {
    EXPECT_EQ(PathFault(path), "") << path;
  }
  EXPECT_EQ(PathFault("a b@example.com"), "a blank");
  EXPECT_EQ(PathFault(R"(a\>b@example.com)"), "a backslash outside of quotes");
  EXPECT_EQ(PathFault("a>b"), "a '>'");
  EXPECT_EQ(PathFault(R"("a\\">b)"), "a '>'");
  EXPECT_EQ(PathFault("a<b"), "a '<'");
  EXPECT_EQ(PathFault("a\rb"), "a line end");
  EXPECT_EQ(PathFault("\"a\n\""), "a line end");
  EXPECT_EQ(PathFault("\"a\\\n\""), "a line end");
  EXPECT_EQ(PathFault(std::string_view("a\0b", 3)), "a control character");
  EXPECT_EQ(PathFault("\"a\x7f\""), "a control character");
  EXPECT_EQ(PathFault("a\xc2\x85"), "a control character");
  EXPECT_EQ(PathFault("\"a@b"), "a quote without its end");
  EXPECT_EQ(PathFault("\"a\\\""), "a quote without its end");
  EXPECT_EQ(PathFault(std::string(5000, 'x')), "too many characters");
}

// The filter's own parser reads an accepted path back completely, with nothing left behind it.
TEST(PathFault, LeavesPathsThatAreReadBackWhole) {
  std::mt19937 random(4711);
  const std::string_view alphabet = "ab\"\\<> @.=\xc3";
  int passed = 0;
  for (int round = 0; round < 50'000; ++round) {
    std::string path = "x";
    for (size_t i = random() % 10; i > 0; --i) path += alphabet[random() % alphabet.size()];
    if (!PathFault(path).empty()) continue;
    ++passed;
    const std::string arguments = "FROM:<" + path + "> SIZE=1";
    ASSERT_EQ(net::ParsePath(arguments), path);
    ASSERT_EQ(net::FindParameter(arguments, "SIZE"), "1") << path;
  }
  EXPECT_GT(passed, 1000);
}

TEST(OfferedParameters, AreThoseThatTheServerKnows) {
  const std::string all = " RET=HDRS  envid=QQ+2B1\tSIZE=7 BODY=8BITMIME SMTPUTF8 AUTH=<> NOTIFY=NEVER X=1";
  const std::string_view dsn = "250-mx\r\n250-SIZE\r\n250 DSN\r\n";
  EXPECT_EQ(OfferedParameters(all, dsn).value(), " RET=HDRS envid=QQ+2B1 NOTIFY=NEVER");
  EXPECT_EQ(OfferedParameters(all, "250-mx\r\n250 SIZE\r\n").value(), "");
  EXPECT_EQ(OfferedParameters(all, "").value(), "");
  EXPECT_EQ(OfferedParameters("MT-PRIORITY=3 RET=FULL", "250-mx\r\n250 MT-PRIORITY MIXER\r\n").value(),
            " MT-PRIORITY=3");
}

TEST(OfferedParameters, RefuseWhatEndsTheLine) {
  const std::string_view dsn = "250-mx\r\n250 DSN\r\n";
  for (const std::string_view word : {"RET=a\r\nDATA", "ENVID=\x07", "NOTIFY=\n"})
    EXPECT_FALSE(OfferedParameters(word, dsn).ok()) << word;
}

TEST(NeedsChunking, WhereDataWouldBeReadDifferently) {
  for (const std::string_view content : {"", "a\r\n", ".\r\n", "a\nb\rc\r\n", "\xff\r\n.x\r\n"})
    EXPECT_FALSE(NeedsChunking(content)) << content;
  for (const std::string_view content :
       {"a", "a\r\nb", "a\n", "a\r", "a\n.\r\nb\r\n", "a\r.\r\n", "a\n.\nb\r\n", "a\n.b\r\n"})
    EXPECT_TRUE(NeedsChunking(content)) << content;
}

// The filter's own reader restores content that needs no chunks.
TEST(Stuffed, IsUndoneByTheReader) {
  std::mt19937 random(4711);
  const std::string_view alphabet = "..\r\n\r\na";
  int plain = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string content;
    for (size_t i = random() % 12; i > 0; --i) content += alphabet[random() % alphabet.size()];
    if (random() % 2 == 0) content += "\r\n";
    if (NeedsChunking(content)) continue;
    ++plain;
    std::string wire = Stuffed(content);
    net::EndOfData end(net::EndOfData::Check::kGuard);
    const auto result = end.Process(std::span<char>(wire.data(), wire.size()));
    ASSERT_TRUE(result.ended);
    ASSERT_EQ(wire.substr(0, result.content_bytes), content);
    ASSERT_EQ(result.rest_offset, wire.size());
    ASSERT_FALSE(end.ambiguous());
  }
  EXPECT_GT(plain, 1000);
}

}  // namespace
}  // namespace bivalve::ctl
