// What a server receives of a message, byte for byte, and how its replies are understood.
#include "net/delivery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "core/shrunken_file.h"
#include "core/text.h"
#include "net/smtp_reply.h"
#include "tests/core/run_task.h"
#include "tests/sim/sim_io.h"

namespace bivalve::net {
namespace {

using core::Cat;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::IsEmpty;
using Status = DeliveryResult::Status;

constexpr seconds kTimeout{10};
constexpr std::string_view kHeader = "X-Virus-Scanned: yes\r\n";

// A server that answers DATA, and answers the message when all of it has arrived.
class Server final : public sim::SimPeer {
 public:
  void OnConnect(sim::SimSocket& socket) override { socket.Send(greeting); }
  void OnBytes(sim::SimSocket& socket, std::string_view part) override {
    bytes += part;
    if (!greeted_ && bytes.starts_with("DATA\r\n")) {
      greeted_ = true;
      socket.Send(data_reply);
      if (closes_at_data) socket.Close();
      return;
    }
    if (early_bytes > 0 && bytes.size() >= early_bytes) {
      socket.Send(final_reply);
      socket.Close();
      return;
    }
    if (!Whole() || answered_) return;
    answered_ = true;
    socket.Send(final_reply);
    if (closes_at_end) socket.Close();
  }

  // The bytes behind the command.
  std::string Message() const {
    const size_t end = bytes.find("\r\n");
    return end == std::string::npos ? "" : bytes.substr(end + 2);
  }

  std::string greeting;  // sent before the delivery begins
  std::string data_reply = "354 go ahead\r\n";
  std::string final_reply = "250 2.0.0 taken\r\n";
  bool closes_at_data = false;
  bool closes_at_end = false;
  size_t early_bytes = 0;  // sends the final reply and ends after this many bytes
  std::string bytes;

 private:
  bool Whole() const {
    if (bytes.starts_with("DATA\r\n")) return bytes == "DATA\r\n.\r\n" || bytes.ends_with("\r\n.\r\n");
    const size_t end = bytes.find("\r\n");
    if (end == std::string::npos) return false;
    return Message().size() == std::stoul(bytes.substr(5, end - 5));
  }
  bool greeted_ = false;
  bool answered_ = false;
};

// Answers everything by the same line.
class Repeating final : public sim::SimPeer {
 public:
  explicit Repeating(std::string_view reply) : reply_(reply) {}
  void OnBytes(sim::SimSocket& socket, std::string_view part) override {
    bytes += part;
    // A command may arrive separately from its chunk.
    if (bytes.ends_with("\r\na") || bytes.ends_with(": b\r\n")) socket.Send(std::string(reply_));
  }
  std::string bytes;

 private:
  std::string_view reply_;
};

// A message and how to deliver it, for short test code.
struct Job {
  std::string_view content = {};
  std::string_view header = {};
  size_t header_offset = 0;
  bool chunking = false;
  bool chunking_proven = true;
  bool may_need_stuffing = false;
  uint64_t shrunken_files = 0;

