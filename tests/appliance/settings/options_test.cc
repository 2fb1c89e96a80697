#include "appliance/settings/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "appliance/settings/option_values.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

bool AllExist(const std::string&) { return true; }
bool NoneExists(const std::string&) { return false; }
bool OnlyOldSocketExists(const std::string& path) { return path == "/var/run/clamav/clamd"; }

Parsed Parse(std::string_view text, std::span<const Override> overrides = {}) {
  return ParseConfig(text, "x.conf", ProgramName::kBivalved, overrides, AllExist);
}

// The problems as an operator sees them, warnings marked.
std::vector<std::string> Problems(std::string_view text, std::span<const Override> overrides = {}) {
  std::vector<std::string> out;
  for (const Problem& problem : Parse(text, overrides).problems) {
    out.push_back((problem.kind == Problem::Kind::kWarning ? "warning: " : "") + ToString(problem));
  }
  return out;
}

// What is wrong with one line behind a sufficient configuration, without file and line; "" when nothing is.
std::string Problem1(std::string_view line) {
  const std::vector<std::string> problems = Problems(core::Cat("OutAddress: 25\n", line, "\n"));
  if (problems.empty()) return "";
  EXPECT_EQ(problems.size(), 1u);
  EXPECT_TRUE(problems[0].starts_with("x.conf:2: ")) << problems[0];
  return problems[0].substr(std::string_view("x.conf:2: ").size());
}

Config Good(std::string_view lines) {
  Parsed parsed = Parse(core::Cat("OutAddress: 25\n", lines, "\n"));
  EXPECT_TRUE(parsed.ok()) << lines;
  return parsed.config;
}

std::vector<std::string> Texts(const std::vector<net::Endpoint>& endpoints) {
  std::vector<std::string> out;
  for (const net::Endpoint& endpoint : endpoints) out.push_back(net::ToString(endpoint));
  return out;
}

// The table.

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
      EXPECT_GT(option.min, 0u);  // or 0 would be printed as that name
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

// Reading again.

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

// The values that CONTRACT promises.
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

// The syntax.

TEST(ParseConfig, ReadsNamesAndValuesInEveryGuise) {
  EXPECT_EQ(Good("maxconnections:5").connections_max, 5u);
  EXPECT_EQ(Good(" \t MAXCONNECTIONS \t : \t 5 \t ").connections_max, 5u);
  EXPECT_EQ(Good("MaxConnections: 5\r").connections_max, 5u);
  EXPECT_EQ(Good("  # Nonsense: 5\n\n \t\r\n#").connections_max, 20000u);
  EXPECT_THAT(Texts(Good("Listen: [2001:db8::1]:25").listen), ElementsAre("[2001:db8::1]:25"));
  EXPECT_EQ(Good("Header: X-A: b:c # no comment").header, "X-A: b:c # no comment");
  EXPECT_EQ(Good("Header:").header, "");
  EXPECT_THAT(Texts(Parse("OutAddress: mx.example.org:26").config.out_address),
              ElementsAre("mx.example.org:26"));
  EXPECT_THAT(Texts(Parse("\xef\xbb\xbfOutAddress: 27\r\nListen: 1\r\n").config.out_address),
              ElementsAre("27"));
}

TEST(ParseConfig, ReadsTheFileThatDebianShips) {
  const Parsed parsed = ParseConfig(
      "# a comment\n\nOutAddress: 10025\n#MaxConnections: 64\nListen: 127.0.0.1:10026\n"
      "ClamAddress: /var/run/clamav/clamd.ctl\nTempDirectory: /var/spool/clamsmtp\n"
      "PidFile: /var/run/clamsmtp/clamsmtpd.pid\n#Bounce: off\n",
      "/etc/clamsmtpd.conf", ProgramName::kClamsmtpd, {}, NoneExists);
  EXPECT_TRUE(parsed.ok());
  EXPECT_THAT(parsed.problems, IsEmpty());
  EXPECT_EQ(parsed.config.temp_directory, "/var/spool/clamsmtp");
  EXPECT_EQ(parsed.config.pid_file, "/var/run/clamsmtp/clamsmtpd.pid");
  EXPECT_TRUE(std::holds_alternative<net::PortOnly>(parsed.config.out_address.at(0)));
}

