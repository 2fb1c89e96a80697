// What sim_io.h promises, point by point: a simulation that lies would make every test on it worthless.
#include "tests/sim/sim_io.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "core/await_op.h"
#include "core/fd.h"
#include "core/scope.h"
#include "core/stream.h"
#include "core/text.h"
#include "tests/core/test_op.h"

namespace bivalve::sim {
namespace {

using core::Cat;
using core::IoCode;
using core::kNever;
using core::TestOp;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kSeeds = 500;

// A peer that writes down what it sees.
class Recorder : public SimPeer {
 public:
  void OnConnect(SimSocket& s) override {
    socket = &s;
    if (!greeting.empty()) s.Send(greeting);
  }
  void OnBytes(SimSocket&, std::string_view part) override {
    bytes += part;
    ++parts;
  }
  void OnDescriptor(SimSocket&, int fd) override {
    descriptor.Reset(fd);
    descriptor_position = bytes.size();
  }
  void OnClose(SimSocket&) override {
    ++closes;
    bytes_at_close = bytes.size();
  }

  std::string greeting;
  SimSocket* socket = nullptr;
  std::string bytes;
  size_t parts = 0;
  core::UniqueFd descriptor;
  size_t descriptor_position = 0;
  int closes = 0;
  size_t bytes_at_close = 0;
};

// Waits, without letting time pass, until nothing more happens.
void Settle(SimIo& io) {
  for (int i = 0; i < 200; ++i) io.Wait(io.Now());
}

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

core::IoRequest ReceiveBuffer(int fd) { return {.code = IoCode::kRecvBuffer, .fd = fd}; }

core::IoRequest Send(int fd, std::string& bytes) {
  return {.code = IoCode::kSend, .fd = fd, .address = bytes.data(), .bytes = bytes.size()};
}

// Receives until the end; what came, and the last result.
std::pair<std::string, int32_t> ReceiveAll(SimIo& io, int fd) {
  std::string bytes;
  for (;;) {
    TestOp op(io);
    op.Submit(ReceiveBuffer(fd));
    while (op.in_flight() && !io.stalled()) io.Wait(kNever);
    bytes += op.bytes;
    if (op.in_flight() || op.results.back() <= 0)
      return {bytes, op.in_flight() ? -EAGAIN : op.results.back()};
  }
}

// --- Order and time

TEST(SimIo, CompletesNothingInsideSubmit) {
  SimIo io(1);
  Recorder peer;
  const int fd = io.Accept(peer);
  Settle(io);
  std::string bytes = "x";
  TestOp op(io);
  op.Submit(Send(fd, bytes));
  EXPECT_TRUE(op.in_flight());
  EXPECT_THAT(op.results, IsEmpty());
  Settle(io);
  EXPECT_THAT(op.results, ElementsAre(1));
}

// Everything that chance decides is in the transcript: order, cuts, resets, delays.
std::string Transcript(uint64_t seed) {
  SimIo io(seed, {.short_recv = 0.5, .reset = 0.05, .delay = 0.3});
  Recorder a;
  Recorder b;
  a.greeting = b.greeting = std::string(50, 'g');
  const int fds[] = {io.Accept(a), io.Accept(b)};
  std::string transcript;
  TestOp ops[] = {TestOp(io), TestOp(io)};
  for (int turn = 0; turn < 100; ++turn) {
    for (int i = 0; i < 2; ++i) {
      if (!ops[i].in_flight()) ops[i].Submit(ReceiveBuffer(fds[i]));
    }
    io.Wait(io.Now() + milliseconds(10));
    for (const TestOp& op : ops) {
      core::Append(transcript, op.results.size(), ' ', op.bytes.size(), ' ');
    }
    core::Append(transcript, io.Now().time_since_epoch().count(), '\n');
  }
  io.Shutdown(fds[0]);
  io.Shutdown(fds[1]);
  while (ops[0].in_flight() || ops[1].in_flight()) io.Wait(kNever);
  return transcript;
}

TEST(SimIo, RepeatsItselfForOneSeed) {
  std::set<std::string> transcripts;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::string first = Transcript(seed);
    EXPECT_EQ(first, Transcript(seed)) << seed;
    transcripts.insert(first);
  }
  EXPECT_GT(transcripts.size(), 15u);
}

TEST(SimIo, PicksWhichOperationCompletesFirst) {
  std::set<int> first;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SimIo io(seed);
    Recorder peer;
    const int fds[] = {io.Accept(peer), io.Accept(peer), io.Accept(peer)};
    std::string bytes = "x";
    TestOp ops[] = {TestOp(io), TestOp(io), TestOp(io)};
    for (int i = 0; i < 3; ++i) ops[i].Submit(Send(fds[i], bytes));
    while (io.completions() == 0) io.Wait(kNever);
    for (int i = 0; i < 3; ++i) {
      if (!ops[i].in_flight() && io.completions() == 1) first.insert(i);
    }
    Settle(io);
  }
  EXPECT_THAT(first, ElementsAre(0, 1, 2));
}