  WholeMessage message() const {
    return {.content = content, .header = header, .header_offset = header_offset};
  }
  DeliveryOptions options() const {
    return {.chunking = chunking,
            .chunking_proven = chunking_proven,
            .may_need_stuffing = may_need_stuffing,
            .shrunken_files = core::ShrunkenFilesMet() + shrunken_files,
            .timeout = kTimeout};
  }
};

struct Got {
  DeliveryResult result;
  std::string text;
  core::Duration took{};
};

Got DeliverTo(Server& server, const Job& job, uint64_t seed = 1) {
  sim::SimIo io(seed, {.short_recv = seed % 2 == 0 ? 0.0 : 0.5, .send_buffer_bytes = 2000});
  core::Loop loop(io);
  core::Condition wake(loop);
  Connection connection(loop, wake, kReplyLineBytesMax);
  connection.stream().Adopt(io.Accept(server));
  while (connection.stream().input().size() < server.greeting.size()) {
    connection.stream().StartReading();
    loop.Turn();
  }
  Got got;
  got.text = "before:";
  const core::MonoTime began = io.Now();
  got.result = core::RunTask(loop, Deliver(connection, wake, job.message(), job.options(), got.text));
  got.took = io.Now() - began;
  core::RunTask(loop, connection.stream().Close());
  EXPECT_THAT(io.Problems(), IsEmpty());
  EXPECT_TRUE(got.text.starts_with("before:"));
  got.text.erase(0, 7);
  return got;
}

// RFC 5321 section 4.5.2, byte by byte, and the end of data. A dot behind a bare LF gets a CR before the LF.
std::string Wire(std::string_view content) {
  std::string wire;
  for (size_t i = 0; i < content.size(); ++i) {
    const bool at_line_start = i == 0 || content[i - 1] == '\n';
    if (at_line_start && content[i] == '.') {
      if (i > 0 && !wire.ends_with("\r\n")) wire.insert(wire.size() - 1, "\r");
      wire += '.';
    }
    wire += content[i];
  }
  wire += content.empty() || content.ends_with("\r\n") ? ".\r\n" : "\r\n.\r\n";
  return wire;
}

const std::vector<std::string>& Contents() {
  static const std::vector<std::string> contents = {
      "",
      ".",
      ".\r\n",
      "..\r\n.\r\n",
      "\r\n.\r\n",
      "Subject: a\r\n\r\nbody\r\n",
      "Subject: a\r\n\r\n.dot\r\n..\r\n.\r\nbody\r\n",
      "Subject: a\r\n",
      "Subject: a",
      "\r\nno header\r\n",
      ".a: header that begins with a dot\r\n.b: c\r\n\r\n.\r\n",
      "a: b\n\n.not at the start of a line\n.nor this\r\n.but this\r\n",
      "body without a line end\r\n.",
      "a: b\r\n\r\n" + std::string(5000, '.') + "\r\n.",
  };
  return contents;
}

// All places for a header: at the top, behind each line end, and at the end if the last line has no line end.
std::vector<size_t> Offsets(std::string_view content) {
  std::vector<size_t> offsets = {0};
  for (size_t i = 0; i < content.size(); ++i) {
    if (content[i] == '\n') offsets.push_back(i + 1);
  }
  if (!content.empty() && !content.ends_with('\n')) offsets.push_back(content.size());
  return offsets;
}

std::string Inserted(std::string_view content, size_t offset, std::string_view header) {
  if (header.empty()) return std::string(content);
  const bool open_line = offset > 0 && content[offset - 1] != '\n';
  return Cat(content.substr(0, offset), open_line ? "\r\n" : "", header, content.substr(offset));
}

TEST(Delivery, StuffsEveryLineThatBeginsWithADot) {
  for (const std::string& content : Contents()) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      SCOPED_TRACE(testing::Message() << content.substr(0, 60) << " seed " << seed);
      Server server;
      const Got got = DeliverTo(server, {.content = content, .may_need_stuffing = true}, seed);
      EXPECT_EQ(got.result.status, Status::kReplied);
      EXPECT_EQ(got.result.code, 250);
      EXPECT_EQ(got.text, "250 2.0.0 taken\r\n");
      EXPECT_EQ(server.bytes, "DATA\r\n" + Wire(content));
    }
  }
}

TEST(Delivery, StuffsAroundAHeaderWhereverItStands) {
  for (const std::string& content : Contents()) {
    for (const size_t offset : Offsets(content)) {
      SCOPED_TRACE(testing::Message() << content.substr(0, 60) << " offset " << offset);
      Server server;
      const Job job{
          .content = content, .header = kHeader, .header_offset = offset, .may_need_stuffing = true};
      (void)DeliverTo(server, job, offset);
      EXPECT_EQ(server.bytes, "DATA\r\n" + Wire(Inserted(content, offset, kHeader)));
    }
  }
}

TEST(Delivery, SendsByBdatExactlyAsManyBytesAsItSays) {
  for (const std::string& content : Contents()) {
    for (const size_t offset : Offsets(content)) {
      for (const std::string_view header : {std::string_view(), kHeader}) {
        SCOPED_TRACE(testing::Message() << content.substr(0, 60) << " offset " << offset);
        Server server;
        const Job job{.content = content,
                      .header = header,
                      .header_offset = offset,
                      .chunking = true,
                      .may_need_stuffing = true};
        const Got got = DeliverTo(server, job, offset);
        EXPECT_EQ(got.result.code, 250);
        const std::string expected = Inserted(content, offset, header);
        EXPECT_EQ(server.bytes, Cat("BDAT ", expected.size(), " LAST\r\n", expected));
      }
    }
  }
}

