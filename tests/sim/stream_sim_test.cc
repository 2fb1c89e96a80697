// Stream against chance: for any order of completions, any cuts of the bytes and a peer that goes at any
// time, the received bytes are a beginning of the sent ones, no wait exceeds its deadline, and nothing is
// left over.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <span>
#include <string>
#include <vector>

#include "core/scope.h"
#include "core/stream.h"
#include "core/text.h"
#include "tests/sim/sim_io.h"

namespace bivalve::sim {
namespace {

using core::IoResult;
using core::Loop;
using core::MonoTime;
using core::Stream;
using core::Task;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::IsEmpty;

constexpr uint64_t kSeeds = 1000;
constexpr core::Duration kPatience = seconds(3);

SimOptions Weather(uint64_t seed) {
  SimOptions options = {.short_recv = 0.3, .no_buffers = 0.1, .delay = 0.2, .send_buffer_bytes = 3000};
  if (seed % 4 == 1) options.reset = 0.02;
  if (seed % 4 == 2) options.hang_up = 0.02;
  if (seed % 4 == 3) options.silence = 0.02;
  return options;
}

// Sends a long text independently, reads at times, and keeps what it gets.
class Talker final : public SimPeer {
 public:
  explicit Talker(std::string text) : text_(std::move(text)) {}

  void OnConnect(SimSocket& socket) override {
    socket_ = &socket;
    Talk();
  }
  void OnBytes(SimSocket& socket, std::string_view bytes) override {
    received += bytes;
    if (socket.io().random().Chance(0.1)) {
      socket.StopReading();
      socket.io().After(milliseconds(socket.io().random().Below(200)), [&socket] { socket.ResumeReading(); });
    }
  }
  std::string received;

 private:
  void Talk() {
    const size_t bytes = std::min(text_.size() - sent_, 1 + socket_->io().random().Below(2000));
    socket_->Send(std::string_view(text_).substr(sent_, bytes));
    sent_ += bytes;
    if (sent_ == text_.size()) {
      socket_->EndSending();
    } else {
      socket_->io().After(milliseconds(socket_->io().random().Below(50)), [this] { Talk(); });
    }
  }