TEST(SimIo, TimeStandsStillWhileSomethingCanHappen) {
  SimIo io(1);
  Recorder peer;
  peer.greeting = "220";
  const core::MonoTime start = io.Now();
  const int fd = io.Accept(peer);
  TestOp op(io);
  op.Submit(ReceiveBuffer(fd));
  while (op.in_flight()) io.Wait(start + milliseconds(100));
  EXPECT_EQ(io.Now(), start);
}

TEST(SimIo, TimeJumpsToTheDeadlineWhenNothingCanHappen) {
  SimIo io(1);
  const core::MonoTime deadline = io.Now() + milliseconds(1234);
  io.Wait(deadline);
  EXPECT_EQ(io.Now(), deadline);
  EXPECT_FALSE(io.stalled());
}

TEST(SimIo, RunsFunctionsWhenTheyAreDue) {
  SimIo io(1);
  std::vector<int> order;
  io.After(milliseconds(20), [&] { order.push_back(2); });
  io.After(milliseconds(10), [&] {
    order.push_back(1);
    io.After(milliseconds(20), [&] { order.push_back(3); });
  });
  const core::MonoTime start = io.Now();
  while (order.size() < 3) io.Wait(kNever);
  EXPECT_THAT(order, ElementsAre(1, 2, 3));
  EXPECT_EQ(io.Now(), start + milliseconds(30));
}

TEST(SimIo, SaysWhenNothingCanEverHappenAgain) {
  SimIo io(1);
  Recorder peer;
  const int fd = io.Accept(peer);
  Settle(io);
  TestOp op(io);
  op.Submit(ReceiveBuffer(fd));
  io.Wait(kNever);
  EXPECT_TRUE(io.stalled());
  peer.socket->Send("x");
  while (op.in_flight()) io.Wait(kNever);
  EXPECT_FALSE(io.stalled());
}

TEST(SimIo, DelaysStayWithinTheirMaximum) {
  bool delayed = false;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SimIo io(seed, {.delay = 0.5, .delay_max = milliseconds(7)});
    const core::MonoTime start = io.Now();
    Recorder peer;
    const int fd = io.Accept(peer);
    std::string bytes = "x";
    TestOp op(io);
    op.Submit(Send(fd, bytes));
    while (op.in_flight()) io.Wait(kNever);
    EXPECT_LE(io.Now(), start + milliseconds(14));  // the connection's and the send's
    delayed |= io.Now() > start;
    Settle(io);
  }
  EXPECT_TRUE(delayed);
}

// --- Bytes

TEST(SimIo, CutsWhatArrivesButLosesNothing) {
  std::string sent;
  for (int i = 0; i < 300; ++i) core::Append(sent, i, ',');
  std::set<uint64_t> receives;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SimIo io(seed, {.short_recv = 0.5});
    Recorder peer;
    const int fd = io.Accept(peer);
    Settle(io);
    peer.socket->Send(sent);
    peer.socket->Close();
    const auto [received, last] = ReceiveAll(io, fd);
    EXPECT_EQ(received, sent) << seed;
    EXPECT_EQ(last, 0) << seed;
    receives.insert(io.buffers_used());
  }
  EXPECT_GT(receives.size(), 5u);
}

TEST(SimIo, CutsWhatThePeerGetsButLosesNothing) {
  std::string sent(1000, 'x');
  bool cut = false;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SimIo io(seed, {.short_recv = 0.5});
    Recorder peer;
    const int fd = io.Accept(peer);
    TestOp op(io);
    op.Submit(Send(fd, sent));
    Settle(io);
    EXPECT_THAT(op.results, ElementsAre(1000));
    EXPECT_EQ(peer.bytes, sent);
    cut |= peer.parts > 1;
  }
  EXPECT_TRUE(cut);
}

TEST(SimIo, FillsARoomOfTheCallers) {
  SimIo io(1);
  Recorder peer;
  peer.greeting = "0123456789";
  const int fd = io.Accept(peer);
  Settle(io);
  char room[4];
  TestOp op(io);
  op.Submit({.code = IoCode::kRecv, .fd = fd, .address = room, .bytes = sizeof(room)});
  Settle(io);
  EXPECT_THAT(op.results, ElementsAre(4));
  EXPECT_TRUE(op.nonempty_seen);
  EXPECT_EQ(std::string(room, 4), "0123");
}

