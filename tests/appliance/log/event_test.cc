#include "appliance/log/event.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace bivalve::appliance {
namespace {

using std::string_view_literals::operator""sv;

struct Value {
  EventField name;
  std::string_view value;
};

std::string Encoded(EventKind kind, uint64_t session, const std::vector<Value>& values) {
  EventEncoder encoder;
  encoder.Begin(kind, Severity::kNotice, session);
  for (const Value& one : values) encoder.Add(one.name, one.value);
  return std::string(encoder.encoded());
}

std::string Line(EventKind kind, uint64_t session, const std::vector<Value>& values) {
  const std::string encoded = Encoded(kind, session, values);
  Event event;
  EXPECT_TRUE(DecodeEvent(encoded, event));
  return FormatEvent(event);
}

TEST(Event, ComesOutOfTheEncodingAsItWentIn) {
  const std::string long_value(100'000, 'x');
  const std::string encoded =
      Encoded(EventKind::kMessage, 0xfedcba9876543210,
              {{EventField::kFrom, ""}, {EventField::kTo, "a\0b\n"sv}, {EventField::kStatus, long_value}});
  Event event;
  event.fields.push_back({EventField::kDetail, "of another event"});
  ASSERT_TRUE(DecodeEvent(encoded, event));
  EXPECT_EQ(event.kind, EventKind::kMessage);
  EXPECT_EQ(event.severity, Severity::kNotice);
  EXPECT_EQ(event.session, 0xfedcba9876543210u);
  ASSERT_EQ(event.fields.size(), 3u);
  EXPECT_EQ(event.fields[0].name, EventField::kFrom);
  EXPECT_EQ(event.fields[0].value, "");
  EXPECT_EQ(event.fields[1].value, "a\0b\n"sv);
  EXPECT_EQ(event.fields[2].value, long_value);
}

TEST(Event, KeepsNothingOfTheEventBefore) {
  EventEncoder encoder;
  encoder.Begin(EventKind::kText, Severity::kInfo, 1);
  encoder.Add(EventField::kDetail, "first");
  encoder.Begin(EventKind::kText, Severity::kInfo, 2);
  EXPECT_EQ(encoder.encoded(),
            Encoded(EventKind::kText, 2, {}).substr(0, 8) + std::string(encoder.encoded().substr(8)));
  Event event;
  ASSERT_TRUE(DecodeEvent(encoder.encoded(), event));
  EXPECT_TRUE(event.fields.empty());
}

TEST(Event, RefusesEveryEncodingThatIsCut) {
  const std::string whole = Encoded(EventKind::kText, 1, {{EventField::kDetail, "some text"}});
  const size_t head = Encoded(EventKind::kText, 1, {}).size();
  Event event;
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    EXPECT_EQ(DecodeEvent(std::string_view(whole).substr(0, bytes), event), bytes == head) << bytes;
  }
}

// Word for word: programs of others read these lines.
TEST(Event, WritesTheLineOfAConnection) {
  EXPECT_EQ(Line(EventKind::kConnection, 0x100000, {{EventField::kClient, "192.0.2.7"}}),
            "100000: accepted connection from: 192.0.2.7");
}

TEST(Event, WritesTheLineOfACleanMessage) {
  EXPECT_EQ(Line(EventKind::kMessage, 0x100000,
                 {{EventField::kFrom, "a@example.com"},
                  {EventField::kTo, "b@example.net"},
                  {EventField::kTo, "c@example.net"},
                  {EventField::kStatus, "CLEAN"}}),
            "100000: from=a@example.com, to=b@example.net, to=c@example.net, status=CLEAN");
}

TEST(Event, WritesTheLineOfAnInfectedMessage) {
  EXPECT_EQ(Line(EventKind::kMessage, 0x100000,
                 {{EventField::kFrom, "a@example.com"},
                  {EventField::kTo, "b@example.net"},
                  {EventField::kStatus, "VIRUS:Eicar-Test-Signature"}}),
            "100000: from=a@example.com, to=b@example.net, status=VIRUS:Eicar-Test-Signature");
}

// Details that only JSON has.
TEST(Event, LeavesDetailsOutOfTheLine) {
  EXPECT_EQ(Line(EventKind::kMessage, 0x100000,
                 {{EventField::kFrom, "a@example.com"},
                  {EventField::kTo, "b@example.net"},
                  {EventField::kStatus, "CLEAN"},
                  {EventField::kClient, "192.0.2.7"},
                  {EventField::kReply, "250 Ok"}}),
            "100000: from=a@example.com, to=b@example.net, status=CLEAN");
}

TEST(Event, RefusesAFieldThatThereIsNot) {
  std::string encoded = Encoded(EventKind::kText, 1, {{EventField::kDetail, "text"}});
  const size_t head = Encoded(EventKind::kText, 1, {}).size();
  Event event;
  ASSERT_TRUE(DecodeEvent(encoded, event));
  encoded[head + sizeof(uint32_t)] = static_cast<char>(kEventFields.size());
  EXPECT_FALSE(DecodeEvent(encoded, event));
}

TEST(Event, WritesTheSessionInSixHexadecimalDigitsOrMore) {
  EXPECT_EQ(Line(EventKind::kText, 0xab, {{EventField::kDetail, "text"}}), "0000ab: text");
  EXPECT_EQ(Line(EventKind::kText, 0x1234567, {{EventField::kDetail, "text"}}), "1234567: text");
  EXPECT_EQ(Line(EventKind::kText, 0, {{EventField::kDetail, "text"}}), "text");
}

TEST(Event, StaysOneLineWhateverAClientSends) {
  const std::string line = Line(EventKind::kMessage, 0x100000,
                                {{EventField::kFrom, "a\r\n100001: from=b, status=CLEAN"},
                                 {EventField::kTo, "\"\t\x1b[2J\x7f\"@x\0y"sv},
                                 {EventField::kStatus, "VIRUS:\nName"}});
  EXPECT_EQ(line,
            "100000: from=a\\r\\n100001: from=b\\x2c status=CLEAN, to=\"\\t\\x1b[2J\\x7f\"@x\\x00y, "
            "status=VIRUS:\\nName");
}

// A reader that splits the line at ", " finds exactly the real fields.
TEST(Event, HasNoFieldsThatAClientHasMadeUp) {
  EXPECT_EQ(Line(EventKind::kMessage, 0x100000,
                 {{EventField::kFrom, "\"a, to=x, status=CLEAN\"@example.com"},
                  {EventField::kTo, "<\"a, status=CLEAN\"@x>"},
                  {EventField::kTo, "ends.with,"},
                  {EventField::kStatus, "VIRUS:A, status=CLEAN"}}),
            "100000: from=\"a\\x2c to=x\\x2c status=CLEAN\"@example.com, to=<\"a\\x2c status=CLEAN\"@x>, "
            "to=ends.with,, status=VIRUS:A\\x2c status=CLEAN");
  // A sentence of our own has no fields.
  EXPECT_EQ(Line(EventKind::kText, 1, {{EventField::kDetail, "well, then"}}), "000001: well, then");
}

TEST(Event, ShowsWhatTurnsText) {
  EXPECT_EQ(Line(EventKind::kMessage, 1,
                 {{EventField::kFrom,
                   "a\xe2\x80\xae"
                   "b\xe2\x80\xa8@x"},
                  {EventField::kStatus, "CLEAN"}}),
            "000001: from=a\\xe2\\x80\\xae"
            "b\\xe2\\x80\\xa8@x, status=CLEAN");
}

TEST(Event, StaysOnePrintableLineForEveryByte) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string value(3, static_cast<char>(byte));
    const std::string line = Line(EventKind::kConnection, 1, {{EventField::kClient, value}});
    for (const char c : line) EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) << byte;
  }
}

