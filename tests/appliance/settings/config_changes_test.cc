#include "appliance/settings/config_changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "appliance/settings/option_values.h"
#include "tests/appliance/settings/config_fixture.h"

namespace bivalve::appliance {
namespace {

TEST(Reload, SettingsThatCannotChangeKeepTheirValuesAndAreNamed) {
  const Config before = Good("Workers: 1\nTimeOut: 5\n");
  Config after = Good(
      "OutAddress: 26\nWorkers: 2\nListen: 10.0.0.1:25\nUser: mail\nPidFile: /p\nStatsAddress: 1.2.3.4:5\n"
      "TransparentProxy: on\nTimeOut: 6\nSocketMode: 0600\n");
  const Changes changes = ChangesOf(before, after);
  EXPECT_THAT(changes.now, testing::ElementsAre("OutAddress", "TimeOut"));
  EXPECT_THAT(changes.at_next_start,
              testing::UnorderedElementsAre("Listen", "TransparentProxy", "User", "PidFile", "Workers",
                                            "StatsAddress", "SocketMode"));
  KeepWhatCannotChange(before, after);
  EXPECT_TRUE(ChangesOf(before, after).at_next_start.empty());
  EXPECT_THAT(ChangesOf(before, after).now, testing::ElementsAre("OutAddress", "TimeOut"));
  EXPECT_EQ(after.workers, 1u);
  EXPECT_FALSE(after.stats_address_set);
  EXPECT_EQ(after.timeout, std::chrono::seconds(6));
}

// Each row keeps its value or takes the new one, as the table says.
TEST(Reload, EveryRowDoesAsTheTableSays) {
  for (const Option& option : Options()) {
    if (!option.alias_of.empty()) continue;
    SCOPED_TRACE(option.name);
    const Config before = Good("");
    Config after = before;
    bool differs = false;
    for (const std::string_view text : {"on", "off", "77", "127.0.0.1:77", "127.0.0.1", "bounce", "instream",
                                        "reject", "warn", "json", "allow"}) {
      Config other = before;
      if (!SetOption(other, option, text).ok()) continue;
      if (PrintOption(other, option) == PrintOption(before, option)) continue;
      after = other;
      differs = true;
    }
    ASSERT_TRUE(differs);
    const bool fixed = option.on_reload == OnReload::kNextStart;
    EXPECT_EQ(ChangesOf(before, after).now.size(), fixed ? 0u : 1u);
    EXPECT_EQ(ChangesOf(before, after).at_next_start.size(), fixed ? 1u : 0u);
    KeepWhatCannotChange(before, after);
    EXPECT_EQ(PrintOption(before, option) == PrintOption(after, option), fixed);
  }
}

TEST(Reload, WhatIsLeftMustBeWhole) {
  const Config before = Good("");
  Config after = Parse("TransparentProxy: on\n").config;
  EXPECT_TRUE(MissingSettings(after).empty());
  KeepWhatCannotChange(before, after);
  EXPECT_THAT(MissingSettings(after), testing::ElementsAre("OutAddress"));
}

}  // namespace
}  // namespace bivalve::appliance
