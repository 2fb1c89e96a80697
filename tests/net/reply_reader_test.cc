#include "net/reply_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/text.h"
#include "net/smtp_reply.h"
#include "tests/core/run_task.h"
#include "tests/sim/sim_io.h"

namespace bivalve::net {
namespace {

using std::chrono::seconds;
using testing::IsEmpty;

constexpr seconds kTimeout{10};

// Sends its parts, `pause` apart, and then ends its side if told to.
class Peer final : public sim::SimPeer {
 public:
  Peer(std::vector<std::string> parts, bool ends, core::Duration pause)
      : parts_(std::move(parts)), ends_(ends), pause_(pause) {}
  void OnConnect(sim::SimSocket& socket) override {
    core::Duration when{};
    for (const std::string& part : parts_) {
      socket.io().After(when, [&socket, &part] { socket.Send(part); });
      when += pause_;
    }
    if (ends_) socket.io().After(when, [&socket] { socket.Close(); });
  }

 private:
  std::vector<std::string> parts_;
  bool ends_;
  core::Duration pause_;
};

struct Outcome {
  Reply reply;
  std::string text;
  std::string rest;  // left for the next reader
  core::Duration took{};
};

Outcome Read(std::vector<std::string> parts, bool ends = false, uint64_t seed = 1,
             core::Duration pause = seconds(1)) {
  sim::SimIo io(seed, {.short_recv = seed % 2 == 0 ? 0.0 : 0.8});
  core::Loop loop(io);
  core::Condition wake(loop);
  Connection connection(loop, wake, kReplyLineBytesMax);
  Peer peer(std::move(parts), ends, pause);
  connection.stream().Adopt(io.Accept(peer));
  Outcome outcome;
  const core::MonoTime began = io.Now();
  outcome.reply = core::RunTask(loop, ReadReply(connection, wake, kTimeout, outcome.text));
  outcome.took = io.Now() - began;
  outcome.rest = connection.stream().input();
  core::RunTask(loop, connection.stream().Close());
  EXPECT_THAT(io.Problems(), IsEmpty());
  return outcome;
}

TEST(ReplyReader, ReadsOneLine) {
  const Outcome outcome = Read({"250 2.1.0 Ok\r\n"});
  EXPECT_TRUE(outcome.reply.ok());
  EXPECT_EQ(outcome.reply.code, 250);
  EXPECT_EQ(outcome.text, "250 2.1.0 Ok\r\n");
}

TEST(ReplyReader, GivesManyLinesWordForWordHoweverTheyAreCut) {
  const std::string reply = "250-mx.example at your service\r\n250-SIZE  1000\r\n250-\r\n250 8BITMIME \r\n";
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    const Outcome outcome = Read({reply}, false, seed);
    EXPECT_TRUE(outcome.reply.ok());
    EXPECT_EQ(outcome.text, reply);
  }
}

TEST(ReplyReader, AcceptsABareCode) {  // RFC 5321 section 4.2
  const Outcome outcome = Read({"354\r\n"});
  EXPECT_EQ(outcome.reply.code, 354);
  EXPECT_EQ(outcome.text, "354\r\n");
}

TEST(ReplyReader, MakesCrLfOfLfAlone) { EXPECT_EQ(Read({"250-a\n250 b\n"}).text, "250-a\r\n250 b\r\n"); }

TEST(ReplyReader, LeavesTheNextReplyWhereItIs) {
  const Outcome outcome = Read({"250 one\r\n250 two\r\n"}, false, 2);
  EXPECT_EQ(outcome.text, "250 one\r\n");
  EXPECT_EQ(outcome.rest, "250 two\r\n");
}

TEST(ReplyReader, AppendsToWhatIsThere) {
  sim::SimIo io(1);
  core::Loop loop(io);
  core::Condition wake(loop);
  Connection connection(loop, wake, kReplyLineBytesMax);
  Peer peer({"250 one\r\n250 two\r\n"}, false, seconds(1));
  connection.stream().Adopt(io.Accept(peer));
  std::string text = "before: ";
  (void)core::RunTask(loop, ReadReply(connection, wake, kTimeout, text));
  (void)core::RunTask(loop, ReadReply(connection, wake, kTimeout, text));
  EXPECT_EQ(text, "before: 250 one\r\n250 two\r\n");
  core::RunTask(loop, connection.stream().Close());
}

TEST(ReplyReader, TakesAReplyThatCameBeforeTheEnd) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    EXPECT_EQ(Read({"421 bye\r\n"}, true, seed).reply.code, 421);
  }
}