// More pieces than fit into one message to the kernel, and counts around that number.
TEST(Delivery, StuffsAsManyDotsAsThereAre) {
  for (size_t dots = 0; dots < 140; ++dots) {
    SCOPED_TRACE(dots);
    std::string content;
    for (size_t i = 0; i < dots; ++i) content += ".\r\n";
    Server server;
    const Got got = DeliverTo(server, {.content = content, .may_need_stuffing = true}, dots);
    EXPECT_EQ(got.result.code, 250);
    EXPECT_EQ(server.bytes, "DATA\r\n" + Wire(content));
  }
}

// Where dots stand close together, stuffed lines are copied in blocks and batches; elsewhere they are sent in
// place. The bytes sent are the same for any mixture.
TEST(Delivery, StuffsContentOfAnyKind) {
  for (uint64_t seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    sim::Random random(seed);
    constexpr std::array<std::string_view, 7> kLines = {"..", ".", "", "..x", "\r.", "x\r", ".\n."};
    constexpr std::array<std::string_view, 4> kEnds = {"\r\n", "\r\n", "\n", "\r\r\n"};
    // From a dot in each line to one in a thousand lines, and from CRLF only to all kinds of line ends.
    const uint64_t plain_lines = random.Below(3) == 0 ? 1 + random.Below(1000) : random.Below(3);
    const uint64_t line_ends = 1 + random.Below(kEnds.size());
    const size_t bytes = 1 + random.Below(150'000);
    std::string content;
    while (content.size() < bytes) {
      content += kLines[random.Below(kLines.size())];
      content += kEnds[random.Below(line_ends)];
      for (uint64_t i = random.Below(plain_lines + 1); i > 0 && content.size() < bytes; --i)
        core::Append(content, std::string(random.Below(100), 'x'), kEnds[random.Below(line_ends)]);
    }
    if (random.Chance(0.3)) content += ".";
    const std::vector<size_t> offsets = Offsets(content);
    const size_t offset = offsets[random.Below(offsets.size())];
    const std::string_view header = random.Chance(0.5) ? kHeader : "";
    Server server;
    const Got got = DeliverTo(server,
                              {.content = content,
                               .header = header,
                               .header_offset = header.empty() ? 0 : offset,
                               .may_need_stuffing = true},
                              seed);
    EXPECT_EQ(got.result.code, 250);
    ASSERT_TRUE(server.bytes == "DATA\r\n" + Wire(Inserted(content, offset, header)));
  }
}

// With a system call for every ten lines, the calls would be most of the cost of such a message. 1 MB of
// plain lines takes three.
TEST(Delivery, TakesFewSendsForManyDottedLines) {
  std::string content;
  while (content.size() < 1'000'000) content += ".\r\n";
  Server server;
  sim::SimIo io(1, {.send_buffer_bytes = 1 << 20});
  core::Loop loop(io);
  core::Condition wake(loop);
  Connection connection(loop, wake, kReplyLineBytesMax);
  connection.stream().Adopt(io.Accept(server));
  std::string text;
  const Job job{.content = content, .may_need_stuffing = true};
  EXPECT_EQ(core::RunTask(loop, Deliver(connection, wake, job.message(), job.options(), text)).code, 250);
  EXPECT_TRUE(server.bytes == "DATA\r\n" + Wire(content));
  EXPECT_LE(io.completions(), 40u);
  core::RunTask(loop, connection.stream().Close());
}

TEST(Delivery, DoesNotLookForDotsWhereThereAreNone) {
  const std::string content = "a: b\r\n\r\nbody\r\n";
  Server server;
  (void)DeliverTo(server, {.content = content, .header = kHeader, .header_offset = 6});
  EXPECT_EQ(server.Message(), "a: b\r\nX-Virus-Scanned: yes\r\n\r\nbody\r\n.\r\n");
}

// A server that we know nothing about gets one byte first.
TEST(Delivery, TriesAChunkOfOneByteFirst) {
  struct Case {
    std::string_view reply;
    DeliveryResult::Status status;
    bool no_chunking;
    std::string_view sent;
  };
  using End = DeliveryResult::Status;
  for (const Case& c : {Case{"250 ok\r\n", End::kReplied, false, "BDAT 1\r\naBDAT 5 LAST\r\n: b\r\n"},
                        Case{"500 what\r\n", End::kLost, true, "BDAT 1\r\na"},
                        Case{"452 full\r\n", End::kRefusedData, false, "BDAT 1\r\na"},
                        Case{"354 what\r\n", End::kLost, false, "BDAT 1\r\na"}}) {
    SCOPED_TRACE(c.reply);
    Repeating server(c.reply);
    sim::SimIo io(1);
    core::Loop loop(io);
    core::Condition wake(loop);
    Connection connection(loop, wake, kReplyLineBytesMax);
    connection.stream().Adopt(io.Accept(server));
    std::string text;
    const Job job{.content = "a: b\r\n", .chunking = true, .chunking_proven = false};
    const DeliveryResult result =
        core::RunTask(loop, Deliver(connection, wake, job.message(), job.options(), text));
    EXPECT_EQ(result.status, c.status);
    EXPECT_EQ(result.no_chunking, c.no_chunking);
    EXPECT_EQ(server.bytes, c.sent);
    EXPECT_EQ(text, c.status == End::kLost ? "" : c.reply);
    core::RunTask(loop, connection.stream().Close());
  }
}

// For DATA, our process reads the content and not the kernel, which would report an error.
TEST(Delivery, SendsNoEndOfContentThatWasCutShort) {
  Server server;
  const Got got =
      DeliverTo(server, {.content = "a: b\r\n\r\n.\r\n", .may_need_stuffing = true, .shrunken_files = 1});
  EXPECT_EQ(got.result.status, DeliveryResult::Status::kLost);
  EXPECT_THAT(server.bytes, testing::Not(testing::HasSubstr("\r\n.\r\n")));
}

TEST(Delivery, SendsALargeMessageWhole) {
  std::string content;
  for (int i = 0; content.size() < 2'500'000; ++i) core::Append(content, "line ", i, " of many\r\n");
  for (const bool chunking : {false, true}) {
    Server server;
    const Job job{.content = content, .header = kHeader, .header_offset = 0, .chunking = chunking};
    sim::SimIo io(7, {.send_buffer_bytes = 1 << 20});
    core::Loop loop(io);
    core::Condition wake(loop);
    Connection connection(loop, wake, kReplyLineBytesMax);
    connection.stream().Adopt(io.Accept(server));
    std::string text;
    EXPECT_EQ(core::RunTask(loop, Deliver(connection, wake, job.message(), job.options(), text)).code, 250);
    EXPECT_TRUE(server.Message() == Cat(kHeader, content, chunking ? "" : ".\r\n"));
    core::RunTask(loop, connection.stream().Close());
  }
}

TEST(Delivery, GivesTheFinalReplyWhateverItSays) {
  for (const std::string reply : {"250 ok\r\n", "451 later\r\n", "554-no\r\n554 never\r\n", "421 bye\r\n"}) {
    for (const bool chunking : {false, true}) {
      Server server;
      server.final_reply = reply;
      server.closes_at_end = true;
      const Got got = DeliverTo(server, {.content = "a: b\r\n", .chunking = chunking});
      EXPECT_EQ(got.result.status, Status::kReplied);
      EXPECT_EQ(got.text, reply);
      EXPECT_EQ(got.result.code, std::stoi(reply));
    }
  }
}

TEST(Delivery, SendsNothingMoreWhenDataIsRefused) {
  for (const std::string reply : {"451 later\r\n", "554-no\r\n554 never\r\n", "421 bye\r\n"}) {
    Server server;
    server.data_reply = reply;
    const Got got = DeliverTo(server, {.content = "a: b\r\n"});
    EXPECT_EQ(got.result.status, Status::kRefusedData);
    EXPECT_EQ(got.result.code, std::stoi(reply));
    EXPECT_EQ(got.text, reply);
    EXPECT_EQ(server.bytes, "DATA\r\n");
  }
}

TEST(Delivery, SendsNothingToAServerThatAnswersDataWithNonsense) {
  for (const std::string reply : {"250 ok\r\n", "334 who?\r\n", "hello\r\n", "354-\r\n250 \r\n"}) {
    Server server;
    server.data_reply = reply;
    const Got got = DeliverTo(server, {.content = "a: b\r\n"});
    EXPECT_EQ(got.result.status, Status::kLost) << reply;
    EXPECT_EQ(got.text, "") << reply;
    EXPECT_EQ(server.bytes, "DATA\r\n") << reply;
  }
}

TEST(Delivery, CallsItLostWithoutAFinalReply) {
  for (const std::string reply : {"", "250", "hello\r\n", "354 again\r\n", "250-a\r\n"}) {
    for (const bool chunking : {false, true}) {
      Server server;
      server.final_reply = reply;
      server.closes_at_end = true;
      const Got got = DeliverTo(server, {.content = "a: b\r\n", .chunking = chunking});
      EXPECT_EQ(got.result.status, Status::kLost) << reply;
      EXPECT_EQ(got.text.find("354"), std::string::npos);
    }
  }
}

TEST(Delivery, CallsItLostWhenTheServerEndsAtData) {
  Server server;
  server.data_reply = "";
  server.closes_at_data = true;
  EXPECT_EQ(DeliverTo(server, {.content = "a: b\r\n"}).result.status, Status::kLost);
}

TEST(Delivery, WaitsForTheServerAsLongAsItMay) {
  for (const bool silent_at_data : {false, true}) {
    Server server;
    (silent_at_data ? server.data_reply : server.final_reply) = "";
    const Got got = DeliverTo(server, {.content = "a: b\r\n"});
    EXPECT_EQ(got.result.status, Status::kLost);
    EXPECT_GE(got.took, kTimeout);
    EXPECT_LE(got.took, kTimeout + seconds(1));
  }
}

// An unasked reply, which some server sends behind another one, must not be taken for the reply to the
// message.
TEST(Delivery, SendsNothingToAServerThatHasSpokenUnasked) {
  for (const std::string unasked :
       {"250 2.1.5 once more\r\n", "354 go ahead\r\n", "hello\r\n", "421 bye\r\n"}) {
    for (const bool chunking : {false, true}) {
      SCOPED_TRACE(unasked);
      Server server;
      server.greeting = unasked;
      const Got got = DeliverTo(server, {.content = "a: b\r\n", .chunking = chunking});
      EXPECT_EQ(server.bytes, "");
      const bool refused = unasked.starts_with("421");
      EXPECT_EQ(got.result.status, refused ? Status::kRefusedData : Status::kLost);
      EXPECT_EQ(got.text, refused ? unasked : "");
    }
  }
}

// A server that has had enough says so and closes while more is being sent to it. Its reply may arrive or
// not.
TEST(Delivery, HearsARefusalInTheMiddleOfTheMessage) {
  const std::string content(400'000, 'x');
  for (const bool chunking : {false, true}) {
    int heard = 0;
    for (uint64_t seed = 0; seed < 100; ++seed) {
      Server server;
      server.final_reply = "552 5.3.4 too much\r\n";
      server.early_bytes = 10'000;
      const Got got = DeliverTo(server, {.content = content, .chunking = chunking}, seed);
      if (got.result.status == Status::kReplied) {
        ++heard;
        EXPECT_EQ(got.result.code, 552);
        EXPECT_EQ(got.text, "552 5.3.4 too much\r\n");
      } else {
        EXPECT_EQ(got.result.status, Status::kLost);
        EXPECT_EQ(got.text, "");
      }
    }
    EXPECT_GE(heard, 30);
  }
}

TEST(Delivery, DoesNotBelieveASuccessInTheMiddleOfTheMessage) {
  const std::string content(400'000, 'x');
  for (const bool chunking : {false, true}) {
    for (uint64_t seed = 0; seed < 100; ++seed) {
      Server server;
      server.final_reply = "250 2.0.0 enough\r\n";
      server.early_bytes = 10'000;
      const Got got = DeliverTo(server, {.content = content, .chunking = chunking}, seed);
      EXPECT_EQ(got.result.status, Status::kLost);
      EXPECT_EQ(got.text, "");
    }
  }
}

}  // namespace
}  // namespace bivalve::net
