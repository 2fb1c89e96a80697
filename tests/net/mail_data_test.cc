// Mail data as a client sends it, over a simulated connection: with any cut, too much data, no room for it,
// and clients that leave or fall silent.
#include "net/mail_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/patience.h"
#include "core/text.h"
#include "net/smtp_command.h"
#include "tests/core/run_task.h"
#include "tests/sim/sim_io.h"

namespace bivalve::net {
namespace {

using std::string_view_literals::operator""sv;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::IsEmpty;
using Status = MailDataResult::Status;

constexpr seconds kTimeout{10};

enum class End : uint8_t { kStays, kEnds, kResets };

// Sends some bytes, then some pieces one by one, then the rest a moment later. Then it stays, ends or resets.
class Peer final : public sim::SimPeer {
 public:
  void OnConnect(sim::SimSocket& socket) override {
    socket.Send(first);
    if (pieces > 0) return SendPieces(socket, pieces);
    if (!second.empty()) socket.io().After(pause, [this, &socket] { socket.Send(second); });
    if (end == End::kEnds) socket.io().After(pause, [&socket] { socket.Close(); });
    if (end == End::kResets) socket.io().After(pause, [&socket] { socket.Reset(); });
  }
  void SendPieces(sim::SimSocket& socket, int left) {
    socket.io().After(pause, [this, &socket, left] {
      if (!socket.open()) return;
      socket.Send(left > 0 ? piece : second);
      if (left > 0) SendPieces(socket, left - 1);
    });
  }
  std::string first;
  std::string piece;
  int pieces = 0;
  std::string second;
  core::Duration pause = milliseconds(1);
  End end = End::kStays;
};

struct Got {
  MailDataResult result;
  std::string content;
  std::string rest;  // left in the client's stream
  core::Duration took{};
  bool short_file = false;
};

class MailDataTest : public testing::Test {
 protected:
  Got Data(uint64_t seed = 1) { return Run(seed, false, 0, false); }
  Got Chunk(uint64_t bytes, bool discard = false, uint64_t seed = 1) {
    return Run(seed, true, bytes, discard);
  }

  Peer peer_;
  EndOfData::Check check_ = EndOfData::Check::kGuard;
  MailDataLimits limits_;
  core::BodyPool::Options pool_;
  std::string held_;                  // content that the body held before
  std::optional<size_t> last_bytes_;  // of the message that the body held before this one
  double short_recv_ = 0.5;

