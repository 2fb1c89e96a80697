#include <gtest/gtest.h>

#include <random>
#include <span>
#include <string>

#include "net/end_of_data.h"
#include "tools/bivalvectl/smtp_submit.h"

namespace bivalve::ctl {
namespace {

TEST(Stuffed, DoublesDotsAtTheStartOfLines) {
  EXPECT_EQ(Stuffed(""), ".\r\n");
  EXPECT_EQ(Stuffed(".\r\n"), "..\r\n.\r\n");
  EXPECT_EQ(Stuffed("a\r\n..b\r\n.\r\nc.d\r\n"), "a\r\n...b\r\n..\r\nc.d\r\n.\r\n");
  EXPECT_EQ(Stuffed("a\n.b\r\n"), "a\n.b\r\n.\r\n");  // behind a bare LF a dot is content
}

TEST(NeedsChunking, WhereDataWouldBeReadDifferently) {
  for (const std::string_view content : {"", "a\r\n", ".\r\n", "a\nb\rc\r\n", "\xff\r\n.x\r\n"})
    EXPECT_FALSE(NeedsChunking(content)) << content;
  for (const std::string_view content :
       {"a", "a\r\nb", "a\n", "a\r", "a\n.\r\nb\r\n", "a\r.\r\n", "a\n.\nb\r\n"})
    EXPECT_TRUE(NeedsChunking(content)) << content;
}

// What needs no chunks comes out of the filter's own reader as it was.
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
