#include "appliance/log/event_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace bivalve::appliance {
namespace {

using std::string_view_literals::operator""sv;

struct Value {
  EventField name;
  std::string_view value;
};

std::string Line(EventKind kind, const std::vector<Value>& values, uint64_t session = 0x100000) {
  Event event;
  event.kind = kind;
  event.severity = Severity::kInfo;
  event.session = session;
  event.time_us = 1'793'873'472'000'345;
  for (const Value& one : values) event.fields.push_back({one.name, one.value});
  return FormatEventJson(event);
}

// The line, parsed. Fails unless it is an object in one line of printable ASCII, and not too long.
nlohmann::json Read(const std::string& line) {
  EXPECT_LE(line.size(), kJsonLineBytesMax);
  for (const char c : line) {
    if (c < ' ' || c > '~') ADD_FAILURE() << "not printable: " << static_cast<int>(c);
  }
  nlohmann::json object = nlohmann::json::parse(line, nullptr, false);
  EXPECT_TRUE(object.is_object()) << line;
  return object;
}

std::string ReadBack(std::string_view value) {
  return Read(Line(EventKind::kText, {{EventField::kDetail, value}}))["message"].get<std::string>();
}

TEST(EventJson, WritesALineOfText) {
  EXPECT_EQ(Line(EventKind::kText, {{EventField::kDetail, "client left during the scan"}}),
            R"({"time":"2026-11-05T10:11:12.000345Z","level":"info","event":"log","session":"100000",)"
            R"("message":"client left during the scan"})");
}

TEST(EventJson, LeavesOutASessionThatThereIsNot) {
  EXPECT_EQ(Line(EventKind::kText, {{EventField::kDetail, "stopping"}}, 0),
            R"({"time":"2026-11-05T10:11:12.000345Z","level":"info","event":"log","message":"stopping"})");
}

TEST(EventJson, WritesAConnection) {
  EXPECT_EQ(Line(EventKind::kConnection, {{EventField::kClient, "192.0.2.7"}}),
            R"({"time":"2026-11-05T10:11:12.000345Z","level":"info","event":"connection","session":"100000",)"
            R"("client":"192.0.2.7"})");
}

TEST(EventJson, WritesAMessageWithAllThatIsKnown) {
  EventEncoder encoder;
  encoder.Begin(EventKind::kMessage, Severity::kInfo, 0xabcdef12);
  encoder.Add(EventField::kFrom, "a@example.com")
      .Add(EventField::kTo, "b@example.net")
      .Add(EventField::kTo, "c@example.net")
      .Add(EventField::kStatus, "VIRUS:Test-Signature")
      .Add(EventField::kClient, "192.0.2.7")
      .Add(EventField::kHelo, "mx.example.com")
      .Add(EventField::kRemote, "2001:db8::1")
      .Add(EventField::kRemoteHelo, "far.example.com")
      .AddNumber(EventField::kRecipients, 2)
      .AddNumber(EventField::kSize, 12'345'678'901)
      .Add(EventField::kVirus, "Test-Signature")
      .Add(EventField::kScanner, "/run/clamd.ctl")
      .Add(EventField::kMethod, "fildes")
      .AddNumber(EventField::kReceive, 1'234)
      .AddNumber(EventField::kWait, 0)
      .AddNumber(EventField::kScan, 2'000)
      .AddNumber(EventField::kDeliver, 7)
      .AddNumber(EventField::kTotal, 3'600'000'001)
      .Add(EventField::kOutcome, "dropped")
      .Add(EventField::kReply, "250 Virus Detected; Discarded Email")
      .Add(EventField::kReplyFrom, "bivalved");
  Event event;
  ASSERT_TRUE(DecodeEvent(encoder.encoded(), event));
  event.time_us = 0;
  EXPECT_EQ(
      FormatEventJson(event),
      R"({"time":"1970-01-01T00:00:00.000000Z","level":"info","event":"message","session":"abcdef12",)"
      R"("client":"192.0.2.7","helo":"mx.example.com","remote":"2001:db8::1",)"
      R"("remote_helo":"far.example.com","from":"a@example.com","to":["b@example.net","c@example.net"],)"
      R"("recipients":2,"size":12345678901,"virus":"Test-Signature","scanner":"/run/clamd.ctl",)"
      R"("method":"fildes","phases_ms":{"receive":1.234,"wait":0.0,"scan":2.0,"deliver":0.007,)"
      R"("total":3600000.001},"outcome":"dropped","status":"VIRUS:Test-Signature","cause":null,)"
      R"("reply":"250 Virus Detected; Discarded Email","reply_from":"bivalved"})");
  // As text, the same event has only what clamsmtpd writes.
  EXPECT_EQ(FormatEvent(event),
            "abcdef12: from=a@example.com, to=b@example.net, to=c@example.net, "
            "status=VIRUS:Test-Signature");
}

TEST(EventJson, HasEveryFieldOfAMessageWhateverIsKnown) {
  const nlohmann::json object = Read(Line(EventKind::kMessage, {}));
  for (const EventFieldInfo& info : kEventFields) {
    if (info.name == EventField::kDetail) continue;
    const bool phase = info.type == EventFieldInfo::Type::kMicroseconds;
    EXPECT_TRUE((phase ? object["phases_ms"] : object).contains(info.json)) << info.json;
  }
  EXPECT_TRUE(object["virus"].is_null());
  EXPECT_EQ(object["to"], nlohmann::json::array());
}

TEST(EventJson, KeepsUtf8AndControlCharacters) {
  for (const std::string_view text :
       {"plain"sv, "\"quoted\", status=CLEAN"sv, "tab\tline\r\nend\x1b[2J\x7f"sv, "nul\0"sv,
        "j\xc3\xbcrgen@b\xc3\xbc"
        "cher.example"sv,
        "\xe2\x82\xac"sv, "\xf0\x9f\x93\xac"sv, "\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf"sv,
        "\xc2\x85\xe2\x80\xa8"sv}) {
    EXPECT_EQ(ReadBack(text), text);
  }
}

// Nothing that a terminal obeys, and nothing that turns text: characters that JSON need not escape are
// escaped too.
TEST(EventJson, IsPrintableAscii) {
  const std::string line =
      Line(EventKind::kMessage, {{EventField::kFrom, "\xe2\x80\xae\xe2\x80\xa8\xc2\x9b\x7f"},
                                 {EventField::kTo, "\xef\xbb\xbf\xd8\x9c\xc3\xa4\xff"}});
  for (const char c : line) EXPECT_TRUE(c >= ' ' && c <= '~') << line;
}

// Each byte that belongs to no character is escaped by itself, and differs from text that looks like such an
// escape.
TEST(EventJson, EscapesWhatIsNoUtf8) {
  EXPECT_EQ(ReadBack("a\xff"
                     "b"),
            "a\\xffb");
  EXPECT_EQ(ReadBack("\xc3"), "\\xc3");
  EXPECT_EQ(ReadBack("\xc3("), "\\xc3(");
  EXPECT_EQ(ReadBack("\xe2\x82"), "\\xe2\\x82");
  EXPECT_EQ(ReadBack("\xc0\xaf"), "\\xc0\\xaf");                    // overlong
  EXPECT_EQ(ReadBack("\xe0\x80\x80"), "\\xe0\\x80\\x80");           // overlong
  EXPECT_EQ(ReadBack("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // a surrogate
  EXPECT_EQ(ReadBack("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond U+10FFFF
  EXPECT_EQ(ReadBack("\xf5\x80"), "\\xf5\\x80");
  EXPECT_EQ(ReadBack("\\xff"), "\\\\xff");
}

TEST(EventJson, CutsLongTextsBetweenCharacters) {
  for (const std::string_view unit :
       {"x"sv, "\""sv, "\\"sv, "\x01"sv, "\xff"sv, "\xc3\xa9"sv, "\xf0\x9f\x93\xac"sv}) {
    std::string text = "-";
    while (text.size() < 100'000) text += unit;
    const std::string shown = ReadBack(text);
    EXPECT_TRUE(shown.ends_with("..."));
    EXPECT_GT(shown.size(), 300u);
    const size_t field_bytes = InfoOf(EventField::kDetail).json_bytes_max;
    EXPECT_LE(Line(EventKind::kText, {{EventField::kDetail, text}}).size(), field_bytes + 200);
  }
  const std::string fits(InfoOf(EventField::kDetail).json_bytes_max, 'x');
  EXPECT_EQ(ReadBack(fits), fits);
}

TEST(EventJson, LeavesOutRecipientsThatDoNotFit) {
  std::vector<std::string> addresses;
  for (int i = 0; i < 5000; ++i) addresses.push_back("recipient-" + std::to_string(i) + "@example.net");
  std::vector<Value> values;
  for (const std::string& address : addresses) values.push_back({EventField::kTo, address});
  const uint64_t count = addresses.size();
  values.push_back({EventField::kRecipients, {reinterpret_cast<const char*>(&count), sizeof(count)}});
  const nlohmann::json object = Read(Line(EventKind::kMessage, values));
  EXPECT_EQ(object["recipients"], count);
  const auto kept = object["to"].get<std::vector<std::string>>();
  ASSERT_GT(kept.size(), 100u);
  EXPECT_TRUE(std::equal(kept.begin(), kept.end(), addresses.begin()));
}

// The longest values of all fields, in the characters that need the most room.
TEST(EventJson, StaysWithinItsBytesWhateverIsSent) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::string noise(2000, '\0');
    const auto kind = random() % 3;
    for (char& c : noise) c = static_cast<char>(kind == 0 ? random() : kind == 1 ? 1 + random() % 4 : '\\');
    std::vector<Value> values;
    for (const EventFieldInfo& info : kEventFields) {
      if (info.type == EventFieldInfo::Type::kText && info.name != EventField::kDetail)
        values.push_back({info.name, noise});
    }
    for (int i = 0; i < 200; ++i) values.push_back({EventField::kTo, noise});
    const nlohmann::json object = Read(Line(EventKind::kMessage, values));
    EXPECT_FALSE(object["to"].empty());
    Read(Line(EventKind::kText, {{EventField::kDetail, noise}}));
    Read(Line(EventKind::kConnection, {{EventField::kClient, noise}}));
  }
}

}  // namespace
}  // namespace bivalve::appliance