 private:
  Got Run(uint64_t seed, bool chunk, uint64_t bytes, bool discard) {
    sim::SimIo io(seed, {.short_recv = seed % 2 == 0 ? 0.0 : short_recv_, .no_buffers = 0.2});
    core::Loop loop(io);
    core::Condition wake(loop);
    core::BodyPool bodies(loop, pool_);
    Connection client(loop, wake, kCommandLineBytesMax);
    client.stream().Adopt(io.Accept(peer_));
    std::unique_ptr<core::Body> body = core::RunTask(loop, bodies.Acquire(0));
    if (last_bytes_.has_value()) {
      std::fill_n(body->room().begin(), *last_bytes_, '!');
      body->Extend(*last_bytes_);
      EXPECT_GE(body->SealForScan(), 0);
      bodies.Release(std::move(body));
      body = core::RunTask(loop, bodies.Acquire(0));
    }
    std::copy(held_.begin(), held_.end(), body->room().begin());
    body->Extend(held_.size());
    // In some runs the reader was armed before, and its bytes are already there.
    client.stream().StartReading();
    if (seed % 3 == 0) {
      for (int i = 0; i < 20; ++i) loop.Turn(io.Now());
    }
    Got got;
    const core::MonoTime began = io.Now();
    core::Patience patience(kTimeout);
    patience.Start(began);
    got.result = core::RunTask(
        loop, chunk ? ReceiveChunk(loop, client, bodies, body.get(), bytes, discard, limits_, patience)
                    : ReceiveData(loop, client, bodies, *body, check_, limits_, patience));
    got.took = io.Now() - began;
    got.content = body->content();
    got.short_file = body->short_file();
    if (got.result.status == Status::kComplete) {
      EXPECT_GE(body->SealForScan(), 0);
    }
    EXPECT_EQ(got.content, body->content()) << "the file does not hold all of it";
    // Bytes that are still on their way arrive too.
    while (got.result.status == Status::kComplete && client.stream().input().size() < kRestBytes &&
           !client.stream().ended()) {
      client.stream().StartReading();
      loop.Turn(io.Now() + seconds(1));
      if (io.Now() > began + seconds(60)) break;
    }
    got.rest = client.stream().input();
    bodies.Release(std::move(body));
    core::RunTask(loop, client.stream().Close());
    EXPECT_EQ(bodies.bodies_out(), 0u);
    EXPECT_THAT(io.Problems(), IsEmpty());
    return got;
  }
  static constexpr size_t kRestBytes = 6;  // "QUIT" and CRLF
};

TEST_F(MailDataTest, EndsAtTheDotLineWhereverTheBytesAreCut) {
  const std::string_view wire = "Subject: a\r\n\r\n..dot\r\n.stuffed\r\n...\r\nbody.\r\n.\r\nQUIT\r\n";
  for (size_t cut = 0; cut <= wire.size(); ++cut) {
    for (uint64_t seed = 0; seed < 6; ++seed) {
      SCOPED_TRACE(testing::Message() << "cut " << cut << " seed " << seed);
      peer_.first = wire.substr(0, cut);
      peer_.second = wire.substr(cut);
      const Got got = Data(seed);
      ASSERT_EQ(got.result.status, Status::kComplete);
      EXPECT_EQ(got.content, "Subject: a\r\n\r\n.dot\r\nstuffed\r\n..\r\nbody.\r\n");
      EXPECT_EQ(got.rest, "QUIT\r\n");
      EXPECT_TRUE(got.result.has_stuffed_dots);
      EXPECT_EQ(got.result.fault, MailDataFault::kNone);
    }
  }
}

TEST_F(MailDataTest, TakesAMessageAroundTheSizeOfTheLastOne) {
  std::string content = "Subject: a\r\n\r\n";
  while (content.size() < 1000) content += ".a line with a dot\r\nand one without\r\n";
  std::string wire;
  for (const char byte : content) {
    if (byte == '.') wire += '.';
    wire += byte;
  }
  peer_.first = wire + ".\r\nQUIT\r\n";
  const auto take = [&](uint64_t seed) {
    SCOPED_TRACE(testing::Message() << "last " << *last_bytes_ << " seed " << seed);
    Got got = Data(seed);
    EXPECT_EQ(got.result.status, Status::kComplete);
    EXPECT_TRUE(got.content == content);
    EXPECT_EQ(got.rest, "QUIT\r\n");
    return got;
  };
  for (last_bytes_ = 0; *last_bytes_ < wire.size() + 20; *last_bytes_ += 1) {
    for (uint64_t seed = *last_bytes_; seed < *last_bytes_ + 3; ++seed) take(seed);
  }
  // Without stuffing the content fills the room, and only the line "." does not fit.
  content.erase(std::remove(content.begin(), content.end(), '.'), content.end());
  peer_.first = content + ".\r\nQUIT\r\n";
  last_bytes_ = content.size();
  short_recv_ = 0;
  EXPECT_TRUE(take(1).short_file) << "the same size needs no other file";
  last_bytes_ = content.size() - 1;
  EXPECT_FALSE(take(1).short_file);
  // A too large message is read to its end from a short file too.
  limits_.message_bytes_max = content.size() - 1;
  for (last_bytes_ = 0; *last_bytes_ < content.size() + 20; *last_bytes_ += 7) {
    const Got got = Data(*last_bytes_);
    EXPECT_EQ(got.result.fault, MailDataFault::kTooLarge);
    EXPECT_EQ(got.rest, "QUIT\r\n");
  }
}

TEST_F(MailDataTest, TakesAMessageOfNothing) {
  peer_.first = ".\r\nQUIT\r\n";
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Got got = Data(seed);
    EXPECT_EQ(got.result.status, Status::kComplete);
    EXPECT_EQ(got.content, "");
    EXPECT_EQ(got.rest, "QUIT\r\n");
  }
}

TEST_F(MailDataTest, SaysWhatIsWrongWithTheData) {
  const auto fault = [this](std::string_view data, EndOfData::Check check,
                            bool bare_dot_is_ambiguous = false) {
    peer_.first = core::Cat(data, "\r\n.\r\nQUIT\r\n");
    check_ = check;
    limits_.bare_dot_is_ambiguous = bare_dot_is_ambiguous;
    return Data().result.fault;
  };
  EXPECT_EQ(fault("a\n.\r\nb", EndOfData::Check::kGuard), MailDataFault::kAmbiguousEnd);
  EXPECT_EQ(fault("a\n.\r\nb", EndOfData::Check::kNone), MailDataFault::kNone);
  EXPECT_EQ(fault("a\nb", EndOfData::Check::kBareNewline), MailDataFault::kBareNewline);
  EXPECT_EQ(fault("a\nb", EndOfData::Check::kGuard), MailDataFault::kNone);
  EXPECT_EQ(fault("a\n.b", EndOfData::Check::kGuard, true), MailDataFault::kAmbiguousDot);
  EXPECT_EQ(fault("a\n.b", EndOfData::Check::kGuard, false), MailDataFault::kNone);
  // Of several faults the first one counts.
  EXPECT_EQ(fault("a\n.b\n.\r\nc", EndOfData::Check::kBareNewline, true), MailDataFault::kAmbiguousEnd);
  limits_.message_bytes_max = 5;
  EXPECT_EQ(fault("a\n.\r\nb", EndOfData::Check::kGuard), MailDataFault::kTooLarge);
}

TEST_F(MailDataTest, GrowsWithTheMessage) {
  std::string content;
  for (int i = 0; content.size() < 900'000; ++i) core::Append(content, ".line ", i, "\r\n");
  std::string wire;
  for (const char byte : content) {
    if (byte == '.') wire += '.';
    wire += byte;
  }
  short_recv_ = 0.1;
  for (const uint64_t memory : {uint64_t{64} << 20, uint64_t{200'000}}) {
    pool_.memory_bytes_max = memory;
    for (uint64_t seed = 0; seed < 2; ++seed) {
      SCOPED_TRACE(testing::Message() << "memory " << memory << " seed " << seed);
      peer_.first = wire + ".\r\nQUIT\r\n";
      const Got got = Data(seed);
      ASSERT_EQ(got.result.status, Status::kComplete);
      EXPECT_TRUE(got.content == content);
      EXPECT_EQ(got.rest, "QUIT\r\n");
    }
  }
}

TEST_F(MailDataTest, TakesExactlyTheLimit) {
  limits_.message_bytes_max = 1000;
  peer_.first = std::string(998, 'x') + "\r\n.\r\nQUIT\r\n";
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const Got got = Data(seed);
    EXPECT_EQ(got.result.fault, MailDataFault::kNone) << seed;
    EXPECT_EQ(got.content.size(), 1000u);
  }
}

TEST_F(MailDataTest, ReadsToTheEndOfWhatIsTooLarge) {
  limits_.message_bytes_max = 1000;
  for (const size_t size : {size_t{999}, size_t{5000}, size_t{300'000}}) {
    peer_.first = std::string(size, 'x') + "\r\n..\r\n.\r\nQUIT\r\n";
    for (uint64_t seed = 0; seed < 20; ++seed) {
      SCOPED_TRACE(testing::Message() << size << " bytes, seed " << seed);
      const Got got = Data(seed);
      ASSERT_EQ(got.result.status, Status::kComplete);
      EXPECT_EQ(got.result.fault, MailDataFault::kTooLarge);
      EXPECT_EQ(got.content, "");
      EXPECT_EQ(got.rest, "QUIT\r\n");
    }
  }
}

// Bytes that do not fit into the room are thrown away. Yet the end is found, even if it is cut into bytes
// that are thrown away.
TEST_F(MailDataTest, ReadsToTheEndOfWhatThereIsNoRoomFor) {
  pool_.memory_bytes_max = 64 * 1024;
  pool_.temp_directory = "/nowhere";
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    peer_.first = std::string(60'000 + seed * 37, 'x') + "\r\n.y\r\n\r\n..\r\n.\r\nQUIT\r\n";
    short_recv_ = 0.1;
    const Got got = Data(seed);
    ASSERT_EQ(got.result.status, Status::kComplete);
    EXPECT_EQ(got.rest, "QUIT\r\n");
    const bool fits = got.content.size() > 60'000;
    EXPECT_EQ(got.result.fault, fits ? MailDataFault::kNone : MailDataFault::kNoRoom);
    if (!fits) {
      EXPECT_EQ(got.content, "");
    }
  }
}

TEST_F(MailDataTest, SaysThatTheClientLeftAtWhateverByte) {
  const std::string_view wire = "Subject: a\r\n\r\n..\r\n.\r\n";
  for (const End end : {End::kEnds, End::kResets}) {
    peer_.end = end;
    for (size_t bytes = 0; bytes < wire.size(); ++bytes) {
      peer_.first = wire.substr(0, bytes);
      EXPECT_EQ(Data(bytes).result.status, Status::kClientGone) << bytes;
    }
  }
}

TEST_F(MailDataTest, TakesAMessageWhoseClientLeavesBehindIt) {
  peer_.end = End::kEnds;
  peer_.first = "body\r\n.\r\nQUIT\r\n";
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const Got got = Data(seed);
    EXPECT_EQ(got.result.status, Status::kComplete);
    EXPECT_EQ(got.content, "body\r\n");
    EXPECT_EQ(got.rest, "QUIT\r\n");
  }
}

TEST_F(MailDataTest, WaitsAsLongAsItMayAndNoLonger) {
  for (const std::string_view wire : {"", "body\r\n", "body\r\n.", "body\r\n.\r"}) {
    for (uint64_t seed = 0; seed < 6; ++seed) {
      SCOPED_TRACE(wire);
      peer_.first = wire;
      const Got got = Data(seed);
      // Silence is a timeout; a few bytes and then silence are too slow.
      EXPECT_EQ(got.result.status, wire.empty() ? Status::kTimeout : Status::kTooSlow);
      EXPECT_GE(got.took, kTimeout);
      EXPECT_LE(got.took, kTimeout + seconds(1));
    }
  }
}

TEST_F(MailDataTest, WaitsForASlowClientThatGoesOn) {
  peer_.first = "body\r\n";
  peer_.second = ".\r\nQUIT\r\n";
  peer_.pause = kTimeout - seconds(1);
  EXPECT_EQ(Data().result.status, Status::kComplete);
}

// A client that sends without end, by DATA and by a chunk of as many bytes.
class MailDataRateTest : public MailDataTest {
 protected:
  static constexpr uint64_t kEnough =
      core::Patience::kBytesPerSecondMin * static_cast<uint64_t>(kTimeout.count());
  std::array<Got, 2> Both(uint64_t seed) {
    const uint64_t bytes = peer_.first.size() + peer_.pieces * peer_.piece.size();
    return {Data(seed), Chunk(bytes, false, seed)};
  }
};

TEST_F(MailDataRateTest, AGoodStartDoesNotPayForWhatFollows) {
  peer_.first = std::string(kEnough + 1, 'x');
  peer_.piece = "x";
  peer_.pieces = 60;
  peer_.pause = seconds(1);
  for (uint64_t seed = 0; seed < 6; ++seed) {
    for (const Got& got : Both(seed)) {
      SCOPED_TRACE(seed);
      EXPECT_EQ(got.result.status, Status::kTooSlow);
      // The second interval begins with the first bytes after the end of the first one.
      EXPECT_GE(got.took, 2 * kTimeout);
      EXPECT_LE(got.took, 2 * kTimeout + seconds(2));
    }
  }
}

TEST_F(MailDataRateTest, ASteadyClientMayTakeManyIntervals) {
  peer_.piece = std::string(core::Patience::kBytesPerSecondMin * 3, 'x');
  peer_.pieces = 60;
  peer_.pause = seconds(2);
  peer_.second = "\r\n.\r\nQUIT\r\n";
  for (uint64_t seed = 0; seed < 6; ++seed) {
    for (const Got& got : Both(seed)) {
      SCOPED_TRACE(seed);
      EXPECT_EQ(got.result.status, Status::kComplete);
      EXPECT_GE(got.took, 11 * kTimeout);
    }
  }
}

// --- BDAT (RFC 3030)

TEST_F(MailDataTest, TakesAChunkAndNotAByteMore) {
  const std::string_view chunk = "a\r\n.\r\n..\n\0binary"sv;
  for (size_t cut = 0; cut <= chunk.size() + 6; ++cut) {
    for (uint64_t seed = 0; seed < 6; ++seed) {
      SCOPED_TRACE(testing::Message() << "cut " << cut << " seed " << seed);
      const std::string wire = core::Cat(chunk, "QUIT\r\n");
      peer_.first = wire.substr(0, cut);
      peer_.second = wire.substr(cut);
      const Got got = Chunk(chunk.size(), false, seed);
      ASSERT_EQ(got.result.status, Status::kComplete);
      EXPECT_EQ(got.content, chunk);
      EXPECT_EQ(got.rest, "QUIT\r\n");
    }
  }
}

TEST_F(MailDataTest, PutsAChunkBehindTheOnesBefore) {
  held_ = "first,";
  peer_.first = "secondQUIT\r\n";
  EXPECT_EQ(Chunk(6).content, "first,second");
}

TEST_F(MailDataTest, TakesAChunkOfNothingWithoutWaiting) {
  peer_.first = "QUIT\r\n";
  held_ = "first";
  const Got got = Chunk(0);
  EXPECT_EQ(got.result.status, Status::kComplete);
  EXPECT_EQ(got.content, "first");
  EXPECT_EQ(got.rest, "QUIT\r\n");
}

TEST_F(MailDataTest, ReadsAChunkThatNobodyWants) {
  peer_.first = std::string(200'000, 'x') + "QUIT\r\n";
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const Got got = Chunk(200'000, true, seed);
    EXPECT_EQ(got.result.status, Status::kComplete);
    EXPECT_EQ(got.content, "");
    EXPECT_EQ(got.rest, "QUIT\r\n");
  }
}

TEST_F(MailDataTest, ReadsAChunkThatIsTooLargeWithTheOnesBefore) {
  limits_.message_bytes_max = 100;
  held_ = std::string(60, 'a');
  peer_.first = std::string(41, 'b') + "QUIT\r\n";
  const Got got = Chunk(41);
  EXPECT_EQ(got.result.fault, MailDataFault::kTooLarge);
  EXPECT_EQ(got.content, "");
  EXPECT_EQ(got.rest, "QUIT\r\n");
  peer_.first = std::string(40, 'b') + "QUIT\r\n";
  EXPECT_EQ(Chunk(40).result.fault, MailDataFault::kNone);
}

// The client chooses the size, so adding to it could overflow.
TEST_F(MailDataTest, RefusesAChunkOfAlmostInfiniteSize) {
  limits_.message_bytes_max = 100;
  held_ = std::string(60, 'a');
  peer_.first = "x";
  peer_.end = End::kEnds;
  const Got got = Chunk((uint64_t{1} << 63) - 1);
  EXPECT_EQ(got.result.fault, MailDataFault::kTooLarge);
  EXPECT_EQ(got.result.status, Status::kClientGone);
}

TEST_F(MailDataTest, ReadsAChunkThatThereIsNoRoomFor) {
  pool_.memory_bytes_max = 64 * 1024;
  pool_.temp_directory = "/nowhere";
  peer_.first = std::string(90'000, 'x') + "QUIT\r\n";
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const Got got = Chunk(90'000, false, seed);
    EXPECT_EQ(got.result.status, Status::kComplete);
    EXPECT_EQ(got.result.fault, MailDataFault::kNoRoom);
    EXPECT_EQ(got.content, "");
    EXPECT_EQ(got.rest, "QUIT\r\n");
  }
}

TEST_F(MailDataTest, SaysThatTheClientLeftWithinAChunk) {
  for (const End end : {End::kEnds, End::kResets}) {
    peer_.end = end;
    for (size_t bytes = 0; bytes < 10; ++bytes) {
      peer_.first = std::string(bytes, 'x');
      EXPECT_EQ(Chunk(10, false, bytes).result.status, Status::kClientGone) << bytes;
    }
  }
}

TEST_F(MailDataTest, WaitsForTheRestOfAChunkAsLongAsItMay) {
  peer_.first = "half";
  const Got got = Chunk(8);
  EXPECT_EQ(got.result.status, Status::kTooSlow);
  EXPECT_GE(got.took, kTimeout);
  EXPECT_LE(got.took, kTimeout + seconds(1));
}

}  // namespace
}  // namespace bivalve::net