TEST(ParseConfig, ReportsLinesThatAreNone) {
  EXPECT_EQ(Problem1("Action bounce"), "'Action bounce' is not like \"Name: value\"");
  EXPECT_EQ(Problem1(" : bounce"), "': bounce' is not like \"Name: value\"");
  EXPECT_EQ(Problem1(std::string_view("# a\0b", 5)), "the line has a NUL byte");
  EXPECT_EQ(Problem1(std::string_view("Header: a\0b", 11)), "the line has a NUL byte");
  EXPECT_EQ(Problem1("TempDirectory: " + std::string(4096, 'x')), "the line is longer than 4096 bytes");
  EXPECT_EQ(Problem1("TempDirectory: /a\rListen: 1"),
            "TempDirectory: '/a\\rListen: 1' has a control character");
  EXPECT_EQ(Problem1("TempDirectory: /a\x7f"), "TempDirectory: '/a\x5cx7f' has a control character");
}

TEST(ParseConfig, SaysWhichSettingWasProbablyMeant) {
  EXPECT_EQ(Problem1("MaxConections: 5"), "MaxConections: unknown setting; did you mean MaxConnections?");
  EXPECT_EQ(Problem1("max-connections: 5"), "max-connections: unknown setting; did you mean MaxConnections?");
  EXPECT_EQ(Problem1("TimeuOt: 5"), "TimeuOt: unknown setting; did you mean TimeOut?");
  EXPECT_EQ(Problem1("Lisen: 5"), "Lisen: unknown setting; did you mean Listen?");
  EXPECT_EQ(Problem1("ClamTimeouts: 5"), "ClamTimeouts: unknown setting; did you mean ClamTimeOut?");
  EXPECT_EQ(Problem1("Nonsense: 5"), "Nonsense: unknown setting");
  EXPECT_EQ(Problem1("X: 5"), "X: unknown setting");
  EXPECT_EQ(Problem1("Uxxx: 5"), "Uxxx: unknown setting") << "three letters of four are another word";
  EXPECT_EQ(Problem1("a\x01z: 5"), "a\\x01z: unknown setting");
  // Settings of other versions are not to be mistaken for something else.
  for (const char* name : {"Canary", "ProxyProtocol"}) {
    if (FindOption(name) == nullptr) {
      EXPECT_EQ(Problem1(std::string(name) + ": on"), std::string(name) + ": unknown setting");
    }
  }
}

TEST(ParseConfig, ReportsSettingsThatStandTwice) {
  EXPECT_EQ(Problem1("Action: pass"), "");
  EXPECT_THAT(Problems("OutAddress: 25\nAction: pass\n\naction: drop\nACTION: drop"),
              ElementsAre("x.conf:4: Action: stands already in line 2, and may stand only once",
                          "x.conf:5: Action: stands already in line 2, and may stand only once"));
  EXPECT_THAT(Problems("OutAddress: 25\nAction: pass\nBounce: on"),
              ElementsAre("warning: x.conf:3: Bounce: is an old name; use \"Action: bounce\" instead",
                          "x.conf:3: Bounce: stands already in line 2 as Action, and may stand only once"));
  EXPECT_THAT(
      Problems("OutAddress: 25\nScanHeader: X: a\nHeader: X: b"),
      ElementsAre("warning: x.conf:2: ScanHeader: is an old name; use Header instead",
                  "x.conf:3: Header: stands already in line 2 as ScanHeader, and may stand only once"));
}

TEST(ParseConfig, CollectsWhatMayBeRepeated) {
  const Config config =
      Parse("OutAddress: 25\nOutAddress: a.example:26\nListen: 1\nListen: 2\nClamAddress: /c\n").config;
  EXPECT_THAT(Texts(config.out_address), ElementsAre("25", "a.example:26"));
  EXPECT_THAT(Texts(config.listen), ElementsAre("1", "2"));
  EXPECT_THAT(Texts(config.clam_address), ElementsAre("/c"));

  EXPECT_THAT(Problems("OutAddress: 25\nOutAddress: 26\nOutAddress: 25"),
              ElementsAre("warning: x.conf:3: OutAddress: '25' stands there twice and counts once"));
  EXPECT_THAT(Texts(Parse("OutAddress: 25\nOutAddress: 25").config.out_address), ElementsAre("25"));

  std::string many;
  for (size_t i = 0; i <= kRepeatMax; ++i) core::Append(many, "OutAddress: ", 1000 + i, "\n");
  EXPECT_THAT(Problems(many), ElementsAre("x.conf:257: OutAddress: may not stand more than 256 times"));
}