  std::string text_;
  size_t sent_ = 0;
  SimSocket* socket_ = nullptr;
};

struct Outcome {
  std::string received;
  int last_receive = 1;
  bool sent_whole = true;
  core::Duration longest_wait{};
};

// Receives to the end, sometimes through the armed reader and sometimes in place, and sends now and then.
Task<void> Converse(Loop& loop, Random& random, int fd, std::vector<std::string>& pieces, Outcome& outcome) {
  core::Condition wake(loop);
  Stream stream(loop, wake);
  stream.Adopt(fd);
  std::string room(5000, '\0');
  size_t next_piece = 0;
  while (outcome.last_receive > 0) {
    if (random.Chance(0.5)) stream.StartReading();
    if (next_piece < pieces.size() && outcome.sent_whole) {
      std::string& piece = pieces[next_piece++];
      const MonoTime start = loop.Now();
      if (random.Chance(0.3)) {
        stream.Write(piece);
        stream.Flush();
      } else if (random.Chance(0.5)) {
        stream.Write(piece);
        outcome.sent_whole = co_await stream.Drain(loop.Now() + kPatience);
      } else {
        const iovec parts[] = {{piece.data(), piece.size() / 2},
                               {piece.data() + piece.size() / 2, piece.size() - piece.size() / 2}};
        const IoResult result = co_await stream.SendPieces(parts, kPatience);
        outcome.sent_whole = result.ok();
      }
      outcome.longest_wait = std::max(outcome.longest_wait, loop.Now() - start);
    }
    const MonoTime start = loop.Now();
    const size_t bytes = 1 + random.Below(room.size());
    const IoResult result = co_await stream.Receive(std::span(room).first(bytes), loop.Now() + kPatience);
    outcome.longest_wait = std::max(outcome.longest_wait, loop.Now() - start);
    outcome.last_receive = result.raw();
    if (result.ok()) outcome.received.append(room, 0, result.value());
    if (result.ok() && !result.eof() && random.Chance(0.1) &&
        outcome.received.size() > 10) {  // read too far, like a body beyond its end
      stream.Unread(std::string_view(outcome.received).substr(outcome.received.size() - 10));
      outcome.received.resize(outcome.received.size() - 10);
    }
  }
  const bool drained = co_await stream.Drain(loop.Now() + kPatience);
  outcome.sent_whole = outcome.sent_whole && drained && next_piece == pieces.size();
  co_await stream.Close();
}

TEST(StreamSim, ConversesWhateverHappens) {
  std::string text;
  for (int i = 0; i < 3000; ++i) core::Append(text, i, '\n');
  std::vector<std::string> pieces;
  std::string all_pieces;
  for (size_t i = 0; i < 20; ++i) {
    pieces.push_back(std::string(i * i * 20, static_cast<char>('a' + i)));
    all_pieces += pieces.back();
  }
  size_t whole = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    SimIo io(seed, Weather(seed));
    Loop loop(io);
    Talker peer(text);
    Outcome outcome;
    core::Scope scope(loop);
    scope.Spawn(Converse(loop, io.random(), io.Accept(peer), pieces, outcome));
    ASSERT_TRUE(io.Run(loop, [&] { return scope.running() == 0; }));
    ASSERT_TRUE(text.starts_with(outcome.received));
    ASSERT_TRUE(all_pieces.starts_with(peer.received));
    // One call has at most two steps, each with its own time.
    ASSERT_LE(outcome.longest_wait, 2 * kPatience + milliseconds(200));
    ASSERT_THAT(io.Problems(), IsEmpty());
    if (seed % 4 == 0) {
      ASSERT_EQ(outcome.last_receive, 0);
      ASSERT_EQ(outcome.received.size(), text.size());
    }
    whole += outcome.received == text && outcome.sent_whole;
  }
  EXPECT_GT(whole, kSeeds / 5);
}

class Keeper final : public SimPeer {
 public:
  void OnConnect(SimSocket& s) override { socket = &s; }
  void OnBytes(SimSocket& s, std::string_view bytes) override {
    received += bytes;
    if (received.size() >= reads_max) s.StopReading();
  }
  SimSocket* socket = nullptr;
  std::string received;
  size_t reads_max = SIZE_MAX;
};

Task<void> DrainTwoWrites(Loop& loop, int fd, core::Duration& waited) {
  core::Condition wake(loop);
  Stream stream(loop, wake);
  stream.Adopt(fd);
  stream.Write(std::string(4000, 'a'));
  stream.Flush();
  stream.Write(std::string(4000, 'b'));
  stream.Flush();
  const MonoTime start = loop.Now();
  (void)co_await stream.Drain(start + milliseconds(100));
  waited = loop.Now() - start;
  co_await stream.Close();
}

// The deadline passes while the first of two sends is in flight, and at that moment the peer takes just
// enough for the send to complete nevertheless: the second send must not wait for ever.
TEST(StreamSim, DrainEndsAtItsDeadlineThoughTheCancelCameTooLate) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    SimIo io(seed, {.short_recv = 0.5, .send_buffer_bytes = 3000});
    Loop loop(io);
    Keeper peer;
    const int fd = io.Accept(peer);
    core::Scope scope(loop);
    core::Duration waited{};
    scope.Spawn(DrainTwoWrites(loop, fd, waited));
    peer.reads_max = 1000;
    while (peer.socket == nullptr) io.Wait(io.Now());
    peer.socket->StopReading();
    io.After(milliseconds(98 + seed % 5), [&] { peer.socket->ResumeReading(); });
    ASSERT_TRUE(io.Run(loop, [&] { return scope.running() == 0; }));
    ASSERT_LE(waited, milliseconds(110));
    ASSERT_THAT(io.Problems(), IsEmpty());
  }
}

Task<void> ReceiveOnce(Loop& loop, int fd, bool armed, int& result, core::Duration& waited) {
  core::Condition wake(loop);
  Stream stream(loop, wake);
  stream.Adopt(fd);
  if (armed) stream.StartReading();
  char room[10];
  const MonoTime start = loop.Now();
  const IoResult received = co_await stream.Receive(room, start + milliseconds(100));
  waited = loop.Now() - start;
  result = received.raw();
  co_await stream.Close();
}

