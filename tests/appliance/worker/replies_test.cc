// The tables of a session's own replies: their rows have the form that RFC 5321 and RFC 3463 require.
#include "appliance/worker/replies.h"

#include <gtest/gtest.h>

#include <string_view>

#include "appliance/worker/close_reason.h"
#include "appliance/worker/message_fault.h"
#include "net/smtp_reply.h"

namespace bivalve::appliance {
namespace {

TEST(OwnReply, IsALineWithItsCodes) {
  EXPECT_EQ(replies::kNoRoom.line(), "452 4.3.1 Insufficient room for the message, try again later\r\n");
  EXPECT_EQ(replies::kNoRoom.line(true), replies::kNoRoom.line());
  EXPECT_EQ(replies::kNoRoom.code(), 452);
  EXPECT_EQ(replies::kStartMail.line(), "354 Start mail input; end with <CRLF>.<CRLF>\r\n");
}

TEST(OwnReply, KeepsClamsmtpdsWordsWithoutAPromise) {
  EXPECT_EQ(replies::kVirusDropped.line(false), "250 Virus Detected; Discarded Email\r\n");
  EXPECT_EQ(replies::kVirusDropped.line(true), "250 2.0.0 Virus Detected; Discarded Email\r\n");
}

void ExpectForm(const OwnReply& reply) {
  for (const bool promised : {false, true}) {
    const std::string_view line = reply.line(promised);
    SCOPED_TRACE(line);
    ASSERT_TRUE(line.ends_with("\r\n"));
    const auto parsed = net::ParseReplyLine(line.substr(0, line.size() - 2));
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->code, reply.code());
    EXPECT_TRUE(parsed->last);
    // The enhanced code has the same class as the code (RFC 2034 section 4).
    if (parsed->text[1] == '.') {
      EXPECT_EQ(parsed->text[0], line[0]);
    }
  }
}

TEST(CloseReason, FarewellsCloseTheChannel) {
  for (const CloseReasonInfo& info : kCloseReasons) {
    if (info.farewell == nullptr) continue;
    ExpectForm(*info.farewell);
    EXPECT_EQ(info.farewell->code(), 421);  // RFC 5321 section 3.8
  }
}

TEST(MessageFault, IsAnsweredByARefusalOfItsKind) {
  for (const MessageFaultInfo& info : kMessageFaults) {
    if (info.fault == net::MailDataFault::kNone) continue;
    ExpectForm(*info.reply);
    EXPECT_EQ(info.outcome == Outcome::kTempfailed, net::IsTransient(info.reply->code()));
    EXPECT_TRUE(info.status.starts_with("REJECTED:"));
  }
}

TEST(ScanFailure, HasATemporaryAndAFinalReplyForEachCause) {
  for (const OwnReply& reply : replies::kScanTempfail) {
    ExpectForm(reply);
    EXPECT_TRUE(net::IsTransient(reply.code()));
  }
  for (const OwnReply& reply : replies::kScanReject) {
    ExpectForm(reply);
    EXPECT_TRUE(net::IsPermanent(reply.code()));
  }
}

}  // namespace
}  // namespace bivalve::appliance