TEST(SimIo, HoldsUpALongSendToAPeerThatDoesNotRead) {
  SimIo io(1, {.send_buffer_bytes = 1000});
  Recorder peer;
  const int fd = io.Accept(peer);
  Settle(io);
  peer.socket->StopReading();
  std::string bytes_short(100, 's');
  std::string bytes_long(2000, 'l');
  TestOp first(io);
  first.Submit(Send(fd, bytes_short));
  Settle(io);
  EXPECT_THAT(first.results, ElementsAre(100));
  TestOp second(io);
  second.Submit(Send(fd, bytes_long));
  Settle(io);
  EXPECT_TRUE(second.in_flight());
  EXPECT_EQ(peer.bytes, "");
  peer.socket->ResumeReading();
  Settle(io);
  EXPECT_THAT(second.results, ElementsAre(2000));
  EXPECT_EQ(peer.bytes, bytes_short + bytes_long);
}

TEST(SimIo, GivesTheCountOfASendThatWasCancelledHalfWay) {
  SimIo io(1, {.send_buffer_bytes = 1000});
  Recorder peer;
  const int fd = io.Accept(peer);
  Settle(io);
  peer.socket->StopReading();
  std::string bytes(2000, 'l');
  TestOp op(io);
  op.Submit(Send(fd, bytes));
  Settle(io);
  io.Cancel(op);
  EXPECT_TRUE(op.in_flight());
  Settle(io);
  EXPECT_THAT(op.results, ElementsAre(1000));
  TestOp next(io);
  next.Submit(Send(fd, bytes));
  Settle(io);
  io.Cancel(next);
  Settle(io);
  EXPECT_THAT(next.results, ElementsAre(-ECANCELED));
}

TEST(SimIo, GathersThePiecesOfAMessage) {
  SimIo io(1);
  Recorder peer;
  const int fd = io.Accept(peer);
  std::string a = "one ";
  std::string b = "two";
  iovec pieces[] = {{a.data(), a.size()}, {nullptr, 0}, {b.data(), b.size()}};
  msghdr message = {};
  message.msg_iov = pieces;
  message.msg_iovlen = 3;
  TestOp op(io);
  op.Submit({.code = IoCode::kSendMsg, .fd = fd, .address = &message});
  Settle(io);
  EXPECT_THAT(op.results, ElementsAre(7));
  EXPECT_EQ(peer.bytes, "one two");
}

TEST(SimIo, HandsADescriptorOverWithItsByte) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SimIo io(seed, {.short_recv = 0.5});
    Recorder peer;
    const int fd = io.Accept(peer);
    core::UniqueFd file(memfd_create("test", MFD_CLOEXEC));
    ASSERT_EQ(write(file.get(), "content", 7), 7);
    std::string front = "zFILDES";
    TestOp first(io);
    first.Submit(Send(fd, front));
    Settle(io);
    char byte = '!';
    iovec piece = {&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message = {};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int descriptor = file.get();
    std::memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    TestOp op(io);
    op.Submit({.code = IoCode::kSendMsg, .fd = fd, .address = &message});
    Settle(io);
    EXPECT_THAT(op.results, ElementsAre(1));
    EXPECT_EQ(peer.bytes, "zFILDES!");
    ASSERT_TRUE(peer.descriptor.valid());
    EXPECT_EQ(peer.descriptor_position, 7u);
    EXPECT_NE(peer.descriptor.get(), file.get());
    char content[7];
    EXPECT_EQ(pread(peer.descriptor.get(), content, 7, 0), 7);
    EXPECT_EQ(std::string(content, 7), "content");
  }
}

// --- Connecting and accepting