TEST(ParseConfig, AcceptsOldNamesWithAWarning) {
  EXPECT_THAT(Problems("OutAddress: 25\nbounce: yes\nScanHeader: X: a"),
              ElementsAre("warning: x.conf:2: Bounce: is an old name; use \"Action: bounce\" instead",
                          "warning: x.conf:3: ScanHeader: is an old name; use Header instead"));
  const Parsed parsed = Parse("OutAddress: 25\nBounce: yes\nScanHeader: X: a");
  EXPECT_TRUE(parsed.ok());
  EXPECT_EQ(parsed.config.action, VirusPolicy::kBounce);
  EXPECT_EQ(parsed.config.header, "X: a");
}

TEST(ParseConfig, WantsNoOutAddressOfATransparentProxy) {
  EXPECT_THAT(Problems("TransparentProxy: on"), IsEmpty());
  EXPECT_THAT(Problems("TransparentProxy: off"),
              ElementsAre("x.conf: OutAddress: is required, and is missing"));
}

TEST(ParseConfig, ReadsTheSettingsOfClamsmtpd) {
  const Config config = Good(
      "KeepAlives: 30\nQuarantine: on\nVirusAction: /usr/local/bin/act \"$VIRUS\"\nXClient: yes\nUser: "
      "clamsmtp\n"
      "DebugFiles: 1");
  EXPECT_EQ(config.keep_alives, std::chrono::seconds(30));
  EXPECT_TRUE(config.quarantine);
  EXPECT_EQ(config.virus_action, "/usr/local/bin/act \"$VIRUS\"");
  EXPECT_TRUE(config.xclient);
  EXPECT_EQ(config.user, "clamsmtp");
  EXPECT_TRUE(config.debug_files);
}

TEST(ParseConfig, WantsAnOutAddress) {
  EXPECT_THAT(Problems(""), ElementsAre("x.conf: OutAddress: is required, and is missing"));
  EXPECT_THAT(Problems("# OutAddress: 25\n"), ElementsAre("x.conf: OutAddress: is required, and is missing"));
  EXPECT_THAT(Problems("OutAddress:\n"), ElementsAre("x.conf:1: OutAddress: needs a value"));
  EXPECT_EQ(Parse("").problems[0].line, 0);
}

TEST(ParseConfig, ReportsEveryProblemAtOnce) {
  const auto problems = Problems(
      "Listn: 25\r\n"
      "MaxConnections: 0\r\n"
      "Action: explode\r\n"
      "nothing\r\n"
      "Bounce: off\r\n"
      "Header: scanned");
  EXPECT_THAT(problems,
              ElementsAre("x.conf:1: Listn: unknown setting; did you mean Listen?",
                          "x.conf:2: MaxConnections: '0' is not between 1 and 1000000",
                          "x.conf:3: Action: 'explode' is not one of drop, bounce, pass",
                          "x.conf:4: 'nothing' is not like \"Name: value\"",
                          "warning: x.conf:5: Bounce: is an old name; use \"Action: drop\" instead",
                          "x.conf:5: Bounce: stands already in line 3 as Action, and may stand only once",
                          "x.conf:6: Header: 'scanned' is no header: it must be like \"Name: text\"",
                          "x.conf: OutAddress: is required, and is missing"));
}

// The values.

TEST(ParseConfig, ChecksNumbers) {
  EXPECT_EQ(Good("MaxConnections: 1").connections_max, 1u);
  EXPECT_EQ(Good("MaxConnections: 1000000").connections_max, 1000000u);
  EXPECT_EQ(Good("MaxConnections: 0064").connections_max, 64u);
  const std::string out_of_range[] = {"0", "-1", "1000001", "4294967297", "99999999999999999999999"};
  for (const std::string& value : out_of_range) {
    EXPECT_EQ(Problem1("MaxConnections: " + value),
              "MaxConnections: '" + value + "' is not between 1 and 1000000");
  }
  for (const char* value : {"x", "1x", "1 2", "1.5", "-", "+1", "0x10", "1K", "auto"}) {
    EXPECT_EQ(Problem1(core::Cat("MaxConnections: ", value)),
              core::Cat("MaxConnections: '", value, "' is not a whole number"));
  }
  EXPECT_EQ(Problem1("MaxConnections:"), "MaxConnections: needs a value");
}

