// The promises of sim_io.h about connections, cancels and ends, about violations, and about everything
// together.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <string>

#include "core/fd.h"
#include "core/scope.h"
#include "core/stream.h"
#include "core/text.h"
#include "tests/core/test_op.h"
#include "tests/sim/sim_io.h"
#include "tests/sim/sim_io_fixture.h"

namespace bivalve::sim {
namespace {

using core::IoRequest;
using core::kNever;
using core::TestOp;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kSeeds = 500;

// --- Connecting and accepting

int32_t ResultOfConnect(SimIo& io, int fd, const void* address, size_t bytes) {
  TestOp op(io);
  op.Submit(IoRequest::Connect(fd, static_cast<const sockaddr*>(address), static_cast<socklen_t>(bytes)));
  while (op.in_flight() && !io.stalled()) io.Wait(kNever);
  if (op.in_flight()) {
    io.Cancel(op);
    while (op.in_flight()) io.Wait(kNever);
  }
  return op.results.back();
}

TEST(SimIo, ConnectsToWhoListens) {
  SimIo io(1);
  Recorder peer;
  peer.greeting = "220 ready";
  sockaddr_in address = Loopback(25);
  io.Listen(reinterpret_cast<sockaddr*>(&address), sizeof(address), [&] { return &peer; });
  std::memset(address.sin_zero, 7, sizeof(address.sin_zero));  // the padding does not change the address
  const int fd = io.OpenSocket(AF_INET);
  EXPECT_EQ(ResultOfConnect(io, fd, &address, sizeof(address)), 0);
  Settle(io);
  ASSERT_NE(peer.socket, nullptr);
  EXPECT_EQ(peer.socket->fd(), fd);
  TestOp op(io);
  op.Submit(IoRequest::ReceiveBuffer(fd));
  Settle(io);
  EXPECT_EQ(op.bytes, "220 ready");
}

TEST(SimIo, TakesALocalPathWithAndWithoutItsNul) {
  SimIo io(1);
  Recorder peer;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, "/run/clamd");
  io.Listen(reinterpret_cast<sockaddr*>(&address), sizeof(address), [&] { return &peer; });
  const int fd = io.OpenSocket(AF_UNIX);
  EXPECT_EQ(
      ResultOfConnect(io, fd, &address, offsetof(sockaddr_un, sun_path) + std::strlen(address.sun_path)), 0);
}

TEST(SimIo, RefusesWhereNobodyListens) {
  SimIo io(1);
  const sockaddr_in address = Loopback(25);
  EXPECT_LT(ResultOfConnect(io, io.OpenSocket(AF_INET), &address, sizeof(address)), 0);
  io.Listen(reinterpret_cast<const sockaddr*>(&address), sizeof(address), [] { return nullptr; });
  EXPECT_LT(ResultOfConnect(io, io.OpenSocket(AF_INET), &address, sizeof(address)), 0);
}

TEST(SimIo, NeverAnswersWhereItWasToldTo) {
  SimIo io(1);
  const sockaddr_in address = Loopback(25);
  io.Ignore(reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  EXPECT_EQ(ResultOfConnect(io, io.OpenSocket(AF_INET), &address, sizeof(address)), -ECANCELED);
}

TEST(SimIo, AcceptsManyWithOneOperationUntilItEnds) {
  bool ended_early = false;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SimIo io(seed);
    const int listener = io.OpenListener();
    Recorder peers[5];
    for (Recorder& peer : peers) io.Call(listener, peer);
    TestOp op(io);
    std::set<int> accepted;
    while (accepted.size() < 5) {
      if (!op.in_flight()) op.Submit(IoRequest::Accept(listener));
      Settle(io);
      ended_early |= !op.in_flight();
      accepted.insert(op.results.begin(), op.results.end());
    }
    for (const Recorder& peer : peers) EXPECT_NE(peer.socket, nullptr);
    if (op.in_flight()) {
      io.Cancel(op);
      Settle(io);
      EXPECT_EQ(op.results.back(), -ECANCELED);
    }
    for (const int fd : accepted) io.Close(fd);
    io.Close(listener);
    EXPECT_THAT(io.Problems(), IsEmpty());
  }
  EXPECT_TRUE(ended_early);
}

// --- Cancel

TEST(SimIo, LetsACancelAndARealResultRace) {
  int cancelled = 0;
  int received = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SimIo io(seed);
    Recorder peer;
    peer.greeting = "x";
    const int fd = io.Accept(peer);
    Settle(io);
    TestOp op(io);
    op.Submit(IoRequest::ReceiveBuffer(fd));
    io.Cancel(op);
    Settle(io);
    ASSERT_EQ(op.results.size(), 1u);
    if (op.results[0] == 1) {
      ++received;
      continue;
    }
    ++cancelled;
    EXPECT_EQ(op.results[0], -ECANCELED);
    TestOp again(io);
    again.Submit(IoRequest::ReceiveBuffer(fd));
    Settle(io);
    EXPECT_EQ(again.bytes, "x") << "a cancelled receive must not eat bytes";
  }
  EXPECT_GT(cancelled, 100);
  EXPECT_GT(received, 100);
}

