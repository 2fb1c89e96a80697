#include "appliance/viruses/quarantine_record.h"

#include <gtest/gtest.h>

#include <string>

#include "core/utc_time.h"

namespace bivalve::appliance {
namespace {

QuarantineRecord Example() {
  return {.id = "virus.aB3dE5",
          .time = std::chrono::system_clock::from_time_t(1'795'352'709),
          .session = "10002f",
          .virus = "Eicar \"quoted\" \x1b[2J",
          .from = "eve@example.com",
          .mail_parameters = "RET=HDRS ENVID=QQ314159",
          .recipients = {{.path = "bob@example.net"},
                         {.path = "j\xc3\xb6rg@example.net",
                          .parameters = "NOTIFY=SUCCESS ORCPT=utf-8;j\xc3\xb6rg@example.net"}},
          .recipients_left_out = 3,
          .client = "192.0.2.7",
          .helo = "mx.example",
          .remote = "2001:db8::1",
          .remote_helo = "far.example",
          .scanner = "/run/clamav/clamd.ctl",
          .scanner_version = "ClamAV 1.4.6/27500/Tue",
          .size_bytes = 12345,
          .sha256 = std::string(64, 'a')};
}

TEST(QuarantineRecord, ReadsWhatItWrote) {
  const auto read = ParseQuarantineRecord(ToJson(Example()));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(ToJson(*read), ToJson(Example()));
  EXPECT_EQ(read->recipients, Example().recipients);
  EXPECT_EQ(read->virus, Example().virus);
  EXPECT_EQ(read->mail_parameters, Example().mail_parameters);
  EXPECT_EQ(read->time, Example().time);
  EXPECT_EQ(read->recipients_left_out, 3u);
}

// An address must be restored byte for byte; otherwise the message would be released to somebody else.
TEST(QuarantineRecord, KeepsAnEnvelopeThatIsNotUtf8) {
  QuarantineRecord record = Example();
  record.from = "j\xf6rg@example.com";
  record.recipients[1].parameters = "ORCPT=rfc822;j\xf6rg";
  for (int c = 1; c < 256; ++c) record.recipients[0].path += static_cast<char>(c);
  const auto read = ParseQuarantineRecord(ToJson(record));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->from, record.from);
  EXPECT_EQ(read->recipients, record.recipients);
}

// Earlier versions wrote no parameters.
TEST(QuarantineRecord, ReadsOneWithoutParameters) {
  QuarantineRecord record = Example();
  record.mail_parameters.clear();
  for (net::Recipient& recipient : record.recipients) recipient.parameters.clear();
  const std::string json = ToJson(record);
  EXPECT_EQ(json.find("parameters"), std::string::npos);
  const auto read = ParseQuarantineRecord(json);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->mail_parameters, "");
  EXPECT_EQ(read->recipients, record.recipients);
}

TEST(QuarantineRecord, RefusesParametersOfOtherRecipients) {
  std::string json = ToJson(Example());
  const std::string_view parameters = "\"recipient_parameters\": [";
  const size_t at = json.find(parameters);
  ASSERT_NE(at, std::string::npos);
  json.insert(at + parameters.size(), "\"NOTIFY=NEVER\",");
  EXPECT_FALSE(ParseQuarantineRecord(json).ok());
}

TEST(QuarantineRecord, ReplacesWhatCannotBeShownOutsideTheEnvelope) {
  QuarantineRecord record = Example();
  record.helo = "m\xfcx";
  const auto read = ParseQuarantineRecord(ToJson(record));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->helo, "m\xef\xbf\xbdx");
}

TEST(QuarantineRecord, RefusesWhatIsNotOne) {
  const std::string whole = ToJson(Example());
  ASSERT_TRUE(ParseQuarantineRecord(whole).ok());
  for (size_t cut = 0; cut + 2 < whole.size(); ++cut) {
    EXPECT_FALSE(ParseQuarantineRecord(whole.substr(0, cut)).ok()) << cut;
  }
  for (const std::string_view name : {"time", "from", "recipients", "size", "sha256"}) {
    std::string without = whole;
    without.replace(without.find('"' + std::string(name) + '"'), name.size() + 2, "\"x\"");
    EXPECT_FALSE(ParseQuarantineRecord(without).ok()) << name;
  }
  for (const std::string_view time :
       {"2999-01-01T00:00:00Z", "1900-01-01T00:00:00Z", "today", "2026-11-22"}) {
    std::string other = whole;
    other.replace(other.find("20"), core::FormatUtcTime(Example().time).size(), time);
    EXPECT_FALSE(ParseQuarantineRecord(other).ok()) << time;
  }
  for (const std::string_view json : {"[]", "null", "1", "{\"from\":[1],\"recipients\":{}}"}) {
    EXPECT_FALSE(ParseQuarantineRecord(json).ok()) << json;
  }
}

}  // namespace
}  // namespace bivalve::appliance