TEST(ParseConfig, KnowsAWordForZero) {
  EXPECT_EQ(Good("Workers: AUTO").workers, 0u);
  EXPECT_EQ(Good("Workers: 3").workers, 3u);
  EXPECT_EQ(Problem1("Workers: 0"), "Workers: '0' is not between 1 and 1024, nor auto");
  EXPECT_EQ(Problem1("Workers: many"), "Workers: 'many' is not a whole number, nor auto");
  EXPECT_EQ(Good("BodyMemory: auto").body_memory_bytes, 0u);
}

TEST(ParseConfig, ChecksSeconds) {
  EXPECT_EQ(Good("TimeOut: 1").timeout, std::chrono::seconds(1));
  EXPECT_EQ(Good("ShutdownTimeOut: 0").shutdown_timeout, std::chrono::seconds(0));
  EXPECT_EQ(Problem1("TimeOut: 0"), "TimeOut: '0' is not between 1 and 86400");
  EXPECT_EQ(Problem1("ClamTimeOut: 2m"), "ClamTimeOut: '2m' is not a whole number of seconds");
}

TEST(ParseConfig, ChecksSizes) {
  EXPECT_EQ(Good("MaxMessageSize: 0").message_bytes_max, 0u);
  EXPECT_EQ(Good("MaxMessageSize: 1000").message_bytes_max, 1000u);
  EXPECT_EQ(Good("MaxMessageSize: 3k").message_bytes_max, 3072u);
  EXPECT_EQ(Good("MaxMessageSize: 2M").message_bytes_max, 2u << 20);
  EXPECT_EQ(Good("BodyMemory: 5G").body_memory_bytes, uint64_t{5} << 30);
  EXPECT_EQ(Problem1("BodyMemory: 0"), "BodyMemory: '0' is not between 1 and 1048576G, nor auto");
  for (const char* value :
       {"1048577G", "17179869184G", "17179869185G", "18446744073709551615", "20000000000000000000G", "-1K"}) {
    EXPECT_EQ(Problem1(core::Cat("MaxMessageSize: ", value)),
              core::Cat("MaxMessageSize: '", value, "' is not between 0 and 1048576G"));
  }
  for (const char* value : {"100MB", "M", "10 M", "1.5G", "10T", "x"}) {
    EXPECT_EQ(Problem1(core::Cat("MaxMessageSize: ", value)),
              core::Cat("MaxMessageSize: '", value, "' is not a size such as 65536, 512K, 100M or 2G"));
  }
}

TEST(ParseConfig, ChecksSwitches) {
  for (const char* on : {"on", "ON", "yes", "true", "1"}) {
    EXPECT_THAT(Problems(core::Cat("OutAddress: 25\nBounce: ", on)),
                ElementsAre("warning: x.conf:2: Bounce: is an old name; use \"Action: bounce\" instead"));
    EXPECT_EQ(Good(core::Cat("Bounce: ", on)).action, VirusPolicy::kBounce);
  }
  for (const char* off : {"off", "No", "false", "0"}) {
    EXPECT_EQ(Good(core::Cat("Bounce: ", off)).action, VirusPolicy::kDrop);
  }
  for (const char* value : {"maybe", "2", "of", "enabled"}) {
    EXPECT_EQ(Problem1(core::Cat("Bounce: ", value)),
              core::Cat("Bounce: '", value, "' is neither on nor off"));
  }
  EXPECT_EQ(Problem1("Bounce:"), "Bounce: needs a value");

  // No setting of today is a plain switch; the next one will be.
  Config config = {};
  const Option option{.name = "Switch", .field = &Config::stats_address_set};
  EXPECT_TRUE(SetOption(config, option, "on").ok());
  EXPECT_TRUE(config.stats_address_set);
  EXPECT_THAT(PrintOption(config, option), ElementsAre("on"));
}

