#include "appliance/settings/command_line.h"

#include <gtest/gtest.h>

#include <initializer_list>
#include <random>
#include <string>
#include <vector>

namespace bivalve::appliance {
namespace {

absl::StatusOr<CommandLine> Parse(std::initializer_list<const char*> arguments) {
  return ParseCommandLine(std::span(arguments.begin(), arguments.size()));
}

std::string Error(std::initializer_list<const char*> arguments) {
  return std::string(Parse(arguments).status().message());
}

// "Setting=value" of each.
std::vector<std::string> Overrides(const CommandLine& line) {
  std::vector<std::string> out;
  for (const Override& item : line.overrides) out.push_back(item.setting + "=" + item.value);
  return out;
}

using Strings = std::vector<std::string>;

TEST(CommandLine, RunsAsADaemonWithoutArguments) {
  const auto line = Parse({"/usr/sbin/bivalved"});
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(line->program, ProgramName::kBivalved);
  EXPECT_EQ(line->mode, CommandLine::Mode::kRun);
  EXPECT_FALSE(line->foreground_level.has_value());
  EXPECT_EQ(line->config_file, "/etc/bivalved.conf");
  EXPECT_FALSE(line->config_file_given);
  EXPECT_TRUE(line->overrides.empty());
  EXPECT_TRUE(line->warnings.empty());
  EXPECT_TRUE(ParseCommandLine({}).ok());
}

TEST(CommandLine, GoesByTheNameItWasStartedUnder) {
  EXPECT_EQ(ProgramNameOf("clamsmtpd"), ProgramName::kClamsmtpd);
  EXPECT_EQ(ProgramNameOf("/usr/sbin/clamsmtpd"), ProgramName::kClamsmtpd);
  EXPECT_EQ(ProgramNameOf("/opt/clamsmtpd/bivalved"), ProgramName::kBivalved);
  EXPECT_EQ(ProgramNameOf("clamsmtpd-old"), ProgramName::kBivalved);
  EXPECT_EQ(ProgramNameOf(""), ProgramName::kBivalved);
  EXPECT_EQ(Parse({"clamsmtpd"})->config_file, "/etc/clamsmtpd.conf");
}

TEST(CommandLine, TakesItsOptionsInEveryForm) {
  for (const auto& line : {Parse({"bivalved", "-d", "4", "-f", "x.conf", "-p", "x.pid"}),
                           Parse({"bivalved", "-d4", "-fx.conf", "-px.pid"}),
                           Parse({"bivalved", "-p", "x.pid", "-f", "x.conf", "-d", "4", "--"})}) {
    ASSERT_TRUE(line.ok()) << line.status();
    EXPECT_EQ(line->foreground_level, 4);
    EXPECT_EQ(line->config_file, "x.conf");
    EXPECT_TRUE(line->config_file_given);
    EXPECT_EQ(Overrides(*line), Strings{"PidFile=x.pid"});
    EXPECT_TRUE(line->warnings.empty());
  }
  EXPECT_EQ(Parse({"bivalved", "--check-config"})->mode, CommandLine::Mode::kCheckConfig);
  EXPECT_EQ(Parse({"bivalved", "-v"})->mode, CommandLine::Mode::kVersion);
  EXPECT_EQ(Parse({"bivalved", "-v", "--nonsense"})->mode, CommandLine::Mode::kVersion);
  EXPECT_EQ(Parse({"bivalved", "-vz"})->mode, CommandLine::Mode::kVersion);
}

TEST(CommandLine, TakesLevelsFromZeroToFour) {
  for (const char* level : {"0", "1", "2", "3", "4"}) {
    EXPECT_EQ(Parse({"bivalved", "-d", level})->foreground_level, level[0] - '0');
  }
  EXPECT_EQ(Error({"bivalved", "-d", "5"}), "-d: '5' is not between 0 and 4");
  EXPECT_EQ(Error({"bivalved", "-d", "-1"}), "-d: '-1' is not between 0 and 4");
  EXPECT_EQ(Error({"bivalved", "-d", "99999999999999999999"}),
            "-d: '99999999999999999999' is not between 0 and 4");
  EXPECT_EQ(Error({"bivalved", "-d", "4x"}), "-d: '4x' is not a whole number");
  EXPECT_EQ(Error({"bivalved", "-d", ""}), "-d: '' is not a whole number");
}

TEST(CommandLine, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(Error({"bivalved", "-d"}), "-d: needs a value");
  EXPECT_EQ(Error({"bivalved", "-f"}), "-f: needs a value");
  EXPECT_EQ(Error({"bivalved", "-f", ""}), "-f: needs a value");
  EXPECT_EQ(Error({"bivalved", "-z"}), "-z: unknown option");
  EXPECT_EQ(Error({"bivalved", "-bz"}), "-z: unknown option");
  EXPECT_EQ(Error({"bivalved", "-b\n"}), "-\\n: unknown option");
  EXPECT_EQ(Error({"bivalved", "--check-configs"}), "--check-configs: unknown option");
  EXPECT_EQ(Error({"bivalved", "--check"}), "--check: unknown option");
  EXPECT_EQ(Error({"bivalved", "--check-config=1"}), "--check-config=1: unknown option");
  EXPECT_EQ(Error({"bivalved", "-b-"}), "--: unknown option");
  EXPECT_EQ(Error({"bivalved", "-:"}), "-:: unknown option");
  EXPECT_EQ(Error({"bivalved", "25", "26"}), "26: there may be only one argument without an option");
}

TEST(CommandLine, TurnsOldOptionsIntoSettings) {
  const auto line = Parse({"clamsmtpd", "-b", "-c", "/run/clamd", "-D/var/tmp", "-h", "X-A: b", "-l", "10026",
                           "-m", "64", "127.0.0.1:25", "-t", "60"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(Overrides(*line),
            (Strings{"Action=bounce", "ClamAddress=/run/clamd", "TempDirectory=/var/tmp", "Header=X-A: b",
                     "Listen=10026", "MaxConnections=64", "OutAddress=127.0.0.1:25", "TimeOut=60"}));
  ASSERT_EQ(line->warnings.size(), 8u);
  EXPECT_EQ(line->warnings[0],
            "-b: old command line option; write \"Action: bounce\" into /etc/clamsmtpd.conf instead");
  EXPECT_EQ(
      line->warnings[6],
      "127.0.0.1:25: old command line option; write \"OutAddress: 127.0.0.1:25\" into /etc/clamsmtpd.conf "
      "instead");
  EXPECT_EQ(Parse({"bivalved", "--", "-25"})->overrides.at(0).value, "-25");
  EXPECT_EQ(Parse({"bivalved", "-h", "X: a\\tb"})->warnings.at(0),
            "-h: old command line option; write \"Header: X: a\\tb\" into /etc/bivalved.conf instead");
  // The file that the warning names may come later.
  EXPECT_EQ(Parse({"bivalved", "-l", "1\n", "-f", "a.conf"})->warnings.at(0),
            "-l: old command line option; write \"Listen: 1\\n\" into a.conf instead");
}

// What one reading leaves half-way must not reach the next.
TEST(CommandLine, EachReadingBeginsAnew) {
  EXPECT_EQ(Error({"bivalved", "-zbqX"}), "-z: unknown option");
  EXPECT_TRUE(Parse({"bivalved", "-vq"}).ok());
  EXPECT_EQ(Overrides(*Parse({"bivalved", "-q", "--", "-X"})), (Strings{"Quarantine=on", "OutAddress=-X"}));
}

TEST(CommandLine, TakesTheOldSwitches) {
  EXPECT_EQ(Overrides(*Parse({"bivalved", "-q"})), Strings{"Quarantine=on"});
  EXPECT_EQ(Overrides(*Parse({"bivalved", "-X"})), Strings{"DebugFiles=on"});
}

TEST(CommandLine, OverridesReachTheConfiguration) {
  const auto line = Parse({"bivalved", "-b", "-l", "10026", "-l", "10027", "-m", "64", "-m", "65", "2525"});
  ASSERT_TRUE(line.ok());
  const Parsed parsed =
      ParseConfig("OutAddress: 25\nListen: 1\nMaxConnections: 7\n", "x.conf", line->program, line->overrides);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed.config.action, VirusPolicy::kBounce);
  EXPECT_EQ(parsed.config.connections_max, 65u);
  ASSERT_EQ(parsed.config.out_address.size(), 1u);
  EXPECT_EQ(net::ToString(parsed.config.out_address[0]), "2525");
  ASSERT_EQ(parsed.config.listen.size(), 2u);
  EXPECT_EQ(net::ToString(parsed.config.listen[1]), "10027");
}

TEST(CommandLine, ShowsUsageAndVersion) {
  EXPECT_EQ(UsageText(ProgramName::kBivalved),
            "usage: bivalved [-d level] [-f configfile] [-p pidfile] [--check-config]\n"
            "       bivalved -v\n");
  EXPECT_EQ(VersionText(ProgramName::kClamsmtpd, "0.1.0"),
            "clamsmtpd (version 0.1.0)\n"
            "          (config: /etc/clamsmtpd.conf)\n");
}

TEST(CommandLine, TakesEveryNonsenseCalmly) {
  std::mt19937 random(4711);
  const std::string_view alphabet = "-bcdDfhlmpqtvXz =14/\n\xff";
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> words;
    for (size_t i = random() % 5; i > 0; --i) {
      std::string& word = words.emplace_back();
      for (size_t k = random() % 5; k > 0; --k) word += alphabet[random() % alphabet.size()];
    }
    std::vector<const char*> arguments;
    for (const std::string& word : words) arguments.push_back(word.c_str());
    const auto line = ParseCommandLine(arguments);
    if (!line.ok()) {
      EXPECT_FALSE(line.status().message().empty());
    }
  }
}

}  // namespace
}  // namespace bivalve::appliance