TEST(Event, CutsALongAddress) {
  const std::string line = Line(EventKind::kMessage, 1, {{EventField::kFrom, std::string(100'000, '\n')}});
  EXPECT_LE(line.size(), 1100u);
  EXPECT_TRUE(line.ends_with("..."));
}

TEST(EventLog, EncodesNothingThatNobodyWillSee) {
  core::LogQueue queue;
  EventLog::Reader reader;
  EventLog log(queue, reader);
  reader.severity_max = static_cast<int>(Severity::kWarning);
  EXPECT_TRUE(log.Wants(Severity::kError));
  EXPECT_TRUE(log.Wants(Severity::kWarning));
  EXPECT_FALSE(log.Wants(Severity::kNotice));
  log.Text(Severity::kNotice, 1, "hidden");
  log.Text(Severity::kWarning, 1, "seen");
  std::string record;
  Event event;
  ASSERT_TRUE(queue.Pop(record));
  ASSERT_TRUE(DecodeEvent(record, event));
  EXPECT_EQ(FormatEvent(event), "000001: seen");
  EXPECT_FALSE(queue.Pop(record));
}

TEST(EventLog, WakesAReaderThatSleepsOnce) {
  core::LogQueue queue;
  EventLog::Reader reader;
  int wakes = 0;
  reader.wake = [&wakes] { ++wakes; };
  EventLog log(queue, reader);
  log.Text(Severity::kError, 1, "it is awake");
  EXPECT_EQ(wakes, 0);
  reader.asleep = true;
  log.Text(Severity::kError, 1, "one");
  log.Text(Severity::kError, 1, "two");
  EXPECT_EQ(wakes, 1);
  EXPECT_FALSE(reader.asleep);
}

// Like Control: the reader announces that it sleeps and looks once more; the writer pushes and checks whether
// the reader sleeps. No event may stay in the queue while the reader sleeps.
TEST(EventLog, LeavesNoEventBehindWithAReaderThatSleeps) {
  constexpr int kEvents = 20'000;
  core::LogQueue queue;
  EventLog::Reader reader;
  std::atomic<int> wakes = 0;
  reader.wake = [&wakes] { wakes.fetch_add(1); };
  std::thread writer([&queue, &reader] {
    EventLog log(queue, reader);
    for (int i = 0; i < kEvents; ++i) log.Text(Severity::kError, 1, "event");
  });
  int seen = 0;
  std::string record;
  const auto drain = [&] {
    const int before = seen;
    while (queue.Pop(record)) ++seen;
    return seen > before;
  };
  while (seen < kEvents) {
    if (drain()) continue;
    const int slept_at = wakes.load();
    reader.asleep.store(true);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!drain()) {
      while (wakes.load() == slept_at) std::this_thread::yield();
    }
    reader.asleep.store(false);
  }
  writer.join();
  EXPECT_EQ(seen, kEvents);
  EXPECT_EQ(queue.dropped(), 0u);
}

}  // namespace
}  // namespace bivalve::appliance
