#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "tools/bivalvectl/command.h"

namespace bivalve::ctl {
namespace {

absl::StatusOr<Invocation> Parse(std::vector<const char*> words) { return ParseArguments(words); }

std::string Error(std::vector<const char*> words) {
  const auto invocation = Parse(std::move(words));
  return invocation.ok() ? "none" : std::string(invocation.status().message());
}

TEST(Arguments, FindCommandsOfOneWordAndOfTwo) {
  EXPECT_EQ(Parse({"stats"})->command->name, "stats");
  const auto show = Parse({"quarantine", "show", "virus.aB3dE5"});
  ASSERT_TRUE(show.ok());
  EXPECT_EQ(show->command->name, "quarantine show");
  EXPECT_EQ(show->operands, std::vector<std::string>{"virus.aB3dE5"});
}

TEST(Arguments, TakeCommonOptionsAnywhere) {
  const auto before = Parse({"-s", "1.2.3.4:5", "stats", "--json"});
  const auto after = Parse({"stats", "--json", "-s", "1.2.3.4:5"});
  ASSERT_TRUE(before.ok());
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(before->Value("-s"), "1.2.3.4:5");
  EXPECT_EQ(after->Value("-s"), "1.2.3.4:5");
  EXPECT_TRUE(before->Has("--json"));
  EXPECT_FALSE(Parse({"stats"})->Has("--json"));
}

TEST(Arguments, TakeValuesBehindAnEqualsSign) {
  EXPECT_EQ(Parse({"quarantine", "release", "--to=[::1]:25", "x"})->Value("--to"), "[::1]:25");
  EXPECT_EQ(Error({"stats", "--json=yes"}), "'--json' takes no value");
}

TEST(Arguments, EndOptionsAtTwoDashes) {
  EXPECT_EQ(Parse({"quarantine", "show", "--", "--json"})->operands, std::vector<std::string>{"--json"});
}

TEST(Arguments, SayWhatIsWrong) {
  EXPECT_EQ(Error({}), "a command is needed");
  EXPECT_EQ(Error({"nonsense"}), "'nonsense' is not understood");
  EXPECT_EQ(Error({"quarantine"}), "'quarantine' needs a word more");
  EXPECT_EQ(Error({"quarantine", "x\x1b"}), "'x\\x1b' is not understood");
  EXPECT_EQ(Error({"stats", "--message"}), "'--message' is not understood");
  EXPECT_EQ(Error({"stats", "now"}), "'now' is not understood");
  EXPECT_EQ(Error({"stats", "-s"}), "'-s' needs a value");
  EXPECT_EQ(Error({"quarantine", "show"}), "quarantine show needs: id");
}

TEST(Arguments, ReadNumbersWithinBounds) {
  const auto number = [](const char* text) {
    return Parse({"quarantine", "delete", "--older-than", text})->Number("--older-than", 7, 0, 100);
  };
  EXPECT_EQ(*number("2.5"), 2.5);
  EXPECT_EQ(*Parse({"quarantine", "delete"})->Number("--older-than", 7, 0, 100), 7);
  for (const char* text : {"", "x", "1x", "-1", "101", "nan", "inf"}) EXPECT_FALSE(number(text).ok()) << text;
}

TEST(Commands, AreDescribedOnceAndInWholeSentences) {
  std::set<std::string_view> names;
  for (const Command& command : Commands()) {
    SCOPED_TRACE(command.name);
    EXPECT_TRUE(names.insert(command.name).second);
    EXPECT_TRUE(command.doc.ends_with('.'));
    EXPECT_FALSE(command.summary.empty() || command.summary.ends_with('.'));
    EXPECT_NE(command.run, nullptr);
    EXPECT_NE(UsageText().find(command.name), std::string::npos);
    for (const Option& option : command.options) {
      EXPECT_TRUE(option.doc.ends_with('.')) << option.name;
      EXPECT_NE(UsageText(command).find(option.name), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace bivalve::ctl
