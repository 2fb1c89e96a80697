#include "tools/load/shared.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tools/load/smtp_sink_settings.h"
#include "tools/load/smtp_source_settings.h"

namespace bivalve::tools {
namespace {

std::string Parse(std::vector<std::string_view> arguments, SourceSettings& settings,
                  std::vector<std::string_view>& operands) {
  return std::string(
      ParseArguments(kSourceOptions, std::span(std::as_const(arguments)), settings, operands).message());
}

TEST(ToolArguments, TakesValuesInBothForms) {
  SourceSettings settings;
  std::vector<std::string_view> operands;
  EXPECT_EQ(Parse({"--size=10k", "--sessions", "20", "127.0.0.1:25", "--keep", "--infected", "2.5%"},
                  settings, operands),
            "");
  ASSERT_EQ(settings.sizes.size(), 1u);
  EXPECT_EQ(settings.sizes[0].bytes, 10'240u);
  EXPECT_EQ(settings.sessions, 20u);
  EXPECT_EQ(settings.per_session, 0u);
  EXPECT_DOUBLE_EQ(settings.infected_share, 0.025);
  EXPECT_EQ(operands, std::vector<std::string_view>{"127.0.0.1:25"});
}

TEST(ToolArguments, NamesOptionAndValueThatAreWrong) {
  const struct {
    std::vector<std::string_view> arguments;
    std::string_view error;
  } cases[] = {
      {{"--sesions", "1"}, "--sesions: unknown option"},
      {{"--sessions"}, "--sessions: needs a value"},
      {{"--sessions", "0"}, "--sessions: '0' is not"},
      {{"--sessions", "many"}, "--sessions: 'many' is not"},
      {{"--keep=yes"}, "--keep: takes no value"},
      {{"--size", "1k:60,"}, "--size: '' is not"},
      {{"--size", "1k:0"}, "--size: '0' is not"},
      {{"--infected", "101"}, "--infected: '101' is not between 0 and 100"},
      {{"--duration", "-1"}, "--duration: '-1' is not a time"},
      {{"--helo", "a\r\nb"}, "--helo: must not hold a line end"},
  };
  for (const auto& one : cases) {
    SourceSettings settings;
    std::vector<std::string_view> operands;
    EXPECT_TRUE(Parse(one.arguments, settings, operands).starts_with(one.error)) << one.error;
  }
}

TEST(ToolArguments, HelpShowsEveryOptionOnceInLinesThatFit) {
  for (const std::string& help : {OptionsHelp(kSourceOptions), OptionsHelp(kSinkOptions)}) {
    size_t start = 0;
    for (size_t end = help.find('\n'); end != std::string::npos; end = help.find('\n', start)) {
      EXPECT_LE(end - start, 110u);
      start = end + 1;
    }
  }
  const std::string help = OptionsHelp(kSourceOptions);
  for (const auto& option : kSourceOptions) {
    EXPECT_NE(help.find("  " + std::string(option.name)), std::string::npos) << option.name;
  }
}

TEST(ParseEndpointAnyPort, TakesPortZero) {
  const auto address = ParseEndpointAnyPort("127.0.0.1:0");
  ASSERT_TRUE(address.ok());
  EXPECT_EQ(std::get<net::SocketAddress>(*address).port(), 0);
  EXPECT_EQ(std::get<net::SocketAddress>(*ParseEndpointAnyPort("[::1]:0")).ToString(), "[::1]:0");
  EXPECT_EQ(std::get<net::PortOnly>(*ParseEndpointAnyPort("0")).port, 0);
  EXPECT_EQ(std::get<net::HostName>(*ParseEndpointAnyPort("localhost:0")).port, 0);
  EXPECT_EQ(std::get<net::SocketAddress>(*ParseEndpointAnyPort("127.0.0.1:2525")).port(), 2525);
  EXPECT_FALSE(ParseEndpointAnyPort(":0").ok());
}

TEST(Random, StaysWithinItsBounds) {
  Random random(5);
  double sum = 0;
  for (int i = 0; i < 10'000; ++i) {
    const double unit = random.Unit();
    ASSERT_GE(unit, 0);
    ASSERT_LT(unit, 1);
    sum += unit;
    ASSERT_LT(random.Below(7), 7u);
  }
  EXPECT_NEAR(sum / 10'000, 0.5, 0.02);
  EXPECT_TRUE(random.Happens(1));
  EXPECT_FALSE(random.Happens(0));
}

}  // namespace
}  // namespace bivalve::tools
