#include "tools/load/smtp_source_message.h"

#include <set>
#include <string>
#include <utility>

#include "gtest/gtest.h"

namespace bivalve::tools {
namespace {

std::string Content(const SourceMessage& message) {
  std::string content;
  for (const std::string_view piece : message.pieces) content.append(piece);
  return content;
}

SourceSettings SettingsForSize(uint64_t bytes) {
  SourceSettings settings;
  settings.sizes = {SourceSettings::Size{.bytes = bytes, .weight = 1}};
  return settings;
}

TEST(MessageLibrary, MakesEverySizeThatHoldsTheHeaders) {
  for (const double infected_share : {0.0, 1.0}) {
    for (uint64_t bytes = 900; bytes < 1300; ++bytes) {
      SCOPED_TRACE(bytes);
      SourceSettings settings = SettingsForSize(bytes);
      settings.infected_share = infected_share;
      const MessageLibrary library(settings);
      Random random(1);
      SourceMessage message;
      library.Fill(message, random);
      const std::string content = Content(message);
      ASSERT_EQ(message.bytes, bytes);
      ASSERT_EQ(content.size(), bytes);
      ASSERT_TRUE(content.ends_with("\r\n"));
      ASSERT_EQ(content.find("\r\n."), std::string::npos);
    }
  }
}

// For any size, the content must need no stuffing and hold no bare CR or LF.
TEST(MessageLibrary, MakesWholeLinesOfAllowedLength) {
  for (const uint64_t bytes : {1, 400, 500, 5000, 100'000}) {
    const MessageLibrary library(SettingsForSize(bytes));
    Random random(7);
    SourceMessage message;
    library.Fill(message, random);
    const std::string content = Content(message);
    size_t start = 0;
    for (size_t i = 0; i < content.size(); ++i) {
      if (content[i] == '\n') {
        ASSERT_EQ(content[i - 1], '\r');
        ASSERT_LE(i + 1 - start, 200u);
        start = i + 1;
      } else if (i > 0) {
        ASSERT_NE(content[i - 1], '\r');
      }
    }
    ASSERT_EQ(start, content.size());
  }
}

TEST(MessageLibrary, AttachesEicarToInfectedMessagesOnly) {
  SourceSettings settings = SettingsForSize(10'000);
  for (const bool infected : {false, true}) {
    settings.infected_share = infected ? 1 : 0;
    const MessageLibrary library(settings);
    Random random(1);
    SourceMessage message;
    library.Fill(message, random);
    EXPECT_EQ(message.infected, infected);
    EXPECT_EQ(Content(message).find("\r\n\r\n" + MessageLibrary::Eicar() + "\r\n--") != std::string::npos,
              infected);
  }
}

TEST(MessageLibrary, RandomContentDiffersInEveryMessage) {
  SourceSettings settings = SettingsForSize(2000);
  settings.random_content = true;
  const MessageLibrary library(settings);
  Random random(1);
  std::set<std::string> whole;
  std::set<std::string> bodies;
  SourceMessage message;
  for (int i = 0; i < 1000; ++i) {
    library.Fill(message, random);
    const std::string content = Content(message);
    whole.insert(content);
    bodies.insert(content.substr(content.find("\r\n\r\n")));
    EXPECT_EQ(content.size(), 2000u);
  }
  EXPECT_EQ(whole.size(), 1000u);
  EXPECT_EQ(bodies.size(), 1000u);
}

TEST(MessageLibrary, ASeedRepeatsTheMessages) {
  SourceSettings settings;
  ASSERT_TRUE(SetSizes(settings.sizes, "1k:60,10k:30,100k:10").ok());
  settings.infected_share = 0.5;
  settings.random_content = true;
  settings.seed = 42;
  const MessageLibrary one(settings);
  const MessageLibrary other(settings);
  Random one_random(9);
  Random other_random(9);
  SourceMessage a;
  SourceMessage b;
  for (int i = 0; i < 50; ++i) {
    one.Fill(a, one_random);
    other.Fill(b, other_random);
    EXPECT_EQ(a.bytes, b.bytes);
    EXPECT_EQ(a.pieces[1], b.pieces[1]);
    EXPECT_EQ(a.infected, b.infected);
  }
}

TEST(MessageLibrary, DrawsSizesByTheirWeights) {
  SourceSettings settings;
  ASSERT_TRUE(SetSizes(settings.sizes, "1k:60,10k:30,100k:10").ok());
  const MessageLibrary library(settings);
  Random random(3);
  SourceMessage message;
  int small = 0;
  int large = 0;
  for (int i = 0; i < 10'000; ++i) {
    library.Fill(message, random);
    if (message.bytes == 1024) ++small;
    if (message.bytes == 102'400) ++large;
  }
  EXPECT_NEAR(small, 6000, 300);
  EXPECT_NEAR(large, 1000, 150);
}

}  // namespace
}  // namespace bivalve::tools
