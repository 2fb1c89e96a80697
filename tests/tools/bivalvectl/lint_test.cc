#include "tools/bivalvectl/lint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/text.h"
#include "tools/bivalvectl/postfix_conf.h"

namespace bivalve::ctl {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

appliance::Config Settings(std::string_view lines) {
  const auto parsed = appliance::ParseConfig(
      core::Cat("OutAddress: 127.0.0.1:10026\nMaxMessageSize: 20M\nListen: 127.0.0.1:10025\n", lines, "\n"),
      "x.conf", appliance::ProgramName::kBivalved);
  EXPECT_TRUE(parsed.ok()) << lines;
  return parsed.config;
}

std::vector<std::string> Sentences(const std::vector<appliance::Problem>& problems) {
  std::vector<std::string> out;
  for (const appliance::Problem& problem : problems) {
    EXPECT_EQ(problem.text.find('\n'), std::string::npos);
    out.push_back((problem.kind == appliance::Problem::Kind::kError ? "error: " : "") + ToString(problem));
  }
  return out;
}

// The advice about a clamd.conf that is correct except for the added `line`.
std::vector<std::string> Clamd(std::string_view line, std::string_view settings = "",
                               bool by_stream = false) {
  constexpr std::string_view kGood =
      "AlertExceedsMax yes\nMaxFileSize 25M\nMaxScanSize 100M\nStreamMaxLength 25M\nMaxThreads 12\nMaxQueue "
      "200\n"
      "MaxScanTime 60000\n";
  const ScannerNeighbour scanner{.address = "/run/clamd",
                                 .by_stream = by_stream,
                                 .path = "clamd.conf",
                                 .conf = scan::ParseClamdConf(core::Cat(kGood, line, "\n"))};
  return Sentences(LintClamd(Settings(settings), 2, scanner));
}

TEST(LintClamd, HasNothingAgainstWhatFits) { EXPECT_THAT(Clamd(""), IsEmpty()); }

TEST(LintClamd, ComparesSizes) {
  EXPECT_THAT(
      Clamd("MaxFileSize 10M"),
      ElementsAre("clamd.conf: MaxFileSize: is 10M, and mail is accepted up to 20M (MaxMessageSize): larger "
                  "messages are not looked at, and ScanFailure decides for the cause limits; raise it, or "
                  "lower MaxMessageSize to 10M"));
  EXPECT_THAT(Clamd("MaxFileSize 10M\nAlertExceedsMax no"),
              ElementsAre(HasSubstr("ScanFailure decides for the cause size"), HasSubstr("AlertExceedsMax")));
  EXPECT_THAT(Clamd("MaxScanSize 10M"), ElementsAre(HasSubstr("MaxScanSize: is 10M")));
  EXPECT_THAT(Clamd("MaxFileSize 20M"), IsEmpty());
  EXPECT_THAT(Clamd("MaxFileSize 0"), IsEmpty());
  // Only a scanner that gets streams needs to allow long ones.
  EXPECT_THAT(Clamd("StreamMaxLength 10M"), IsEmpty());
  EXPECT_THAT(Clamd("StreamMaxLength 10M\nMaxThreads 4", "", true),
              ElementsAre(HasSubstr("StreamMaxLength: is 10M")));
}

TEST(LintClamd, KnowsAMessageWithoutLimit) {
  const auto parsed =
      appliance::ParseConfig("OutAddress: 25\nMaxMessageSize: 0", "x", appliance::ProgramName::kBivalved);
  const ScannerNeighbour scanner{
      .address = "x", .path = "c", .conf = scan::ParseClamdConf("AlertExceedsMax yes\nMaxScanTime 1000")};
  EXPECT_THAT(Sentences(LintClamd(parsed.config, 2, scanner)),
              ElementsAre(HasSubstr("is 100M, and mail is accepted without limit"),
                          HasSubstr("MaxScanSize: is 400M")));
}

TEST(LintClamd, CountsConnections) {
  EXPECT_THAT(
      Clamd("MaxQueue 30", "ClamConnections: 8"),
      ElementsAre(
          "clamd.conf: MaxQueue: is 30, and 2 workers with ClamConnections 8 would keep 16 connections, "
          "which is not below half of it: each keeps 7; raise it to 33 or lower ClamConnections"));
  EXPECT_THAT(Clamd("MaxQueue 30", "ClamConnections: 7"), IsEmpty());
  // clamd raises a MaxQueue that is below twice MaxThreads.
  EXPECT_THAT(Clamd("MaxQueue 1", "ClamConnections: 2"), IsEmpty());
  EXPECT_THAT(Clamd("MaxThreads 17"),
              ElementsAre(HasSubstr(
                  "at most 16 messages are with this clamd at a time: raise ClamConnections to 3")));
  EXPECT_THAT(Clamd("", "", true), ElementsAre(HasSubstr("raise ClamConnections to 6")));
}

TEST(LintClamd, ComparesTimes) {
  EXPECT_THAT(Clamd("ReadTimeout 40"), ElementsAre(HasSubstr("ReadTimeout: is 40 s")));
  EXPECT_THAT(Clamd("ReadTimeout 41"), IsEmpty());
  EXPECT_THAT(Clamd("CommandReadTimeout 4"), ElementsAre(HasSubstr("CommandReadTimeout: is 4 s")));
  EXPECT_THAT(Clamd("", "ClamTimeOut: 60"), ElementsAre(HasSubstr("MaxScanTime: is 60 s")));
  EXPECT_THAT(Clamd("MaxScanTime 0"), ElementsAre(HasSubstr("MaxScanTime: is without limit")));
}

TEST(LintClamd, AdvisesAgainstSilence) {
  EXPECT_THAT(Clamd("AlertExceedsMax no"), ElementsAre(HasSubstr("AlertExceedsMax: is not yes")));
  EXPECT_THAT(Clamd("ConcurrentDatabaseReload no"),
              ElementsAre(HasSubstr("ConcurrentDatabaseReload: is no")));
}

TEST(PostfixConf, ReadsItsTwoFiles) {
  const PostfixConf conf = PostfixConf::Parse(
      "# comment\n\na = 1\nb = $a, ${a}$(a)\n  # not the end of b\n\n  , more\nc=$d\nd=$c\ntime = "
      "2m\nsmtpd_timeout = "
      "${stress?{10}:{300}}s\n",
      "smtp inet n - n - - smtpd\n  -o a=2\n  -o time=$other -v\nbroken line\nscan unix - - n - 16 smtp\n");
  EXPECT_EQ(conf.Value(nullptr, "a", "x").text, "1");
  EXPECT_EQ(conf.Value(nullptr, "a", "x").line, 3);
  EXPECT_EQ(conf.Value(nullptr, "b", "x").text, "1, 11 , more");
  EXPECT_EQ(conf.Value(nullptr, "missing", "x").text, "x");
  EXPECT_EQ(conf.Value(nullptr, "missing", "x").line, 0);
  EXPECT_EQ(*PostfixConf::Time(conf.Value(nullptr, "time", "")), std::chrono::minutes(2));
  EXPECT_FALSE(PostfixConf::Time(conf.Value(nullptr, "smtpd_timeout", "")).has_value());
  ASSERT_EQ(conf.services().size(), 2u);
  const PostfixService& smtp = conf.services()[0];
  EXPECT_EQ(conf.Value(&smtp, "a", "x").text, "2");
  EXPECT_EQ(conf.Value(&smtp, "a", "x").file, "master.cf");
  EXPECT_EQ(conf.Value(&smtp, "b", "x").text, "2, 22 , more");
  EXPECT_EQ(conf.Value(&smtp, "time", "x").text, "");
  EXPECT_EQ(conf.services()[1].command, "smtp");
  EXPECT_FALSE(PostfixConf::Number(conf.Value(nullptr, "c", "")).has_value());  // endless, yet it returns
}

std::vector<std::string> Postfix(std::string_view main_cf, std::string_view master_cf,
                                 std::string_view settings = "") {
  return Sentences(LintPostfix(Settings(settings), PostfixConf::Parse(main_cf, master_cf), "/etc/postfix"));
}

constexpr std::string_view kBefore =
    "smtp inet n - n - 20 smtpd\n -o smtpd_proxy_filter=127.0.0.1:10025 -o smtpd_proxy_timeout=300s\n";
constexpr std::string_view kAfter =
    "smtp inet n - n - - smtpd\nscan unix - - n - 16 smtp\n127.0.0.1:10026 inet n - n - 16 smtpd\n  -o "
    "content_filter=\n";

TEST(LintPostfix, HasNothingAgainstWhatFits) {
  EXPECT_THAT(Postfix("", kBefore), IsEmpty());
  EXPECT_THAT(Postfix("content_filter = scan:[127.0.0.1]:10025\n", kAfter), IsEmpty());
}

TEST(LintPostfix, ComparesSizes) {
  EXPECT_THAT(
      Postfix("\nmessage_size_limit = 26214400\n", kBefore),
      ElementsAre(
          "/etc/postfix/main.cf:2: message_size_limit: is 25M, and MaxMessageSize is 20M: Postfix takes "
          "messages that are too large for Bivalve, which refuses them while Postfix's client waits; "
          "set MaxMessageSize to 26M or more"));
  EXPECT_THAT(Postfix("message_size_limit = 0\ncontent_filter = scan:[127.0.0.1]:10025\n", kAfter),
              ElementsAre(HasSubstr("is without limit")));
  EXPECT_THAT(Postfix("message_size_limit = 20971520\n", kBefore).size(), 1u) << "Postfix adds header lines";
  EXPECT_THAT(Postfix("message_size_limit = 26214400\n", kBefore, "TimeOut: 10").size(), 1u);
  // The default of 10240000 compared with our smaller limit.
  const auto parsed = appliance::ParseConfig("OutAddress: 10026\nListen: 10025\nMaxMessageSize: 5M", "x",
                                             appliance::ProgramName::kBivalved);
  EXPECT_THAT(Sentences(LintPostfix(parsed.config, PostfixConf::Parse("", kBefore), "/etc/postfix")),
              ElementsAre(HasSubstr("/etc/postfix/main.cf: message_size_limit: is 10000K")));
}

TEST(LintPostfix, ComparesTimes) {
  EXPECT_THAT(
      Postfix("", "smtp inet n - n - 20 smtpd -o smtpd_proxy_filter=127.0.0.1:10025\n"),
      ElementsAre(HasSubstr("smtpd_proxy_timeout: is 100 s, and the verdict on a message may take 120 s")));
  EXPECT_THAT(Postfix("smtpd_proxy_timeout = 2m\n",
                      "smtp inet n - n - 20 smtpd -o smtpd_proxy_filter=127.0.0.1:10025\n"),
              ElementsAre(HasSubstr("main.cf:1: smtpd_proxy_timeout: is 120 s")));
  EXPECT_THAT(Postfix("content_filter = scan:[127.0.0.1]:10025\nsmtp_data_done_timeout = 1m\n", kAfter),
              ElementsAre(HasSubstr("main.cf:2: smtp_data_done_timeout: is 60 s")));
  EXPECT_THAT(Postfix("content_filter = lm:[127.0.0.1]:10025\nlmtp_data_done_timeout = 1m\n",
                      core::Cat(kAfter, "lm unix - - n - - lmtp\n")),
              ElementsAre(HasSubstr("lmtp_data_done_timeout")));
}

TEST(LintPostfix, LooksAtTheServerBehind) {
  EXPECT_THAT(Postfix("smtpd_timeout = 60s\n", kAfter), ElementsAre(HasSubstr("set KeepAlives to 20")));
  EXPECT_THAT(Postfix("smtpd_timeout = 60s\n", kAfter, "KeepAlives: 20"), IsEmpty());
}

TEST(LintPostfix, LeavesOtherFiltersAlone) {
  EXPECT_THAT(Postfix("content_filter = amavis:[127.0.0.1]:10024\nmessage_size_limit = 0\n", kAfter),
              IsEmpty());
  EXPECT_THAT(Postfix("content_filter = x:[127.0.0.1]:110025\nmessage_size_limit = 0\n", kAfter), IsEmpty());
}

}  // namespace
}  // namespace bivalve::ctl