TEST(SimIo, TakesACancelOfWhatHasCompletedLightly) {
  SimIo io(1);
  Recorder peer;
  const int fd = io.Accept(peer);
  std::string bytes = "x";
  TestOp op(io);
  op.Submit(IoRequest::Send(fd, bytes));
  Settle(io);
  io.Cancel(op);
  Settle(io);
  EXPECT_EQ(op.results.size(), 1u);
}

// --- Ends

TEST(SimIo, GivesWhatHadArrivedBeforeAResetThenTheErrorThenTheEnd) {
  bool lost = false;
  bool kept = false;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SimIo io(seed);
    Recorder peer;
    const int fd = io.Accept(peer);
    Settle(io);
    peer.socket->Send("arrived ");
    Settle(io);
    peer.socket->Send("under way");
    peer.socket->Reset();
    const auto [bytes, last] = ReceiveAll(io, fd);
    EXPECT_EQ(last, -ECONNRESET);
    lost |= bytes == "arrived ";
    kept |= bytes == "arrived under way";
    EXPECT_EQ(ReceiveAll(io, fd).second, 0);
    EXPECT_EQ(peer.closes, 0) << "the peer knows what it did itself";
  }
  EXPECT_TRUE(lost);
  EXPECT_TRUE(kept);
}

TEST(SimIo, FailsASendOnAResetConnection) {
  std::set<int32_t> errors;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SimIo io(seed);
    Recorder peer;
    const int fd = io.Accept(peer);
    Settle(io);
    peer.socket->Reset();
    std::string bytes = "x";
    TestOp op(io);
    op.Submit(IoRequest::Send(fd, bytes));
    Settle(io);
    errors.insert(op.results.at(0));
    TestOp again(io);
    again.Submit(IoRequest::Send(fd, bytes));
    Settle(io);
    EXPECT_THAT(again.results, ElementsAre(-EPIPE));
  }
  EXPECT_THAT(errors, ElementsAre(-ECONNRESET, -EPIPE));
}

TEST(SimIo, ResetsWhenBytesReachAPeerThatHasClosed) {
  SimIo io(1);
  Recorder peer;
  const int fd = io.Accept(peer);
  Settle(io);
  peer.socket->Close();
  std::string bytes = "x";
  TestOp first(io);
  first.Submit(IoRequest::Send(fd, bytes));
  Settle(io);
  EXPECT_THAT(first.results, ElementsAre(1));
  TestOp second(io);
  second.Submit(IoRequest::Send(fd, bytes));
  Settle(io);
  EXPECT_LT(second.results.at(0), 0);
  EXPECT_EQ(peer.bytes, "");
}

TEST(SimIo, KeepsReadingForAPeerThatHasOnlyEndedSending) {
  SimIo io(1);
  Recorder peer;
  const int fd = io.Accept(peer);
  Settle(io);
  peer.socket->Send("QUIT");
  peer.socket->EndSending();
  const auto [received, last] = ReceiveAll(io, fd);
  EXPECT_EQ(received, "QUIT");
  EXPECT_EQ(last, 0);
  std::string bytes = "221";
  TestOp op(io);
  op.Submit(IoRequest::Send(fd, bytes));
  Settle(io);
  EXPECT_EQ(peer.bytes, "221");
}

TEST(SimIo, ShutdownEndsWhatIsInFlight) {
  SimIo io(1, {.send_buffer_bytes = 10});
  Recorder peer;
  const int fd = io.Accept(peer);
  Settle(io);
  peer.socket->StopReading();
  std::string bytes(100, 'x');
  TestOp receive(io);
  TestOp send(io);
  receive.Submit(IoRequest::ReceiveBuffer(fd));
  send.Submit(IoRequest::Send(fd, bytes));
  Settle(io);
  io.Shutdown(fd);
  EXPECT_TRUE(receive.in_flight());
  Settle(io);
  EXPECT_THAT(receive.results, ElementsAre(0));
  EXPECT_THAT(send.results, ElementsAre(10));
  TestOp late(io);
  late.Submit(IoRequest::Send(fd, bytes));
  Settle(io);
  EXPECT_THAT(late.results, ElementsAre(-EPIPE));
}