TEST(StreamSim, ReceiveEndsAtItsDeadlineThoughBuffersRanOut) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    SimIo io(seed, {.no_buffers = 0.7});
    Loop loop(io);
    Keeper peer;
    const int fd = io.Accept(peer);
    core::Scope scope(loop);
    int result = 1;
    core::Duration waited{};
    scope.Spawn(ReceiveOnce(loop, fd, seed % 2 == 0, result, waited));
    if (seed % 3 != 0) io.After(milliseconds(96 + seed % 16), [&] { peer.socket->Send("x"); });
    ASSERT_TRUE(io.Run(loop, [&] { return scope.running() == 0; }));
    ASSERT_TRUE(result == 1 || result == -ETIMEDOUT) << result;
    ASSERT_LE(waited, milliseconds(110));
    ASSERT_THAT(io.Problems(), IsEmpty());
  }
}

// Each byte comes in time, but all of them together are too slow.
TEST(StreamSim, SendingHasAMinimumRate) {
  SimIo io(1, {.delay = 1.0, .delay_max = std::chrono::seconds(2), .send_buffer_bytes = 1});
  Loop loop(io);
  Keeper peer;
  core::Condition wake(loop);
  Stream stream(loop, wake);
  stream.Adopt(io.Accept(peer));
  core::Patience patience(std::chrono::seconds(10));
  int sent = 0;
  IoResult result;
  const auto dribble = [&]() -> Task<void> {
    patience.Start(loop.Now());
    const iovec byte = {const_cast<char*>("x"), 1};
    const std::span<const iovec> pieces(&byte, 1);
    for (; sent < 100; ++sent) {
      result = co_await stream.SendPieces(pieces, patience);
      if (!result.ok()) break;
    }
    co_await stream.Close();
  };
  core::Scope scope(loop);
  scope.Spawn(dribble());
  ASSERT_TRUE(io.Run(loop, [&] { return scope.running() == 0; }));
  EXPECT_EQ(result.raw(), -ETIMEDOUT);
  EXPECT_GE(sent, 5);
  EXPECT_LE(sent, 40);
}

Task<void> ConnectOnce(Loop& loop, const sockaddr& address, int& result) {
  core::Condition wake(loop);
  Stream stream(loop, wake);
  const IoResult connected =
      co_await stream.Connect(&address, sizeof(address), loop.Now() + milliseconds(100));
  result = connected.raw();
  if (connected.ok()) co_await stream.Close();
}

TEST(StreamSim, ConnectLeavesNoSocketBehind) {
  sockaddr address = {};
  address.sa_family = AF_INET;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    SimIo io(seed, {.refuse = 0.3, .delay = 0.9, .delay_max = milliseconds(200)});
    Loop loop(io);
    Keeper peer;
    if (seed % 5 == 0) {
      io.Ignore(&address, sizeof(address));
    } else {
      io.Listen(&address, sizeof(address), [&] { return &peer; });
    }
    core::Scope scope(loop);
    int result = 1;
    scope.Spawn(ConnectOnce(loop, address, result));
    ASSERT_TRUE(io.Run(loop, [&] { return scope.running() == 0; }));
    ASSERT_THAT(io.Problems(), IsEmpty());
    if (seed % 5 == 0) {
      ASSERT_EQ(result, -ETIMEDOUT);
    }
  }
}

// Shutdown can come at any moment of a connect, even after it has succeeded.
TEST(StreamSim, AConnectThatIsShutDownLeavesNoSocketBehind) {
  sockaddr address = {};
  address.sa_family = AF_INET;
  int interrupted = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    SimIo io(seed, {.refuse = 0.1, .delay = 0.9, .delay_max = milliseconds(200)});
    Loop loop(io);
    Keeper peer;
    io.Listen(&address, sizeof(address), [&] { return &peer; });
    core::Condition wake(loop);
    Stream stream(loop, wake);
    IoResult result(1);
    const auto connect = [&]() -> Task<void> {
      result = co_await stream.Connect(&address, sizeof(address), core::kNever);
      EXPECT_EQ(stream.open(), result.ok());
      if (result.ok()) co_await stream.Close();
    };
    core::Scope scope(loop);
    scope.Spawn(connect());
    io.After(milliseconds(seed % 200), [&] { stream.Shutdown(); });
    ASSERT_TRUE(io.Run(loop, [&] { return scope.running() == 0; }));
    ASSERT_THAT(io.Problems(), IsEmpty());
    interrupted += result.error() == ECANCELED ? 1 : 0;
  }
  EXPECT_GT(interrupted, 50);
}

}  // namespace
}  // namespace bivalve::sim
