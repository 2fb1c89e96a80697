#include "appliance/settings/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "appliance/settings/option_values.h"
#include "core/text.h"
#include "tests/appliance/settings/config_fixture.h"

namespace bivalve::appliance {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

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
    std::string pattern = testing::TempDir() + "config_file_test.XXXXXX";
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