TEST(ParseConfig, ChecksChoices) {
  EXPECT_EQ(Good("Action: Bounce").action, VirusPolicy::kBounce);
  EXPECT_EQ(Good("Action: pass").action, VirusPolicy::kPass);
  EXPECT_EQ(Good("ClamMethod: fildes").clam_method, ClamMethod::kFildes);
  EXPECT_EQ(Good("ClamMethod: instream").clam_method, ClamMethod::kInstream);
  EXPECT_EQ(Good("BareNewline: reject").bare_newline, BareNewline::kReject);
  EXPECT_EQ(Good("BareNewline: pass").bare_newline, BareNewline::kPass);
  EXPECT_EQ(Problem1("Action: reject"), "Action: 'reject' is not one of drop, bounce, pass");
  EXPECT_EQ(Problem1("ClamMethod: file"), "ClamMethod: 'file' is not one of auto, fildes, instream");
  EXPECT_EQ(Problem1("BareNewline: off"), "BareNewline: 'off' is not one of guard, reject, pass");
  EXPECT_EQ(Problem1("Action:"), "Action: needs a value");
}

TEST(ParseConfig, ReadsScanFailureAsOneActionOrAList) {
  using enum FailurePolicy;
  EXPECT_THAT(Good("ScanFailure: pass").scan_failure, ElementsAre(kPass, kPass, kPass, kPass, kPass));
  EXPECT_THAT(Good("ScanFailure: down=tempfail, timeout=tempfail, error=tempfail, size=reject, limits=pass")
                  .scan_failure,
              ElementsAre(kTempfail, kTempfail, kTempfail, kReject, kPass));
  EXPECT_THAT(Good("ScanFailure: LIMITS = pass,down=reject").scan_failure,
              ElementsAre(kReject, kTempfail, kTempfail, kReject, kPass))
      << "what is not named keeps the default";
  EXPECT_EQ(Problem1("ScanFailure: drop"), "ScanFailure: 'drop' is not one of tempfail, reject, pass");
  EXPECT_EQ(Problem1("ScanFailure: down=drop"), "ScanFailure: 'drop' is not one of tempfail, reject, pass");
  EXPECT_EQ(Problem1("ScanFailure: load=pass"),
            "ScanFailure: 'load' is not one of down, timeout, error, size, limits");
  EXPECT_EQ(Problem1("ScanFailure: down=pass, down=pass"), "ScanFailure: has the cause 'down' twice");
  EXPECT_EQ(Problem1("ScanFailure: pass, down=tempfail"),
            "ScanFailure: 'pass' is not like CAUSE=ACTION, as everything in a list must be");
  EXPECT_EQ(Problem1("ScanFailure: down=pass,"),
            "ScanFailure: '' is not like CAUSE=ACTION, as everything in a list must be");
  EXPECT_EQ(Problem1("ScanFailure:"), "ScanFailure: needs a value");
  // All that is wrong with a list, at once.
  EXPECT_EQ(Problem1("ScanFailure: load=drop, down, size=pass, size=reject"),
            "ScanFailure: 'load' is not one of down, timeout, error, size, limits; "
            "'drop' is not one of tempfail, reject, pass; "
            "'down' is not like CAUSE=ACTION, as everything in a list must be; has the cause 'size' twice");
}

TEST(ParseConfig, ChecksAddresses) {
  EXPECT_THAT(Texts(Parse("OutAddress: 192.0.2.1").config.out_address), ElementsAre("192.0.2.1:25"));
  EXPECT_THAT(Texts(Good("Listen: 192.0.2.1").listen), ElementsAre("192.0.2.1:10025"));
  EXPECT_THAT(Texts(Good("ClamAddress: 3310").clam_address), ElementsAre("127.0.0.1:3310"));
  EXPECT_EQ(net::ToString(*Good("StatsAddress: 80").stats_address), "127.0.0.1:80");
  EXPECT_EQ(net::ToString(*Good("StatsAddress: /run/stats").stats_address), "/run/stats");
  // The words are those of net::ParseEndpoint.
  for (const char* value : {"99999", "0", "host:", "a b:25", "[::1", "1.2.3.4:x"}) {
    const std::string problem = Problem1(core::Cat("Listen: ", value));
    EXPECT_TRUE(problem.starts_with("Listen: ")) << value << ": " << problem;
  }
  EXPECT_NE(Problem1("ClamAddress: clamd.example"), "");  // without a port
}

TEST(ParseConfig, ReadsModesInOctal) {
  EXPECT_EQ(Good("").socket_mode, FileMode{0660});
  for (const char* text : {"SocketMode: 0666", "SocketMode: 666"})
    EXPECT_EQ(Good(text).socket_mode, FileMode{0666});
  EXPECT_EQ(Good("SocketMode: 0").socket_mode, FileMode{0});
  EXPECT_EQ(Good("SocketMode: 0777").socket_mode, FileMode{0777});
  for (const std::string text : {"0680", "1777", "01777", "-1", "0x1", "rw", "00660", "660 ", "7777777"}) {
    const Parsed parsed =
        ParseConfig("OutAddress: 26\nSocketMode: " + text, "x", ProgramName::kBivalved, {}, NoneExists);
    EXPECT_EQ(parsed.ok(), text == "660 ") << text;
  }
}