TEST(SimIo, TellsThePeerOfOurCloseBehindTheLastByte) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SimIo io(seed, {.short_recv = 0.8, .delay = 0.5});
    Recorder peer;
    const int fd = io.Accept(peer);
    std::string bytes(100, 'x');
    TestOp op(io);
    op.Submit(IoRequest::Send(fd, bytes));
    while (op.in_flight()) io.Wait(kNever);
    io.Close(fd);
    while (!io.stalled()) io.Wait(kNever);
    EXPECT_EQ(peer.closes, 1);
    EXPECT_EQ(peer.bytes_at_close, 100u);
    EXPECT_THAT(io.Problems(), IsEmpty());
  }
}

TEST(SimIo, AfterSilenceNothingIsHeardAgain) {
  SimIo io(1, {.silence = 1});
  Recorder peer;
  const int fd = io.Accept(peer);
  Settle(io);
  peer.socket->Send("x");
  TestOp op(io);
  op.Submit(IoRequest::ReceiveBuffer(fd));
  Settle(io);
  EXPECT_TRUE(op.in_flight());
  io.Cancel(op);
  Settle(io);
  EXPECT_THAT(op.results, ElementsAre(-ECANCELED));
}

// --- Buffers

TEST(SimIo, HasNoBufferWhenAllAreLeased) {
  SimIo io(1, {.buffers = 1, .buffer_bytes = 4});
  Recorder peer;
  peer.greeting = "12345678";
  const int fd = io.Accept(peer);
  Settle(io);
  TestOp first(io);
  first.keep_buffer = true;
  first.Submit(IoRequest::ReceiveBuffer(fd));
  Settle(io);
  EXPECT_THAT(first.results, ElementsAre(4));
  EXPECT_EQ(io.buffers_leased(), 1u);
  TestOp second(io);
  second.Submit(IoRequest::ReceiveBuffer(fd));
  Settle(io);
  EXPECT_THAT(second.results, ElementsAre(-ENOBUFS));
  io.ReturnBuffer(first.buffer);
  TestOp third(io);
  third.Submit(IoRequest::ReceiveBuffer(fd));
  Settle(io);
  EXPECT_EQ(third.bytes, "5678");
  EXPECT_EQ(io.buffers_leased(), 0u);
}

TEST(SimIo, OverwritesABufferThatWasReturned) {
  SimIo io(1);
  Recorder peer;
  peer.greeting = "secret";
  const int fd = io.Accept(peer);
  Settle(io);
  TestOp op(io);
  op.Submit(IoRequest::ReceiveBuffer(fd));
  Settle(io);
  EXPECT_EQ(std::string_view(io.Buffer(op.buffer).data(), 6).find_first_of("secret"), std::string_view::npos);
}

// --- Real descriptors

TEST(SimIo, PassesFileOperationsToTheKernel) {
  SimIo io(1);
  core::UniqueFd file(memfd_create("test", MFD_CLOEXEC));
  TestOp op(io);
  op.Submit(IoRequest::Allocate(file.get(), 0, 4096));
  Settle(io);
  char text[] = "text";
  op.Submit(IoRequest::Write(file.get(), {text, 4}, 4096));
  Settle(io);
  char room[8] = {};
  op.Submit(IoRequest::Read(file.get(), room, 4094));
  Settle(io);
  char path[] = "/no such path";
  op.Submit(IoRequest::OpenAt(AT_FDCWD, path, O_RDONLY));
  Settle(io);
  EXPECT_THAT(op.results, ElementsAre(0, 4, 6, -ENOENT));
  EXPECT_STREQ(room + 2, "text");
}

TEST(SimIo, WaitsForARealDescriptorInsteadOfBlocking) {
  SimIo io(1);
  core::UniqueFd event(eventfd(0, EFD_CLOEXEC));
  uint64_t count = 0;
  TestOp op(io);
  op.Submit(IoRequest::Read(event.get(), core::BytesIn(count)));
  Settle(io);
  EXPECT_TRUE(op.in_flight());
  ASSERT_EQ(eventfd_write(event.get(), 3), 0);
  Settle(io);
  EXPECT_THAT(op.results, ElementsAre(8));
  EXPECT_EQ(count, 3u);
}

// --- What must not happen

TEST(SimIo, NotesASecondClose) {
  SimIo io(1);
  Recorder peer;
  const int fd = io.Accept(peer);
  io.Close(fd);
  EXPECT_THAT(io.Problems(), IsEmpty());
  io.Close(fd);
  EXPECT_THAT(io.Problems(), ElementsAre(HasSubstr("was closed 2 times")));
  EXPECT_EQ(io.opens(fd), 1);
  EXPECT_EQ(io.closes(fd), 2);
}

TEST(SimIo, NotesACloseWithAnOperationInFlight) {
  SimIo io(1);
  Recorder peer;
  const int fd = io.Accept(peer);
  TestOp op(io);
  op.Submit(IoRequest::ReceiveBuffer(fd));
  io.Close(fd);
  Settle(io);
  EXPECT_THAT(io.Problems(), ElementsAre(HasSubstr("closed with an operation in flight")));
}