int32_t ResultOfConnect(SimIo& io, int fd, const void* address, size_t bytes) {
  TestOp op(io);
  op.Submit({.code = IoCode::kConnect, .fd = fd, .address = const_cast<void*>(address), .bytes = bytes});
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
  std::memset(address.sin_zero, 7, sizeof(address.sin_zero));  // padding names nobody else
  const int fd = io.OpenSocket(AF_INET);
  EXPECT_EQ(ResultOfConnect(io, fd, &address, sizeof(address)), 0);
  Settle(io);
  ASSERT_NE(peer.socket, nullptr);
  EXPECT_EQ(peer.socket->fd(), fd);
  TestOp op(io);
  op.Submit(ReceiveBuffer(fd));
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
      if (!op.in_flight()) op.Submit({.code = IoCode::kAccept, .fd = listener});
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
    op.Submit(ReceiveBuffer(fd));
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
    again.Submit(ReceiveBuffer(fd));
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
  op.Submit(Send(fd, bytes));
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
    op.Submit(Send(fd, bytes));
    Settle(io);
    errors.insert(op.results.at(0));
    TestOp again(io);
    again.Submit(Send(fd, bytes));
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
  first.Submit(Send(fd, bytes));
  Settle(io);
  EXPECT_THAT(first.results, ElementsAre(1));
  TestOp second(io);
  second.Submit(Send(fd, bytes));
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
  op.Submit(Send(fd, bytes));
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
  receive.Submit(ReceiveBuffer(fd));
  send.Submit(Send(fd, bytes));
  Settle(io);
  io.Shutdown(fd);
  EXPECT_TRUE(receive.in_flight());
  Settle(io);
  EXPECT_THAT(receive.results, ElementsAre(0));
  EXPECT_THAT(send.results, ElementsAre(10));
  TestOp late(io);
  late.Submit(Send(fd, bytes));
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
    op.Submit(Send(fd, bytes));
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
  op.Submit(ReceiveBuffer(fd));
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
  first.Submit(ReceiveBuffer(fd));
  Settle(io);
  EXPECT_THAT(first.results, ElementsAre(4));
  EXPECT_EQ(io.buffers_leased(), 1u);
  TestOp second(io);
  second.Submit(ReceiveBuffer(fd));
  Settle(io);
  EXPECT_THAT(second.results, ElementsAre(-ENOBUFS));
  io.ReturnBuffer(first.buffer);
  TestOp third(io);
  third.Submit(ReceiveBuffer(fd));
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
  op.Submit(ReceiveBuffer(fd));
  Settle(io);
  EXPECT_EQ(std::string_view(io.Buffer(op.buffer).data(), 6).find_first_of("secret"), std::string_view::npos);
}

// --- Real descriptors

TEST(SimIo, PassesFileOperationsToTheKernel) {
  SimIo io(1);
  core::UniqueFd file(memfd_create("test", MFD_CLOEXEC));
  TestOp op(io);
  op.Submit({.code = IoCode::kAllocate, .fd = file.get(), .bytes = 4096});
  Settle(io);
  char text[] = "text";
  op.Submit({.code = IoCode::kWrite, .fd = file.get(), .address = text, .bytes = 4, .offset = 4096});
  Settle(io);
  char room[8] = {};
  op.Submit({.code = IoCode::kRead, .fd = file.get(), .address = room, .bytes = 8, .offset = 4094});
  Settle(io);
  char path[] = "/no such path";
  op.Submit({.code = IoCode::kOpenAt, .fd = AT_FDCWD, .flags = O_RDONLY, .address = path});
  Settle(io);
  EXPECT_THAT(op.results, ElementsAre(0, 4, 6, -ENOENT));
  EXPECT_STREQ(room + 2, "text");
}

TEST(SimIo, WaitsForARealDescriptorInsteadOfBlocking) {
  SimIo io(1);
  core::UniqueFd event(eventfd(0, EFD_CLOEXEC));
  uint64_t count = 0;
  TestOp op(io);
  op.Submit({.code = IoCode::kRead, .fd = event.get(), .address = &count, .bytes = sizeof(count)});
  Settle(io);
  EXPECT_TRUE(op.in_flight());
  ASSERT_EQ(eventfd_write(event.get(), 3), 0);
  Settle(io);
  EXPECT_THAT(op.results, ElementsAre(8));
  EXPECT_EQ(count, 3u);
}

TEST(SimIo, SplicesFromAFileToASimulatedSocket) {
  SimIo io(1);
  Recorder peer;
  const int fd = io.Accept(peer);
  core::UniqueFd file(memfd_create("test", MFD_CLOEXEC));
  ASSERT_EQ(write(file.get(), "0123456789", 10), 10);
  TestOp op(io);
  op.Submit({.code = IoCode::kSplice, .fd = fd, .fd_from = file.get(), .bytes = 4, .offset = 3});
  Settle(io);
  EXPECT_THAT(op.results, ElementsAre(4));
  EXPECT_EQ(peer.bytes, "3456");
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
  op.Submit(ReceiveBuffer(fd));
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
  op.Submit(ReceiveBuffer(fd));
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
  op.Submit(ReceiveBuffer(fd));
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
  op.Submit(Send(fd, bytes));
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
  leaser.Submit(ReceiveBuffer(fd));
  Settle(io);
  TestOp op(io);
  op.Submit(ReceiveBuffer(fd));
  EXPECT_THAT(io.Problems(),
              ElementsAre(HasSubstr("still in flight"), HasSubstr("still leased"), HasSubstr("still open")));
  EXPECT_THAT(io.failures(), IsEmpty());
  io.Cancel(op);
  Settle(io);
}

// --- All of it together

// A peer that echoes what it gets, and now and then ends the connection itself.
class Echo final : public SimPeer {
 public:
  void OnBytes(SimSocket& socket, std::string_view bytes) override {
    socket.Send(bytes);
    if (socket.io().random().Chance(0.01)) socket.Close();
    if (socket.io().random().Chance(0.01)) socket.Reset();
  }
};

// Sends `bytes` and takes the echo, with a deadline on each step. What came back.
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