TEST(ParseConfig, KnowsWhetherTheStatsAddressWasSet) {
  EXPECT_TRUE(Good("StatsAddress: 127.0.0.1:10027").stats_address_set);
  const Config off = Good("StatsAddress:");
  EXPECT_TRUE(off.stats_address_set);
  EXPECT_FALSE(off.stats_address.has_value());
}

TEST(ParseConfig, ReadsProxyNetworks) {
  const Config config =
      Good("ProxyProtocol: on\nProxyProtocolFrom: 192.0.2.0/24\nProxyProtocolFrom: 2001:db8::/32");
  EXPECT_TRUE(config.proxy_protocol);
  ASSERT_EQ(config.proxy_protocol_from.size(), 2u);
  EXPECT_EQ(config.proxy_protocol_from[0].ToString(), "192.0.2.0/24");
  EXPECT_EQ(config.proxy_protocol_from[1].ToString(), "2001:db8::/32");
  EXPECT_TRUE(Good("").proxy_protocol_from.empty());
  EXPECT_EQ(Problem1("ProxyProtocolFrom: 192.0.2.1/24"),
            "ProxyProtocolFrom: '192.0.2.1/24' has bits behind its prefix");
  EXPECT_EQ(Problem1("ProxyProtocolFrom: mail"),
            "ProxyProtocolFrom: 'mail' is not a network such as 192.0.2.0/24 or 2001:db8::/32");
}

TEST(ParseConfig, ReadsTheLimitForEachClient) {
  EXPECT_EQ(Good("").connections_per_client_max, 0u);
  EXPECT_EQ(Good("MaxConnectionsPerClient: 5").connections_per_client_max, 5u);
  EXPECT_EQ(Problem1("MaxConnectionsPerClient: 0"),
            "MaxConnectionsPerClient: '0' is not between 1 and 1000000, nor off");
}

TEST(ParseConfig, ChecksTexts) {
  EXPECT_EQ(Problem1("TempDirectory:"), "TempDirectory: needs a value");
  EXPECT_EQ(Good("PidFile:").pid_file, "");
  EXPECT_EQ(Good("HostName: mx_1.example.org").host_name, "mx_1.example.org");
  EXPECT_EQ(Good("HostName: [IPv6:2001:db8::1]").host_name, "[IPv6:2001:db8::1]");
  EXPECT_EQ(Problem1("HostName: mx example"), "HostName: 'mx example' is no host name");
  EXPECT_EQ(Problem1("HostName:"), "HostName: needs a value");
  EXPECT_EQ(Problem1("Header: X: %z"), "Header: unknown sequence '%z'; known are %i %l %d %%");
  EXPECT_EQ(Good("Header: X: %i\\n\\t%%").header, "X: %i\\n\\t%%");
}

// Overrides.

TEST(ParseConfig, PutsOverridesOverTheFile) {
  const Override overrides[] = {
      {"Listen", "7"}, {"MaxConnections", "8"}, {"Listen", "9"}, {"OutAddress", "10"}};
  const Parsed parsed = Parse("Listen: 1\nListen: 2\nMaxConnections: 3\n", overrides);
  ASSERT_TRUE(parsed.ok());
  EXPECT_THAT(Texts(parsed.config.listen), ElementsAre("7", "9"));
  EXPECT_EQ(parsed.config.connections_max, 8u);

  const Override bad[] = {{"TimeOut", "soon"}, {"Nonsense", "1"}, {"Header", "X: a\nb"}};
  EXPECT_THAT(Problems("OutAddress: 25", bad),
              ElementsAre("command line: TimeOut: 'soon' is not a whole number of seconds",
                          "command line: Nonsense: unknown setting",
                          "command line: Header: 'X: a\\nb' has a control character"));
}

// Dumping.