TEST(SimIo, NotesTheUseOfAClosedDescriptor) {
  SimIo io(1);
  Recorder peer;
  const int fd = io.Accept(peer);
  io.Close(fd);
  TestOp op(io);
  op.Submit(IoRequest::ReceiveBuffer(fd));
  Settle(io);
  EXPECT_THAT(op.results, ElementsAre(-EBADF));
  EXPECT_THAT(io.Problems(), ElementsAre(HasSubstr("which is not open")));
}

TEST(SimIo, NotesABufferReturnedTwice) {
  SimIo io(1);
  Recorder peer;
  peer.greeting = "x";
  const int fd = io.Accept(peer);
  Settle(io);
  TestOp op(io);
  op.Submit(IoRequest::ReceiveBuffer(fd));
  Settle(io);
  io.ReturnBuffer(op.buffer);
  EXPECT_THAT(io.failures(), ElementsAre(HasSubstr("was returned and not leased")));
}

TEST(SimIo, NotesMemoryOfASendThatChangedInFlight) {
  SimIo io(1);
  Recorder peer;
  const int fd = io.Accept(peer);
  std::string bytes = "before";
  TestOp op(io);
  op.Submit(IoRequest::Send(fd, bytes));
  bytes[0] = 'B';
  Settle(io);
  EXPECT_THAT(io.failures(), ElementsAre(HasSubstr("changed in flight")));
}

TEST(SimIo, ListsWhatIsLeftAtTheEnd) {
  SimIo io(1);
  Recorder peer;
  peer.greeting = "x";
  const int fd = io.Accept(peer);
  Settle(io);
  TestOp leaser(io);
  leaser.keep_buffer = true;
  leaser.Submit(IoRequest::ReceiveBuffer(fd));
  Settle(io);
  TestOp op(io);
  op.Submit(IoRequest::ReceiveBuffer(fd));
  EXPECT_THAT(io.Problems(),
              ElementsAre(HasSubstr("still in flight"), HasSubstr("still leased"), HasSubstr("still open")));
  EXPECT_THAT(io.failures(), IsEmpty());
  io.Cancel(op);
  Settle(io);
}

// --- All of it together

// A peer that echoes what it gets, and sometimes ends the connection itself.
class Echo final : public SimPeer {
 public:
  void OnBytes(SimSocket& socket, std::string_view bytes) override {
    socket.Send(bytes);
    if (socket.io().random().Chance(0.01)) socket.Close();
    if (socket.io().random().Chance(0.01)) socket.Reset();
  }
};

// Sends `bytes` and receives the echo, with a deadline on each step. Stores what came back.
core::Task<void> Converse(core::Loop& loop, const sockaddr_in& address, const std::string& bytes,
                          std::string& echo) {
  core::Condition wake(loop);
  core::Stream stream(loop, wake);
  const core::IoResult connected = co_await stream.Connect(
      reinterpret_cast<const sockaddr*>(&address), sizeof(address), loop.Now() + std::chrono::seconds(5));
  if (!connected.ok()) co_return;
  stream.StartReading();
  stream.Write(bytes);
  const bool drained = co_await stream.Drain(loop.Now() + std::chrono::seconds(5));
  while (drained && echo.size() < bytes.size()) {
    if (stream.input().empty()) {
      if (stream.ended()) break;
      stream.StartReading();
      const bool woken = co_await wake.Wait(loop.Now() + std::chrono::seconds(5));
      if (!woken) break;
    }
    echo += stream.input();
    stream.Consume(stream.input().size());
  }
  co_await stream.Close();
}

TEST(SimIo, AConversationEndsCleanlyWhateverHappens) {
  std::string bytes;
  for (int i = 0; i < 3000; ++i) core::Append(bytes, i, '\n');
  const sockaddr_in address = Loopback(7);
  size_t whole = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    SimIo io(seed, {.short_recv = 0.3,
                    .reset = 0.002,
                    .hang_up = 0.002,
                    .silence = 0.002,
                    .refuse = 0.02,
                    .no_buffers = 0.05,
                    .delay = 0.2,
                    .send_buffer_bytes = 5000});
    core::Loop loop(io);
    Echo peer;
    io.Listen(reinterpret_cast<const sockaddr*>(&address), sizeof(address), [&] { return &peer; });
    std::string echo;
    core::Scope scope(loop);
    scope.Spawn(Converse(loop, address, bytes, echo));
    ASSERT_TRUE(io.Run(loop, [&] { return scope.running() == 0; }));
    EXPECT_EQ(echo, bytes.substr(0, echo.size()));
    EXPECT_THAT(io.Problems(), IsEmpty());
    whole += echo == bytes;
  }
  EXPECT_GT(whole, kSeeds / 10);
  EXPECT_LT(whole, kSeeds);
}

}  // namespace
}  // namespace bivalve::sim