TEST(ReplyReader, SaysThatTheConnectionEndedBeforeTheReply) {
  for (const std::string part : {"", "25", "250 ok", "250-more follows\r\n"}) {
    EXPECT_EQ(Read({part}, true).reply.status, ReplyStatus::kEnded) << part;
  }
}

TEST(ReplyReader, RefusesWhatIsNoReply) {
  for (const std::string part :
       {"hello\r\n", "\r\n", "199 early\r\n", "600 late\r\n", "250ok\r\n", "250-a\r\nno reply\r\n"}) {
    EXPECT_EQ(Read({part}).reply.status, ReplyStatus::kGarbage) << part;
  }
}

// RFC 5321 section 4.2.1 requires one code; clients decide by the last line.
TEST(ReplyReader, GivesAllLinesTheLastCode) {
  const Outcome greeting = Read({"220-mx.example\r\n220-wait\r\n521 no mail here\r\n"});
  EXPECT_EQ(greeting.reply.code, 521);
  EXPECT_EQ(greeting.text, "521-mx.example\r\n521-wait\r\n521 no mail here\r\n");
  EXPECT_EQ(Read({"550-a\r\n250-\r\n250\r\n"}).text, "250-a\r\n250-\r\n250\r\n");
}

// For some clients a CR alone ends the line, so they would read a second reply.
TEST(ReplyReader, LeavesNoControlCharacterInALine) {
  const std::string reply = std::string("250-a\rb\0c\x1b[2J\td\x7f\xc3\xa4\r\r\n250 ok\r550 no\r\n", 36);
  EXPECT_EQ(Read({reply}).text, "250-a?b?c?[2J\td?\xc3\xa4?\r\n250 ok?550 no\r\n");
}

TEST(ReplyReader, RefusesALineWithoutEnd) {
  EXPECT_EQ(Read({std::string("250 ") + std::string(5000, 'x')}).reply.status, ReplyStatus::kGarbage);
}

TEST(ReplyReader, RefusesMoreLinesThanAReplyMayHave) {
  std::string reply;
  for (size_t i = 1; i < kReplyLinesMax; ++i) reply += "250-x\r\n";
  EXPECT_TRUE(Read({reply + "250 x\r\n"}, false, 2).reply.ok());
  EXPECT_EQ(Read({reply + "250-x\r\n250 x\r\n"}, false, 2).reply.status, ReplyStatus::kGarbage);
}

TEST(ReplyReader, WaitsAsLongAsItMayAndNoLonger) {
  const Outcome outcome = Read({"250-a\r\n250 "});
  EXPECT_EQ(outcome.reply.status, ReplyStatus::kTimeout);
  EXPECT_EQ(outcome.text, "250-a\r\n");
  EXPECT_GE(outcome.took, kTimeout);
  EXPECT_LE(outcome.took, kTimeout + seconds(1));
}

TEST(ReplyReader, GivesEachLineATimeOfItsOwn) {
  const Outcome outcome = Read({"250-a\r\n", "250-b\r\n", "250-c\r\n", "250 d\r\n"}, false, 1, seconds(9));
  EXPECT_TRUE(outcome.reply.ok());
  EXPECT_GE(outcome.took, seconds(27));
}

TEST(ReplyReader, DoesNotTakeSingleBytesForProgress) {
  std::vector<std::string> parts;
  for (const char byte : std::string_view("250 a slow server\r\n")) parts.emplace_back(1, byte);
  EXPECT_EQ(Read(std::move(parts), false, 1, seconds(9)).reply.status, ReplyStatus::kTimeout);
}

}  // namespace
}  // namespace bivalve::net