TEST(DumpConfig, WritesEverySetting) {
  EXPECT_EQ(DumpConfig(Good("")),
            "OutAddress: 25\n"
            "Listen: 10025\n"
            "ClamAddress: /var/run/clamav/clamd.ctl\n"
            "Header: X-Virus-Scanned: ClamAV using Bivalve\n"
            "Action: drop\n"
            "Quarantine: off\n"
            "VirusAction:\n"
            "TempDirectory: /tmp\n"
            "MaxConnections: 20000\n"
            "TimeOut: 180\n"
            "KeepAlives: 0\n"
            "XClient: off\n"
            "XClientFailure: refuse\n"
            "TransparentProxy: off\n"
            "User:\n"
            "PidFile:\n"
            "Workers: auto\n"
            "ClamMethod: auto\n"
            "ClamConnections: 2\n"
            "ClamTimeOut: 120\n"
            "ScanFailure: down=tempfail, timeout=tempfail, error=tempfail, size=reject, limits=reject\n"
            "Canary: on\n"
            "MaxMessageSize: 100M\n"
            "BodyMemory: auto\n"
            "BareNewline: guard\n"
            "BinaryMime: off\n"
            "ProxyProtocol: off\n"
            "MaxConnectionsPerClient: off\n"
            "HostName: smtp.passthru\n"
            "#StatsAddress: 127.0.0.1:10027\n"
            "SocketMode: 0660\n"
            "ShutdownTimeOut: 30\n"
            "LogFormat: text\n"
            "DrainTimeOut: 300\n"
            "RestartTimeOut: 30\n"
            "DebugFiles: off\n");
}

// Equal as far as the program can tell: the same members, endpoints compared by kind and text.
void ExpectSame(const Config& a, const Config& b) {
  auto kinds = [](const std::vector<net::Endpoint>& endpoints) {
    std::vector<size_t> out;
    for (const net::Endpoint& endpoint : endpoints) out.push_back(endpoint.index());
    return out;
  };
  std::vector<net::Endpoint> Config::* const lists[] = {&Config::out_address, &Config::listen,
                                                        &Config::clam_address};
  for (const auto member : lists) {
    EXPECT_EQ(Texts(a.*member), Texts(b.*member));
    EXPECT_EQ(kinds(a.*member), kinds(b.*member));
  }
  for (const Option& option : Options()) {
    if (option.alias_of.empty()) {
      EXPECT_EQ(PrintOption(a, option), PrintOption(b, option)) << option.name;
    }
  }
  EXPECT_EQ(a.header, b.header);
  EXPECT_EQ(a.message_bytes_max, b.message_bytes_max);
  EXPECT_EQ(a.body_memory_bytes, b.body_memory_bytes);
  EXPECT_EQ(a.scan_failure, b.scan_failure);
  EXPECT_EQ(a.stats_address.has_value(), b.stats_address.has_value());
  EXPECT_EQ(a.stats_address_set, b.stats_address_set);
}

TEST(DumpConfig, IsReadBackToTheSameConfig) {
  for (const char* text : {
           "",
           "StatsAddress:\nHeader:\nPidFile: /run/x.pid",
           "StatsAddress: 127.0.0.1:10027\nHeader: Received: a:b\\n\\tc %d # e\nAction: pass",
           "OutAddress: mx.example.org:26\nListen: [::1]:1\nListen: /run/l\nClamAddress: 3310\nClamAddress: "
           "a.b:1",
           "MaxMessageSize: 1025\nBodyMemory: 3K\nScanFailure: size=reject,limits=pass\nWorkers: 3",
           "LogFormat: json\nMaxMessageSize: 0\nBodyMemory: 7G\nClamMethod: instream\nCanary: "
           "warn\nBareNewline: "
           "reject\nHostName: "
           "a.example",
           "TempDirectory: /a b/#c:\xc3\xa9\nTimeOut: 1\nClamTimeOut: 2\nShutdownTimeOut: "
           "0\nClamConnections: 4",
       }) {
    SCOPED_TRACE(text);
    const Config config = Good(text);
    const std::string dump = DumpConfig(config);
    const Parsed again = ParseConfig(dump, "dump", ProgramName::kClamsmtpd, {}, NoneExists);
    EXPECT_TRUE(again.ok());
    EXPECT_THAT(again.problems, IsEmpty());
    ExpectSame(again.config, config);
    EXPECT_EQ(DumpConfig(again.config), dump);
  }
}

// Files.

class ConfigFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "options_test.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    path_ = pattern + "/x.conf";
  }
  void TearDown() override {
    unlink(path_.c_str());
    rmdir(directory_.c_str());
  }
  void Write(std::string_view text) { std::ofstream(path_, std::ios::binary) << text; }

  std::string directory_;
  std::string path_;
};

