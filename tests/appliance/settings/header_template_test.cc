#include "appliance/settings/header_template.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <string>

namespace bivalve::appliance {
namespace {

using std::chrono::system_clock;

// 2003-07-01 08:52:37 UTC.
constexpr system_clock::time_point kTime = system_clock::time_point(std::chrono::seconds(1057049557));

// Local time is Berlin's, whatever the machine's time zone is.
class HeaderTemplateTest : public testing::Test {
 protected:
  static void SetZone(const char* zone) {
    setenv("TZ", zone, 1);
    tzset();
  }
  void SetUp() override { SetZone("CET-1CEST,M3.5.0,M10.5.0/3"); }

  static std::string Expanded(std::string_view value, std::string_view client = "192.0.2.7",
                              std::string_view local = "2001:db8::1") {
    absl::StatusOr<HeaderTemplate> header = HeaderTemplate::Compile(value);
    EXPECT_TRUE(header.ok()) << header.status();
    return header.ok() ? header->Expand(client, local, kTime) : "";
  }
  static std::string Error(std::string_view value) {
    return std::string(HeaderTemplate::Compile(value).status().message());
  }
};

TEST_F(HeaderTemplateTest, ReplacesEverySequence) {
  EXPECT_EQ(Expanded("X-Virus-Scanned: ClamAV using Bivalve"), "X-Virus-Scanned: ClamAV using Bivalve\r\n");
  EXPECT_EQ(Expanded("X: %i, %l; %d"),
            "X: 192.0.2.7, 2001:db8::1; Tue, 1 Jul 2003 10:52:37 +0200 (CEST)\r\n");
  EXPECT_EQ(Expanded("X: 100%% a\\\\b\\tc"), "X: 100% a\\b\tc\r\n");
}

TEST_F(HeaderTemplateTest, IsEmptyForTheEmptyValue) {
  absl::StatusOr<HeaderTemplate> header = HeaderTemplate::Compile("");
  ASSERT_TRUE(header.ok());
  EXPECT_TRUE(header->empty());
  EXPECT_FALSE(header->at_top());
  EXPECT_EQ(header->Expand("a", "b", kTime), "");
}

TEST_F(HeaderTemplateTest, MakesEveryLineEndOneCrLf) {
  EXPECT_EQ(Expanded("A: 1\\nB: 2"), "A: 1\r\nB: 2\r\n");
  EXPECT_EQ(Expanded("A: 1\\r\\nB: 2\\r\\n"), "A: 1\r\nB: 2\r\n");
  EXPECT_EQ(Expanded("A: 1\\rB: 2\\r"), "A: 1\r\nB: 2\r\n");
  EXPECT_EQ(Expanded("A: 1\\n\\n\\r\\n"), "A: 1\r\n");
  EXPECT_EQ(Expanded("A: %i\\n"), "A: 192.0.2.7\r\n");
  EXPECT_EQ(Expanded("A:\\n\\tfolded\\n and again %i"), "A:\r\n\tfolded\r\n and again 192.0.2.7\r\n");
}

TEST_F(HeaderTemplateTest, GoesToTheTopWhenItIsATraceField) {
  EXPECT_TRUE(HeaderTemplate::Compile("Received: from %i")->at_top());
  EXPECT_TRUE(HeaderTemplate::Compile("RECEIVED:")->at_top());
  EXPECT_FALSE(HeaderTemplate::Compile("Received-SPF: none")->at_top());
  EXPECT_FALSE(HeaderTemplate::Compile("X: 1\\nReceived: 2")->at_top());
}

TEST_F(HeaderTemplateTest, RefusesUnknownSequences) {
  EXPECT_EQ(Error("X: %x"), "unknown sequence '%x'; known are %i %l %d %%");
  EXPECT_EQ(Error("X: \\q"), "unknown sequence '\\q'; known are \\r \\n \\t \\\\");
  EXPECT_EQ(Error("X: \\\x01"), "unknown sequence '\\\\x01'; known are \\r \\n \\t \\\\");
  EXPECT_EQ(Error("X: %"), "ends with a single '%'");
  EXPECT_EQ(Error("X: \\"), "ends with a single '\\'");
}

TEST_F(HeaderTemplateTest, RefusesWhatIsNoHeaderSection) {
  EXPECT_EQ(Error("scanned"), "'scanned' is no header: it must be like \"Name: text\"");
  EXPECT_EQ(Error("X Y: 1"), "'X Y: 1' is no header: it must be like \"Name: text\"");
  EXPECT_EQ(Error(": 1"), "': 1' is no header: it must be like \"Name: text\"");
  EXPECT_EQ(Error("%i: 50%%\\t\\\\"), "'%i: 50%%\\t\\\\' is no header: it must be like \"Name: text\"");
  EXPECT_EQ(
      Error("X: 1\\nfolded"),
      "'folded' is no header: it must be like \"Name: text\", or start with a blank or \\t to continue the "
      "line before it");
  EXPECT_EQ(Error("\\tX: 1"), "a header may not start with white space");
  EXPECT_EQ(Error("\\n\\r\\n"), "holds nothing but line ends");
  for (const char* value :
       {"\\nX: 1", "X: 1\\n\\nY: 2", "X: 1\\n\\r Y", "X: 1\\r\\r\\nY: 2", "X: 1\\n \\t", "\\t"}) {
    EXPECT_EQ(Error(value), "an empty line would end the message's header section") << value;
  }
  EXPECT_EQ(Error("X: caf\xc3\xa9"), "a header may hold ASCII characters only");
  EXPECT_EQ(Error(std::string_view("X: \0", 4)), "a header may not hold control characters");
  EXPECT_EQ(Error("X: a\r\nb"), "a header may not hold control characters");
}

TEST_F(HeaderTemplateTest, KeepsLinesWithinTheLimitOfMail) {
  EXPECT_EQ(Error("X: " + std::string(996, 'x')), "a line of the header can become longer than 998 bytes");
  EXPECT_EQ(Error("X: %i" + std::string(900, 'x')), "a line of the header can become longer than 998 bytes");
  EXPECT_EQ(Expanded("X: " + std::string(995, 'x')).size(), 1000u);
  EXPECT_EQ(Expanded("X: " + std::string(990, 'x') + "\\n\\t" + std::string(990, 'x')).size(),
            993u + 2 + 991 + 2);
}

// The client chooses the name of its local socket.
TEST_F(HeaderTemplateTest, LetsNoAddressBreakTheHeader) {
  EXPECT_EQ(Expanded("X: %i.", "/run/a\r\nSubject: b\xff\x7f c"), "X: /run/a??Subject:?b???c.\r\n");
  EXPECT_EQ(Expanded("X: %i.", ""), "X: unknown.\r\n");
  EXPECT_EQ(Expanded("X: %l", "", std::string(500, 'a')), "X: " + std::string(108, 'a') + "\r\n");
}

TEST_F(HeaderTemplateTest, WritesDatesAsMailWantsThem) {
  DateFormatter date;
  EXPECT_EQ(date.Format(kTime), "Tue, 1 Jul 2003 10:52:37 +0200 (CEST)");
  EXPECT_EQ(date.Format(kTime + std::chrono::milliseconds(999)), "Tue, 1 Jul 2003 10:52:37 +0200 (CEST)");
  EXPECT_EQ(date.Format(kTime + std::chrono::seconds(1)), "Tue, 1 Jul 2003 10:52:38 +0200 (CEST)");
  EXPECT_EQ(date.Format(kTime + std::chrono::hours(24 * 160)), "Mon, 8 Dec 2003 09:52:37 +0100 (CET)");
  EXPECT_EQ(date.Format({}), "Thu, 1 Jan 1970 01:00:00 +0100 (CET)");

  SetZone("<+0545>-5:45");
  EXPECT_EQ(DateFormatter().Format(kTime), "Tue, 1 Jul 2003 14:37:37 +0545 (+0545)");
  SetZone("NST3:30");
  EXPECT_EQ(DateFormatter().Format(kTime), "Tue, 1 Jul 2003 05:22:37 -0330 (NST)");
  SetZone("UTC0");
  EXPECT_EQ(DateFormatter().Format(system_clock::time_point::max()).substr(0, 11), "Fri, 11 Apr");
}

// The zone name from TZ goes into a comment only if it can neither end the comment nor make the line long.
TEST_F(HeaderTemplateTest, LeavesOutNamesOfZonesThatAreNotPlain) {
  SetZone("<ABCDEFGH>0");
  EXPECT_EQ(DateFormatter().Format(kTime), "Tue, 1 Jul 2003 08:52:37 +0000 (ABCDEFGH)");
  SetZone("<ABCDEFGHI>0");
  EXPECT_EQ(DateFormatter().Format(kTime), "Tue, 1 Jul 2003 08:52:37 +0000");
}

TEST_F(HeaderTemplateTest, CopiesAreIndependent) {
  HeaderTemplate first = *HeaderTemplate::Compile("X: %d");
  HeaderTemplate second = first;
  EXPECT_EQ(first.Expand("", "", kTime), "X: Tue, 1 Jul 2003 10:52:37 +0200 (CEST)\r\n");
  EXPECT_EQ(second.Expand("", "", kTime + std::chrono::hours(1)),
            "X: Tue, 1 Jul 2003 11:52:37 +0200 (CEST)\r\n");
}

// Every accepted template expands to fields and folded lines, each ended by CRLF, without any other CR or LF
// or a byte that is not ASCII.
TEST_F(HeaderTemplateTest, AlwaysExpandsToValidFields) {
  std::mt19937 random(20030701);
  const std::string_view alphabet[] = {"X",   ":",   " ",   "%i",   "%l", "%d",  "%%",
                                       "\\n", "\\r", "\\t", "\\\\", "%",  "A: b"};
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string value = random() % 2 == 0 ? "X:" : "";
    for (size_t i = random() % 12; i > 0; --i) value += alphabet[random() % std::size(alphabet)];
    absl::StatusOr<HeaderTemplate> header = HeaderTemplate::Compile(value);
    if (!header.ok() || header->empty()) continue;
    ++accepted;
    SCOPED_TRACE(value);
    std::string_view rest;
    const std::string text = header->Expand("192.0.2.7", "\n\r\n", kTime);
    rest = text;
    ASSERT_TRUE(rest.ends_with("\r\n"));
    for (bool first = true; !rest.empty(); first = false) {
      const size_t end = rest.find("\r\n");
      ASSERT_NE(end, std::string_view::npos);
      const std::string_view line = rest.substr(0, end);
      rest.remove_prefix(end + 2);
      ASSERT_EQ(line.find_first_of("\r\n"), std::string_view::npos);
      ASSERT_NE(line.find_first_not_of(" \t"), std::string_view::npos);
      if (line[0] == ' ' || line[0] == '\t') {
        ASSERT_FALSE(first);
      } else {
        const size_t colon = line.find(':');
        ASSERT_NE(colon, std::string_view::npos);
        ASSERT_GT(colon, 0u);
        ASSERT_EQ(line.substr(0, colon).find_first_of(" \t"), std::string_view::npos);
      }
    }
  }
  EXPECT_GT(accepted, 1000);
}

}  // namespace
}  // namespace bivalve::appliance
