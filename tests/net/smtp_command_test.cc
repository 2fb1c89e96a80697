#include "net/smtp_command.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace bivalve::net {
namespace {

using namespace std::string_view_literals;

TEST(ParseCommand, KnowsEachVerb) {
  const std::pair<std::string_view, Verb> verbs[] = {
      {"HELO", Verb::kHelo},
      {"EHLO", Verb::kEhlo},
      {"LHLO", Verb::kLhlo},
      {"MAIL", Verb::kMail},
      {"RCPT", Verb::kRcpt},
      {"DATA", Verb::kData},
      {"BDAT", Verb::kBdat},
      {"RSET", Verb::kRset},
      {"NOOP", Verb::kNoop},
      {"QUIT", Verb::kQuit},
      {"VRFY", Verb::kVrfy},
      {"EXPN", Verb::kExpn},
      {"HELP", Verb::kHelp},
      {"ETRN", Verb::kEtrn},
      {"AUTH", Verb::kAuth},
      {"STARTTLS", Verb::kStartTls},
      {"XFORWARD", Verb::kXForward},
      {"XCLIENT", Verb::kXClient},
      {"BURL", Verb::kBurl},
      {"XEXCH50", Verb::kXExch50},
      {"TURN", Verb::kTurn},
      {"ATRN", Verb::kAtrn},
      {"CHECKPOINT", Verb::kCheckpoint},
      {"VERB", Verb::kVerb},
      {"X-EXPS", Verb::kExchange},
  };
  EXPECT_EQ(std::size(verbs), static_cast<size_t>(Verb::kUnknown));
  for (const auto& [name, verb] : verbs) {
    const Command command = ParseCommand(name);
    EXPECT_EQ(command.verb, verb) << name;
    EXPECT_EQ(command.arguments, "") << name;
  }
}

TEST(ParseCommand, IgnoresTheCaseOfTheVerb) {
  EXPECT_EQ(ParseCommand("eHlO a.example").verb, Verb::kEhlo);
  EXPECT_EQ(ParseCommand("mail from:<>").verb, Verb::kMail);
}

TEST(ParseCommand, GivesTheArgumentsWithoutWhiteSpaceAround) {
  const std::string_view line = "MAIL \t FROM:<a@example.org>  SIZE=5 \t";
  const Command command = ParseCommand(line);
  EXPECT_EQ(command.verb, Verb::kMail);
  EXPECT_EQ(command.arguments, "FROM:<a@example.org>  SIZE=5");
  EXPECT_EQ(command.arguments.data(), line.data() + 7);  // it borrows
}

TEST(ParseCommand, TakesNoPartOfAWordForAVerb) {
  for (std::string_view line :
       {"MAILX", "MAI", "MAIL:", "DATA.", "QUIT;", "XSTARTTLS", "STARTTLSX", "EHLOa", "\"DATA\"", "."}) {
    EXPECT_EQ(ParseCommand(line).verb, Verb::kUnknown) << line;
  }
}

TEST(ParseCommand, TakesAnEmptyLineForAnUnknownCommand) {
  EXPECT_EQ(ParseCommand("").verb, Verb::kUnknown);
  EXPECT_EQ(ParseCommand(" \t ").verb, Verb::kUnknown);
  EXPECT_EQ(ParseCommand(" \t ").arguments, "");
}

// Postfix skips white space before the verb, and accepts vertical tabs and form feeds as white space. A
// command that we hide must not get through in such a form.
TEST(ParseCommand, SeesThroughWhiteSpaceThatServersSkip) {
  for (std::string_view line :
       {" STARTTLS", "\tSTARTTLS", "\v\fSTARTTLS", "STARTTLS\v", "STARTTLS\fx", "STARTTLS\t"}) {
    EXPECT_EQ(ParseCommand(line).verb, Verb::kStartTls) << line;
    EXPECT_EQ(ParseCommand(line).kind, CommandKind::kRefuse) << line;
  }
}

TEST(ParseCommand, RefusesWhatWouldGoByTheScanner) {
  for (std::string_view line : {"STARTTLS",
                                "XEXCH50 1 2",
                                "BURL imap://x LAST",
                                "TURN",
                                "ATRN a.example",
                                "LHLO a",
                                "CHECKPOINT x",
                                "x-exps gssapi",
                                "X-ANONYMOUSTLS",
                                "XTLS",
                                "X-LINK2STATE LAST CHUNK={}",
                                "XBLOB 5",
                                "XSHADOW x",
                                "XSHADOWREQUEST",
                                "XQDISCARD 1 x",
                                "XPROXY SID=1",
                                "XPROXYFROM SID=1",
                                "XPROXYTO x",
                                "XSESSIONPARAMS x",
                                "VERB"}) {
    EXPECT_EQ(ParseCommand(line).kind, CommandKind::kRefuse) << line;
  }
}

TEST(ParseCommand, RefusesHiddenVerbsWhateverStandsBehindThem) {
  for (std::string_view line :
       {"STARTTLS:", "starttls=1", "BURL: x", "CHECKPOINT;", "X-EXPS:", "TURN\xef\xbb\xbf"})
    EXPECT_EQ(ParseCommand(line).kind, CommandKind::kRefuse) << line;
  EXPECT_EQ(ParseCommand("XCLIENT: ADDR=192.0.2.7").kind, CommandKind::kForbid);
}

TEST(ParseCommand, ForbidsXClient) {
  EXPECT_EQ(ParseCommand("XCLIENT ADDR=192.0.2.7").kind, CommandKind::kForbid);
}

TEST(ParseCommand, LeavesStepsOfItsOwnToTheSession) {
  for (std::string_view line : {"HELO a", "EHLO a", "DATA", "BDAT 1 LAST", "AUTH PLAIN", "QUIT"}) {
    EXPECT_EQ(ParseCommand(line).kind, CommandKind::kOwn) << line;
  }
}

// RFC 2920 section 3.1: these may stand anywhere in a group, all others only at its end.
TEST(ParseCommand, LetsOnlyEnvelopeCommandsStandAnywhereInAGroup) {
  for (std::string_view line : {"MAIL FROM:<>", "RCPT TO:<a>", "RSET"}) {
    EXPECT_EQ(ParseCommand(line).kind, CommandKind::kPass) << line;
  }
  for (std::string_view line :
       {"NOOP", "VRFY a", "EXPN a", "HELP", "ETRN a", "XFORWARD NAME=a", "XUNKNOWN", ""}) {
    EXPECT_EQ(ParseCommand(line).kind, CommandKind::kPassLast) << line;
  }
}

TEST(NextWord, SplitsAtWhatAnyServerTakesForWhiteSpace) {
  std::string_view text = " \vDIGEST-MD5\v\fx \t y\r";
  EXPECT_EQ(NextWord(text), "DIGEST-MD5");
  EXPECT_EQ(NextWord(text), "x");
  EXPECT_EQ(NextWord(text), "y");
  EXPECT_EQ(NextWord(text), "");
}

TEST(LineIsClean, RefusesCrAndNul) {
  EXPECT_TRUE(LineIsClean(""));
  EXPECT_TRUE(LineIsClean("MAIL FROM:<a@example.org> \t \x7f\xff"));
  EXPECT_FALSE(LineIsClean("NOOP\r"));
  EXPECT_FALSE(LineIsClean("\rNOOP"));
  EXPECT_FALSE(LineIsClean("NO\0OP"sv));
}

TEST(ParsePath, TakesTheBracketsOff) {
  EXPECT_EQ(ParsePath("FROM:<a@example.org>"), "a@example.org");
  EXPECT_EQ(ParsePath("TO:<b@example.org>"), "b@example.org");
  EXPECT_EQ(ParsePath("to:<Postmaster>"), "Postmaster");
  EXPECT_EQ(ParsePath("FROM:<>"), "");
}

TEST(ParsePath, LeavesTheParametersOut) {
  EXPECT_EQ(ParsePath("FROM:<a@example.org> SIZE=1000 BODY=8BITMIME"), "a@example.org");
  EXPECT_EQ(ParsePath("FROM:<> AUTH=<>"), "");
  EXPECT_EQ(ParsePath("FROM:<a>SIZE=1"), "a");
}

TEST(ParsePath, KeepsAQuotedLocalPartWhole) {
  EXPECT_EQ(ParsePath(R"(FROM:<"a > b"@example.org> SIZE=1)"), R"("a > b"@example.org)");
  EXPECT_EQ(ParsePath(R"(FROM:<"a\">b"@example.org>)"), R"("a\">b"@example.org)");
  EXPECT_EQ(ParsePath(R"(FROM:<a\>b@example.org>)"), R"(a\>b@example.org)");
  EXPECT_EQ(ParsePath(R"(FROM:"a b"@example.org SIZE=1)"), R"("a b"@example.org)");
}

TEST(ParsePath, TakesTheSourceRouteOff) {
  EXPECT_EQ(ParsePath("TO:<@a.example,@b.example:c@example.org>"), "c@example.org");
  EXPECT_EQ(ParsePath("TO:<@[IPv6:2001:db8::1]:c@example.org>"), "c@example.org");
  EXPECT_EQ(ParsePath("TO:<@a.example>"), "@a.example");
}

TEST(ParsePath, TakesWhatServersTakeBesideTheStandard) {
  EXPECT_EQ(ParsePath("FROM: <a@example.org>"), "a@example.org");
  EXPECT_EQ(ParsePath("FROM:\t a@example.org SIZE=1"), "a@example.org");
  EXPECT_EQ(ParsePath("FROM:"), "");
}

TEST(ParsePath, FindsAnEndWithoutTheClosingBracket) {
  EXPECT_EQ(ParsePath("FROM:<a@example.org"), "a@example.org");
  EXPECT_EQ(ParsePath("FROM:<a@example.org SIZE=1"), "a@example.org");
  EXPECT_EQ(ParsePath("FROM:<"), "");
  EXPECT_EQ(ParsePath(R"(FROM:<"a b)"), R"("a b)");
  EXPECT_EQ(ParsePath(R"(FROM:<a\)"), R"(a\)");
}

TEST(ParsePath, RefusesArgumentsWithoutFromOrTo) {
  for (std::string_view arguments : {"", "FROM", "FRO:<a>", "<a>", "FROM <a>", "X FROM:<a>", "FROM :<a>"}) {
    EXPECT_FALSE(ParsePath(arguments).has_value()) << arguments;
  }
}

TEST(ParseParameters, AreWhatIsBehindThePath) {
  EXPECT_EQ(ParseParameters("FROM:<a> SIZE=1  RET=HDRS "), "SIZE=1  RET=HDRS");
  EXPECT_EQ(ParseParameters(R"(TO:<"a > b"@c>NOTIFY=NEVER)"), "NOTIFY=NEVER");
  EXPECT_EQ(ParseParameters("TO: a@b ORCPT=rfc822;x"), "ORCPT=rfc822;x");
  for (const std::string_view none : {"FROM:<a>", "FROM:<a> ", "TO:a", "FROM:", "a b"})
    EXPECT_EQ(ParseParameters(none), "") << none;
}

TEST(FindParameter, IgnoresTheCaseOfTheKeyword) {
  EXPECT_EQ(FindParameter("FROM:<a> size=1000", "SIZE"), "1000");
  EXPECT_EQ(FindParameter("FROM:<a> BODY=8BITMIME SIZE=1", "body"), "8BITMIME");
}

TEST(FindParameter, IsEmptyForAKeywordWithoutValue) {
  EXPECT_EQ(FindParameter("FROM:<a> SMTPUTF8", "SMTPUTF8"), "");
  EXPECT_EQ(FindParameter("FROM:<a> SMTPUTF8 X", "SMTPUTF8"), "");
  EXPECT_EQ(FindParameter("FROM:<a> SIZE=", "SIZE"), "");
}

TEST(FindParameter, KeepsFurtherEqualsSigns) {
  EXPECT_EQ(FindParameter("TO:<a> ORCPT=rfc822;a=b", "ORCPT"), "rfc822;a=b");
}

TEST(FindParameter, DoesNotLookInsideThePath) {
  EXPECT_FALSE(FindParameter(R"(FROM:<"a SIZE=1 b"@example.org>)", "SIZE").has_value());
  EXPECT_EQ(FindParameter(R"(FROM:<"> SIZE=1 "@example.org> SIZE=2)", "SIZE"), "2");
}

TEST(FindParameter, TakesNoPartOfAWordForTheKeyword) {
  for (std::string_view arguments :
       {"FROM:<a>", "FROM:<a> XSIZE=1", "FROM:<a> SIZEX=1", "FROM:<a> A=SIZE=1", "SIZE=1"}) {
    EXPECT_FALSE(FindParameter(arguments, "SIZE").has_value()) << arguments;
  }
}

TEST(ParseNumber, TakesDigitsUpToTheLimit) {
  EXPECT_EQ(ParseNumber("0"), 0u);
  EXPECT_EQ(ParseNumber("0025"), 25u);
  EXPECT_EQ(ParseNumber("9223372036854775807"), 9223372036854775807u);
  EXPECT_FALSE(ParseNumber("9223372036854775808").has_value());
  EXPECT_FALSE(ParseNumber("18446744073709551616").has_value());
  EXPECT_FALSE(ParseNumber("99999999999999999999999").has_value());
}

TEST(ParseNumber, RefusesWhatIsNotDigitsOnly) {
  for (std::string_view text : {"", " 1", "1 ", "+1", "-1", "0x1", "1.0", "1k"}) {
    EXPECT_FALSE(ParseNumber(text).has_value()) << text;
  }
}

TEST(ParseBdat, TakesSizeAndLast) {
  const auto more = ParseBdat("100000");
  ASSERT_TRUE(more.has_value());
  EXPECT_EQ(more->chunk_bytes, 100000u);
  EXPECT_FALSE(more->last);
  const auto last = ParseBdat("0 \t lasT ");
  ASSERT_TRUE(last.has_value());
  EXPECT_EQ(last->chunk_bytes, 0u);
  EXPECT_TRUE(last->last);
}

TEST(ParseBdat, RefusesAnythingElse) {
  for (std::string_view arguments :
       {"", "LAST", "-1", "1LAST", "1 LAST LAST", "1 2", "1 FIRST", "9223372036854775808"}) {
    EXPECT_FALSE(ParseBdat(arguments).has_value()) << arguments;
  }
}

}  // namespace
}  // namespace bivalve::net