TEST_F(ConfigFileTest, IsReadWhole) {
  const std::string text = "OutAddress: 25\r\n" + std::string(200000, '\n') + "Listen: 1";
  Write(text);
  const auto read = ReadConfigFile(path_);
  ASSERT_TRUE(read.ok());
  EXPECT_TRUE(*read == text);
  Write("");
  EXPECT_EQ(*ReadConfigFile(path_), "");
}

TEST_F(ConfigFileTest, SaysWhyItCannotBeRead) {
  const auto missing = ReadConfigFile(path_);
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(missing.status().message(), path_ + ": cannot read the file: No such file or directory");
  EXPECT_EQ(ReadConfigFile(directory_).status().message(),
            directory_ + ": cannot read the file: Is a directory");
}

TEST(ToString, LeavesOutWhatIsMissing) {
  EXPECT_EQ(ToString(Problem{.file = "x.conf", .line = 3, .setting = "User", .text = "bad"}),
            "x.conf:3: User: bad");
  EXPECT_EQ(ToString(Problem{.file = "x.conf", .setting = "User", .text = "bad"}), "x.conf: User: bad");
  EXPECT_EQ(ToString(Problem{.file = "x.conf", .text = "bad"}), "x.conf: bad");
  EXPECT_EQ(ToString(Problem{.setting = "User", .text = "bad"}), "User: bad");
  EXPECT_EQ(ToString(Problem{.text = "bad"}), "bad");
}

TEST_F(ConfigFileTest, CanBeLookedFor) {
  EXPECT_FALSE(PathExistsOnDisk(path_));
  Write("");
  EXPECT_TRUE(PathExistsOnDisk(path_));
}

TEST_F(ConfigFileTest, MayNotBeEndless) {
  Write(std::string(kConfigBytesMax, '#'));
  EXPECT_TRUE(ReadConfigFile(path_).ok());
  Write(std::string(kConfigBytesMax + 1, '#'));
  EXPECT_EQ(ReadConfigFile(path_).status().message(),
            path_ + ": is larger than 1048576 bytes; is it a configuration file?");
  EXPECT_EQ(ReadConfigFile("/dev/zero").status().message(),
            "/dev/zero: is larger than 1048576 bytes; is it a configuration file?");
}

// Nonsense: random bytes, and good lines with random changes. Nothing crashes, every message is one printable
// line, and what is accepted can be dumped and read again.
TEST(ParseConfig, TakesEveryNonsenseCalmly) {
  std::mt19937 random(19700101);
  const std::string good = DumpConfig(Good("StatsAddress: 80\nHeader: X: %i\\n\\t%d"));
  const std::string_view pieces[] = {":",  "\n",   "\r", " ",      "=", ",", "%",
                                     "\\", "auto", "9",  "Bounce", "[", "/", "#"};
  int accepted = 0;
  for (int round = 0; round < 6000; ++round) {
    std::string text;
    if (round % 3 == 0) {
      for (size_t i = random() % 400; i > 0; --i) text += static_cast<char>(random() % 256);
    } else {
      text = good;
      for (size_t i = random() % 2 + 1; i > 0; --i) {
        const size_t at = random() % (text.size() + 1);
        switch (random() % 4) {
          case 0:
            text.insert(at, pieces[random() % std::size(pieces)]);
            break;
          case 1:
            text.erase(at, random() % 20);
            break;
          case 2:
            text.insert(at, 1, static_cast<char>(random() % 256));
            break;
          default:
            text.insert(at, text.substr(random() % text.size(), random() % 30));
            break;
        }
      }
    }
    const Parsed parsed = Parse(text);
    for (const Problem& problem : parsed.problems) {
      const std::string shown = ToString(problem);
      ASSERT_TRUE(std::ranges::none_of(shown, [](char c) { return (c >= 0 && c < ' ') || c == 0x7f; }))
          << shown;
    }
    if (!parsed.ok()) continue;
    ++accepted;
    SCOPED_TRACE(text);
    const Parsed again = Parse(DumpConfig(parsed.config));
    ASSERT_TRUE(again.ok());
    ExpectSame(again.config, parsed.config);
  }
  EXPECT_GT(accepted, 100);
}

}  // namespace
}  // namespace bivalve::appliance
