#include "appliance/settings/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "appliance/settings/option_values.h"
#include "core/text.h"
#include "tests/appliance/settings/config_fixture.h"

namespace bivalve::appliance {
namespace {

using testing::ElementsAre;

TEST(Options, EveryDefaultParses) {
  for (const Option& option : Options()) {
    SCOPED_TRACE(option.name);
    if (!option.alias_of.empty() || option.required) {
      EXPECT_TRUE(option.default_text.empty());
      continue;
    }
    for (const std::string_view text :
         {option.default_text, option.default_clamsmtpd, option.default_else_path}) {
      if (text.empty() && !option.default_text.empty()) continue;
      Config config = {};
      EXPECT_TRUE(SetOption(config, option, text).ok()) << text;
    }
  }
}

TEST(Options, EveryDocIsASentence) {
  for (const Option& option : Options()) {
    SCOPED_TRACE(option.name);
    EXPECT_TRUE(option.doc.ends_with('.'));
    EXPECT_GE(option.doc.size(), 20u);
    EXPECT_TRUE(option.doc[0] >= 'A' && option.doc[0] <= 'Z');
    EXPECT_EQ(option.doc.find("  "), std::string_view::npos);
    EXPECT_EQ(option.doc.find('\n'), std::string_view::npos);
  }
}

TEST(Options, NoTwoRowsSetOneField) {
  for (const Option& a : Options()) {
    for (const Option& b : Options()) {
      if (&a == &b) continue;
      EXPECT_FALSE(core::EqualsIgnoreCase(a.name, b.name)) << a.name;
      if (!a.alias_of.empty() || !b.alias_of.empty()) continue;
      EXPECT_NE(a.field, b.field) << a.name << ' ' << b.name;
      if (a.set_flag == nullptr) continue;
      EXPECT_NE(a.set_flag, b.set_flag) << a.name << ' ' << b.name;
      EXPECT_NE(Field(a.set_flag), b.field) << a.name << ' ' << b.name;
    }
  }
}

TEST(Options, EveryRowIsWhole) {
  for (const Option& option : Options()) {
    SCOPED_TRACE(option.name);
    const bool is_text = std::holds_alternative<std::string Config::*>(option.field);
    const bool is_uint32 = std::holds_alternative<uint32_t Config::*>(option.field);
    const bool is_number = is_uint32 || std::holds_alternative<uint64_t Config::*>(option.field) ||
                           std::holds_alternative<std::chrono::seconds Config::*>(option.field);
    EXPECT_EQ(std::holds_alternative<std::monostate>(option.field), !option.alias_of.empty());
    EXPECT_EQ(option.max > 0, is_number);
    EXPECT_LE(option.min, option.max);
    if (is_uint32) {
      EXPECT_LE(option.max, UINT32_MAX);
    }
    if (!option.zero_name.empty()) {
      EXPECT_GT(option.min, 0u);  // otherwise 0 would be printed as that name
    }
    if (option.check != nullptr) {
      EXPECT_TRUE(is_text);
    }
    EXPECT_EQ(option.on_reload == OnReload::kUnset, !option.alias_of.empty());
    EXPECT_EQ(option.value_on.empty(), option.value_off.empty());
    if (option.alias_of.empty()) continue;
    const Option* target = FindOption(option.alias_of);
    ASSERT_NE(target, nullptr);
    EXPECT_TRUE(target->alias_of.empty());
    for (const std::string_view value : {option.value_on, option.value_off}) {
      Config config = {};
      if (!value.empty()) {
        EXPECT_TRUE(SetOption(config, *target, value).ok());
      }
    }
  }
}

// The defaults are a promise to those who upgrade.
TEST(Options, HasTheDefaultsOfTheContract) {
  const Config config = Good("");
  EXPECT_THAT(Texts(config.listen), ElementsAre("10025"));
  EXPECT_TRUE(std::holds_alternative<net::PortOnly>(config.listen[0]));
  EXPECT_THAT(Texts(config.clam_address), ElementsAre("/var/run/clamav/clamd.ctl"));
  EXPECT_EQ(config.header, "X-Virus-Scanned: ClamAV using Bivalve");
  EXPECT_EQ(config.action, VirusPolicy::kDrop);
  EXPECT_EQ(config.temp_directory, "/tmp");
  EXPECT_EQ(config.connections_max, 20000u);
  EXPECT_EQ(config.timeout, std::chrono::seconds(180));
  EXPECT_EQ(config.pid_file, "");
  EXPECT_EQ(config.workers, 0u);
  EXPECT_EQ(config.clam_method, ClamMethod::kAuto);
  EXPECT_EQ(config.clam_connections, 2u);
  EXPECT_EQ(config.clam_timeout, std::chrono::seconds(120));
  EXPECT_THAT(config.scan_failure,
              ElementsAre(FailurePolicy::kTempfail, FailurePolicy::kTempfail, FailurePolicy::kTempfail,
                          FailurePolicy::kReject, FailurePolicy::kReject));
  EXPECT_EQ(config.canary, scan::CanaryMode::kOn);
  EXPECT_EQ(config.message_bytes_max, 100u << 20);
  EXPECT_EQ(config.body_memory_bytes, 0u);
  EXPECT_EQ(config.bare_newline, BareNewline::kGuard);
  EXPECT_EQ(config.host_name, "smtp.passthru");
  ASSERT_TRUE(config.stats_address.has_value());
  EXPECT_EQ(net::ToString(*config.stats_address), "127.0.0.1:10027");
  EXPECT_FALSE(config.stats_address_set);
  EXPECT_EQ(config.shutdown_timeout, std::chrono::seconds(30));
  EXPECT_EQ(config.log_format, LogFormat::kText);
}

TEST(Options, TakesTheHeaderOfTheProgramsName) {
  const Parsed parsed = ParseConfig("OutAddress: 25", "x.conf", ProgramName::kClamsmtpd, {}, AllExist);
  EXPECT_EQ(parsed.config.header, "X-Virus-Scanned: ClamAV using ClamSMTP");
}

TEST(Options, TakesTheOldClamdSocketWhereOnlyThatExists) {
  const Option& option = *FindOption("clamaddress");
  EXPECT_EQ(DefaultText(option, ProgramName::kBivalved, AllExist), "/var/run/clamav/clamd.ctl");
  EXPECT_EQ(DefaultText(option, ProgramName::kBivalved, OnlyOldSocketExists), "/var/run/clamav/clamd");
  EXPECT_EQ(DefaultText(option, ProgramName::kBivalved, NoneExists), "/var/run/clamav/clamd.ctl");
}

TEST(PathExistsOnDisk, FollowsTheDisk) {
  EXPECT_TRUE(PathExistsOnDisk("/proc/self"));
  EXPECT_FALSE(PathExistsOnDisk("/proc/self/no such file"));
}

}  // namespace
}  // namespace bivalve::appliance
