// The promises of sim_io.h, point by point: if the simulation were wrong, every test on it would be
// worthless. Order, time and bytes; sim_io_ends_test.cc tests the ends of connections.
#include "tests/sim/sim_io.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "core/fd.h"
#include "core/text.h"
#include "tests/core/test_op.h"
#include "tests/sim/sim_io_fixture.h"

namespace bivalve::sim {
namespace {

using core::IoRequest;
using core::kNever;
using core::TestOp;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr uint64_t kSeeds = 500;

// --- Order and time

TEST(SimIo, CompletesNothingInsideSubmit) {
  SimIo io(1);
  Recorder peer;
  const int fd = io.Accept(peer);
  Settle(io);
  std::string bytes = "x";
  TestOp op(io);
  op.Submit(IoRequest::Send(fd, bytes));
  EXPECT_TRUE(op.in_flight());
  EXPECT_THAT(op.results, IsEmpty());
  Settle(io);
  EXPECT_THAT(op.results, ElementsAre(1));
}

// A transcript of everything that chance decides: order, cuts, resets, delays.
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
      if (!ops[i].in_flight()) ops[i].Submit(IoRequest::ReceiveBuffer(fds[i]));
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
    for (int i = 0; i < 3; ++i) ops[i].Submit(IoRequest::Send(fds[i], bytes));
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
  op.Submit(IoRequest::ReceiveBuffer(fd));
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
  op.Submit(IoRequest::ReceiveBuffer(fd));
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
    op.Submit(IoRequest::Send(fd, bytes));
    while (op.in_flight()) io.Wait(kNever);
    EXPECT_LE(io.Now(), start + milliseconds(14));  // for the connection and for the send
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
    op.Submit(IoRequest::Send(fd, sent));
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
  op.Submit(IoRequest::Receive(fd, room));
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
  first.Submit(IoRequest::Send(fd, bytes_short));
  Settle(io);
  EXPECT_THAT(first.results, ElementsAre(100));
  TestOp second(io);
  second.Submit(IoRequest::Send(fd, bytes_long));
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
  op.Submit(IoRequest::Send(fd, bytes));
  Settle(io);
  io.Cancel(op);
  EXPECT_TRUE(op.in_flight());
  Settle(io);
  EXPECT_THAT(op.results, ElementsAre(1000));
  TestOp next(io);
  next.Submit(IoRequest::Send(fd, bytes));
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
  op.Submit(IoRequest::SendMessage(fd, message));
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
    first.Submit(IoRequest::Send(fd, front));
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
    op.Submit(IoRequest::SendMessage(fd, message));
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

}  // namespace
}  // namespace bivalve::sim
