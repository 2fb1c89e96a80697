#include "net/smtp_reply.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>

namespace bivalve::net {
namespace {

TEST(ParseReplyLine, SplitsCodeAndText) {
  const std::string_view line = "550 5.7.1 No";
  const auto reply = ParseReplyLine(line);
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(reply->code, 550);
  EXPECT_TRUE(reply->last);
  EXPECT_EQ(reply->text, "5.7.1 No");
  EXPECT_EQ(reply->text.data(), line.data() + 4);  // it borrows
}

TEST(ParseReplyLine, TellsALineThatGoesOn) {
  const auto reply = ParseReplyLine("250-PIPELINING");
  ASSERT_TRUE(reply.has_value());
  EXPECT_FALSE(reply->last);
  EXPECT_EQ(reply->text, "PIPELINING");
}

TEST(ParseReplyLine, AcceptsABareCode) {  // RFC 5321 section 4.2
  const auto reply = ParseReplyLine("354");
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(reply->code, 354);
  EXPECT_TRUE(reply->last);
  EXPECT_EQ(reply->text, "");
}

TEST(ParseReplyLine, AcceptsASeparatorWithoutText) {
  ASSERT_TRUE(ParseReplyLine("250 ").has_value());
  ASSERT_TRUE(ParseReplyLine("250-").has_value());
  EXPECT_FALSE(ParseReplyLine("250-")->last);
  EXPECT_EQ(ParseReplyLine("250-")->text, "");
}

TEST(ParseReplyLine, KeepsFurtherBlanksAndHyphensInTheText) {
  EXPECT_EQ(ParseReplyLine("250  two")->text, " two");
  EXPECT_EQ(ParseReplyLine("250- - ")->text, " - ");
}

TEST(ParseReplyLine, AcceptsExactlyTheCodesOfReplies) {
  for (int code = 0; code < 1000; ++code) {
    std::string line = std::to_string(1000 + code).substr(1);
    EXPECT_EQ(ParseReplyLine(line).has_value(), code >= 200 && code <= 599) << line;
  }
}

TEST(ParseReplyLine, RefusesWhatIsNoReply) {
  using namespace std::string_view_literals;
  for (std::string_view line : {""sv, "25"sv, "2 0 ok"sv, "199 early"sv, "600 late"sv, "250ok"sv, "250\tok"sv,
                                "250_ok"sv, " 250 ok"sv, "-250 ok"sv, "+50 ok"sv, "2.0 ok"sv, "2500"sv,
                                "25:"sv, "\xb2\x35\x30 ok"sv, "250\0 ok"sv, "250\r"sv}) {
    EXPECT_FALSE(ParseReplyLine(line).has_value()) << '"' << line << '"';
  }
}

TEST(ReplyClass, FollowsTheFirstDigit) {
  EXPECT_TRUE(IsPositive(200) && IsPositive(299) && !IsPositive(199) && !IsPositive(300));
  EXPECT_TRUE(IsIntermediate(300) && IsIntermediate(399) && !IsIntermediate(299) && !IsIntermediate(400));
  EXPECT_TRUE(IsTransient(400) && IsTransient(499) && !IsTransient(399) && !IsTransient(500));
  EXPECT_TRUE(IsPermanent(500) && IsPermanent(599) && !IsPermanent(499) && !IsPermanent(600));
}

}  // namespace
}  // namespace bivalve::net
