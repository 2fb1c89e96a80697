// Ring against the real kernel: the rules (core/README.md) about cancel, shutdown, close and full queues.
#include "core/ring.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <thread>
#include <vector>

#include "core/await_op.h"
#include "core/text.h"
#include "tests/core/run_task.h"
#include "tests/core/sockets.h"
#include "tests/core/test_op.h"

namespace bivalve::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::unique_ptr<Ring> OpenRing(const Ring::Options& options = {}) {
  auto ring = Ring::Open(options);
  EXPECT_TRUE(ring.ok()) << ring.status();
  return std::move(ring).value();
}

// Waits for everything in flight, at most a few seconds.
void Finish(Io& io, const std::vector<TestOp*>& ops) {
  const MonoTime give_up = io.Now() + seconds(10);
  for (TestOp* op : ops) {
    while (op->in_flight()) {
      ASSERT_LT(io.Now(), give_up);
      io.Wait(give_up);
    }
  }
}

TEST(Ring, SaysWhatItIs) {
  EXPECT_THAT(OpenRing()->description(), AllOf(HasSubstr("kernel"), HasSubstr("8192 completions")));
}

// --- Time

TEST(Ring, WaitsUntilTheDeadline) {
  auto ring = OpenRing();
  ring->Wait(MonoTime::min());
  const MonoTime start = ring->Now();
  ring->Wait(start + milliseconds(20));
  EXPECT_GE(ring->Now(), start + milliseconds(20));
  EXPECT_LT(ring->Now(), start + seconds(5));
}

TEST(Ring, DoesNotWaitForADeadlineInThePast) {
  auto ring = OpenRing();
  SocketPair sockets = LocalPair();
  TestOp op(*ring);
  op.Submit(IoRequest::ReceiveBuffer(sockets.ours.get()));
  for (int i = 0; i < 10; ++i) ring->Wait(ring->Now());
  EXPECT_TRUE(op.in_flight());
  SendAll(sockets.peer.get(), "x");
  Finish(*ring, {&op});
}

TEST(Ring, TimeStandsStillDuringATurn) {
  auto ring = OpenRing();
  const MonoTime now = ring->Now();
  std::this_thread::sleep_for(milliseconds(2));
  EXPECT_EQ(ring->Now(), now);
  ring->Wait(MonoTime::min());
  EXPECT_GT(ring->Now(), now);
}

// --- Receiving

TEST(Ring, ReceivesIntoItsOwnBuffers) {
  auto ring = OpenRing({.buffers = 4, .buffer_bytes = 16});
  SocketPair sockets = LocalPair();
  for (int round = 0; round < 50; ++round) {  // many times more than there are buffers
    const std::string line = Cat("line ", round);
    SendAll(sockets.peer.get(), line);
    TestOp op(*ring);
    op.Submit(IoRequest::ReceiveBuffer(sockets.ours.get()));
    EXPECT_THAT(op.results, IsEmpty());
    Finish(*ring, {&op});
    EXPECT_EQ(op.bytes, line);
    EXPECT_GE(op.buffer, 0);
  }
}

TEST(Ring, CutsAReceiveAtTheSizeOfABuffer) {
  auto ring = OpenRing({.buffers = 4, .buffer_bytes = 16});
  SocketPair sockets = TcpPair();
  SendAll(sockets.peer.get(), std::string(20, 'x'));
  TestOp first(*ring);
  first.Submit(IoRequest::ReceiveBuffer(sockets.ours.get()));
  Finish(*ring, {&first});
  EXPECT_THAT(first.results, ElementsAre(16));
  EXPECT_TRUE(first.nonempty_seen);
  TestOp second(*ring);
  second.Submit(IoRequest::ReceiveBuffer(sockets.ours.get()));
  Finish(*ring, {&second});
  EXPECT_THAT(second.results, ElementsAre(4));
  EXPECT_FALSE(second.nonempty_seen);
}

TEST(Ring, HoldsNoBufferForAReceiveThatWaits) {
  auto ring = OpenRing({.buffers = 1, .buffer_bytes = 16});
  SocketPair idle = LocalPair();
  SocketPair busy = LocalPair();
  for (const bool poll_first : {true, false}) {
    TestOp waiting(*ring);
    IoRequest request = IoRequest::ReceiveBuffer(idle.ours.get());
    request.poll_first = poll_first;
    waiting.Submit(request);
    ring->Wait(MonoTime::min());
    SendAll(busy.peer.get(), "x");
    TestOp op(*ring);
    op.Submit(IoRequest::ReceiveBuffer(busy.ours.get()));
    Finish(*ring, {&op});
    EXPECT_EQ(op.bytes, "x");
    EXPECT_TRUE(waiting.in_flight());
    SendAll(idle.peer.get(), "y");
    Finish(*ring, {&waiting});
    EXPECT_EQ(waiting.bytes, "y");
  }
}

TEST(Ring, SaysWhenNoBufferIsFreeAndGoesOnWhenOneIs) {
  auto ring = OpenRing({.buffers = 1, .buffer_bytes = 16});
  SocketPair sockets[] = {LocalPair(), LocalPair()};
  for (SocketPair& pair : sockets) SendAll(pair.peer.get(), "x");
  TestOp holder(*ring);
  holder.keep_buffer = true;
  holder.Submit(IoRequest::ReceiveBuffer(sockets[0].ours.get()));
  Finish(*ring, {&holder});
  for (const bool poll_first : {true, false}) {
    TestOp op(*ring);
    IoRequest request = IoRequest::ReceiveBuffer(sockets[1].ours.get());
    request.poll_first = poll_first;
    op.Submit(request);
    Finish(*ring, {&op});
    EXPECT_THAT(op.results, ElementsAre(-ENOBUFS));
    EXPECT_EQ(op.buffer, -1);
  }
  ring->ReturnBuffer(holder.buffer);
  TestOp op(*ring);
  op.Submit(IoRequest::ReceiveBuffer(sockets[1].ours.get()));
  Finish(*ring, {&op});
  EXPECT_EQ(op.bytes, "x");
}

// Many receives at once over few buffers: in the worst case each gets -ENOBUFS and is tried again. None loses
// a byte.
TEST(Ring, BringsEveryByteThroughFewBuffers) {
  auto ring = OpenRing({.buffers = 2, .buffer_bytes = 8});
  constexpr size_t kSockets = 50;
  std::vector<SocketPair> sockets;
  std::vector<std::unique_ptr<TestOp>> ops;
  for (size_t i = 0; i < kSockets; ++i) {
    sockets.push_back(LocalPair());
    SendAll(sockets[i].peer.get(), Cat("bytes of socket ", i));
    ops.push_back(std::make_unique<TestOp>(*ring));
  }
  const MonoTime give_up = ring->Now() + seconds(20);
  size_t whole = 0;
  bool starved = false;
  while (whole < kSockets) {
    ASSERT_LT(ring->Now(), give_up);
    whole = 0;
    for (size_t i = 0; i < kSockets; ++i) {
      if (ops[i]->in_flight()) continue;
      starved |= !ops[i]->results.empty() && ops[i]->results.back() == -ENOBUFS;
      if (ops[i]->bytes == Cat("bytes of socket ", i)) {
        ++whole;
      } else {
        ops[i]->Submit(IoRequest::ReceiveBuffer(sockets[i].ours.get()));
      }
    }
    ring->Wait(MonoTime::min());
  }
  EXPECT_TRUE(starved);
}

// --- Sending

TEST(Ring, SendsWhole) {
  auto ring = OpenRing();
  SocketPair sockets = LocalPair();
  std::string bytes(3 << 20, 'x');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7 + i / 251);
  TestOp op(*ring);
  op.Submit(IoRequest::Send(sockets.ours.get(), bytes));
  ring->Wait(MonoTime::min());
  EXPECT_TRUE(op.in_flight());  // a socket buffer holds less
  std::string received;
  std::thread reader([&] { received = ReceiveAll(sockets.peer.get(), bytes.size()); });
  Finish(*ring, {&op});
  reader.join();
  EXPECT_THAT(op.results, ElementsAre(bytes.size()));
  EXPECT_TRUE(received == bytes);
}

TEST(Ring, SendingToWhoHasClosedIsAnErrorAndNoSignal) {
  auto ring = OpenRing();
  SocketPair sockets = LocalPair();
  sockets.peer.Reset();
  char byte = 'x';
  TestOp send(*ring);
  send.Submit(IoRequest::Send(sockets.ours.get(), {&byte, 1}));
  iovec piece = {&byte, 1};
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  TestOp send_msg(*ring);
  send_msg.Submit(IoRequest::SendMessage(sockets.ours.get(), message));
  Finish(*ring, {&send, &send_msg});
  EXPECT_THAT(send.results, ElementsAre(-EPIPE));
  EXPECT_THAT(send_msg.results, ElementsAre(-EPIPE));
}

// --- Accepting and connecting

TEST(Ring, AcceptsManyConnectionsWithOneOperation) {
  auto ring = OpenRing();
  const TcpListener listener;
  TestOp op(*ring);
  op.Submit(IoRequest::Accept(listener.fd()));
  std::vector<UniqueFd> clients;
  for (size_t i = 0; i < 20; ++i) {
    clients.push_back(listener.Connect());
    while (op.results.size() <= i) ring->Wait(ring->Now() + seconds(5));
    ASSERT_TRUE(op.in_flight());
    ASSERT_GE(op.results[i], 0);
  }
  SendAll(op.results[7], "220");
  EXPECT_EQ(ReceiveAll(clients[7].get(), 3), "220");
  EXPECT_NE(fcntl(op.results[7], F_GETFD) & FD_CLOEXEC, 0);
  op.Cancel();
  Finish(*ring, {&op});
  ASSERT_EQ(op.results.size(), 21u);
  EXPECT_EQ(op.results.back(), -ECANCELED);
  op.results.pop_back();
  for (const int fd : op.results) ring->Close(fd);
}

TEST(Ring, Connects) {
  auto ring = OpenRing();
  TcpListener listener;
  const int fd = ring->OpenSocket(AF_INET);
  ASSERT_GE(fd, 0);
  const IoRequest connect = IoRequest::Connect(fd, listener.address(), listener.address_bytes());
  TestOp op(*ring);
  op.Submit(connect);
  Finish(*ring, {&op});
  EXPECT_THAT(op.results, ElementsAre(0));
  UniqueFd peer = listener.Accept();
  ring->Close(fd);
  EXPECT_EQ(ReceiveAll(peer.get()), "");
  listener.Close();
  UniqueFd refused(ring->OpenSocket(AF_INET));
  IoRequest again = connect;
  again.fd = refused.get();
  op.Submit(again);
  Finish(*ring, {&op});
  EXPECT_EQ(op.results.back(), -ECONNREFUSED);
}

TEST(Ring, SaysWhyASocketCannotBeOpened) { EXPECT_EQ(OpenRing()->OpenSocket(12345), -EAFNOSUPPORT); }

// --- Cancel, shutdown, close

TEST(Ring, CancelsAReceiveThatWaits) {
  auto ring = OpenRing();
  SocketPair sockets = LocalPair();
  TestOp op(*ring);
  op.Submit(IoRequest::ReceiveBuffer(sockets.ours.get()));
  ring->Wait(MonoTime::min());
  op.Cancel();
  EXPECT_TRUE(op.in_flight());
  Finish(*ring, {&op});
  EXPECT_THAT(op.results, ElementsAre(-ECANCELED));
  SendAll(sockets.peer.get(), "x");
  TestOp next(*ring);
  next.Submit(IoRequest::ReceiveBuffer(sockets.ours.get()));
  Finish(*ring, {&next});
  EXPECT_EQ(next.bytes, "x");
}

TEST(Ring, CancelsWhatWasSubmittedInTheSameTurn) {
  auto ring = OpenRing();
  SocketPair sockets = LocalPair();
  TestOp op(*ring);
  op.Submit(IoRequest::ReceiveBuffer(sockets.ours.get()));
  op.Cancel();
  Finish(*ring, {&op});
  EXPECT_THAT(op.results, ElementsAre(-ECANCELED));
}

TEST(Ring, ACancelThatComesTooLateChangesNothing) {
  auto ring = OpenRing();
  SocketPair sockets = LocalPair();
  TestOp op(*ring);
  SendAll(sockets.peer.get(), "x");
  op.Submit(IoRequest::ReceiveBuffer(sockets.ours.get()));
  Finish(*ring, {&op});
  op.Cancel();
  op.Submit(IoRequest::ReceiveBuffer(sockets.ours.get()));
  ring->Wait(ring->Now() + milliseconds(10));
  EXPECT_TRUE(op.in_flight()) << "the late cancel hit the next operation";
  SendAll(sockets.peer.get(), "y");
  Finish(*ring, {&op});
  EXPECT_EQ(op.bytes, "xy");
}

TEST(Ring, ShutdownCompletesAReceiveThatWaits) {
  for (const bool tcp : {false, true}) {
    auto ring = OpenRing();
    SocketPair sockets = tcp ? TcpPair() : LocalPair();
    const int fd = sockets.ours.Release();
    TestOp op(*ring);
    op.Submit(IoRequest::ReceiveBuffer(fd).WaitFirst(true));
    ring->Wait(MonoTime::min());
    ring->Shutdown(fd);
    Finish(*ring, {&op});
    EXPECT_THAT(op.results, ElementsAre(0));
    EXPECT_EQ(op.buffer, -1);
    ring->Close(fd);
    EXPECT_EQ(ReceiveAll(sockets.peer.get()), "");
  }
}

// --- Full queues

TEST(Ring, FlushesAFullSubmissionQueue) {
  auto ring = OpenRing({.submissions = 8});
  std::vector<SocketPair> sockets;
  std::vector<std::unique_ptr<TestOp>> ops;
  std::vector<TestOp*> all;
  for (int i = 0; i < 200; ++i) {
    sockets.push_back(LocalPair());
    ops.push_back(std::make_unique<TestOp>(*ring));
    all.push_back(ops.back().get());
    ops.back()->Submit(IoRequest::ReceiveBuffer(sockets.back().ours.get()));
  }
  EXPECT_GE(ring->counts().flushes, 200u / 8 - 1);
  for (SocketPair& pair : sockets) SendAll(pair.peer.get(), "x");
  Finish(*ring, all);
  for (const auto& op : ops) EXPECT_EQ(op->bytes, "x");
  EXPECT_EQ(ring->counts().submissions, 200u);
  EXPECT_EQ(ring->counts().completions, 200u);
}

TEST(Ring, LosesNothingWhenTheCompletionQueueIsFull) {
  auto ring = OpenRing({.submissions = 8, .completions = 16});
  constexpr size_t kSockets = 300;
  std::vector<SocketPair> sockets;
  std::vector<std::unique_ptr<TestOp>> ops;
  std::vector<TestOp*> all;
  for (size_t i = 0; i < kSockets; ++i) {
    sockets.push_back(LocalPair());
    SendAll(sockets.back().peer.get(), "x");  // already there: completes during the submit
    ops.push_back(std::make_unique<TestOp>(*ring));
    all.push_back(ops.back().get());
    ops.back()->Submit(IoRequest::ReceiveBuffer(sockets.back().ours.get()));
  }
  Finish(*ring, all);
  for (const auto& op : ops) EXPECT_EQ(op->bytes, "x");
  EXPECT_GT(ring->counts().overflows, 0u);
  for (auto& op : ops)
    op->Submit(IoRequest::ReceiveBuffer(sockets[static_cast<size_t>(&op - ops.data())].ours.get()));
  ring->Wait(MonoTime::min());
  for (auto& op : ops) op->Cancel();  // two completions each
  Finish(*ring, all);
  for (const auto& op : ops) EXPECT_EQ(op->results.back(), -ECANCELED);
}

// --- Files

TEST(Ring, OpensAllocatesWritesAndReads) {
  auto ring = OpenRing();
  std::string directory = testing::TempDir();
  TestOp op(*ring);
  op.Submit(IoRequest::OpenAt(AT_FDCWD, directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  Finish(*ring, {&op});
  ASSERT_GE(op.results.back(), 0);
  const UniqueFd file(op.results.back());
  op.Submit(IoRequest::Allocate(file.get(), 0, 8192));
  Finish(*ring, {&op});
  char text[] = "text";
  op.Submit(IoRequest::Write(file.get(), {text, 4}, 100));
  Finish(*ring, {&op});
  char room[6] = {};
  op.Submit(IoRequest::Read(file.get(), room, 99));
  Finish(*ring, {&op});
  op.results.erase(op.results.begin());
  EXPECT_THAT(op.results, ElementsAre(0, 4, 6));
  EXPECT_STREQ(room + 1, "text");
  EXPECT_EQ(lseek(file.get(), 0, SEEK_END), 8192);
}

// --- Awaiting with a deadline

Task<IoResult> ReceiveUntil(Loop& loop, int fd, MonoTime deadline) {
  char room[16];
  co_return co_await AwaitOp(loop, IoRequest::Receive(fd, room), deadline);
}

TEST(Ring, AwaitOpGivesUpAfterItsDeadline) {
  auto ring = OpenRing();
  Loop loop(*ring);
  SocketPair sockets = TcpPair();
  const MonoTime start = ring->Now();
  EXPECT_EQ(RunTask(loop, ReceiveUntil(loop, sockets.ours.get(), start + milliseconds(30))).raw(),
            -ETIMEDOUT);
  EXPECT_GE(ring->Now(), start + milliseconds(30));
  EXPECT_LT(ring->Now(), start + seconds(5));
  SendAll(sockets.peer.get(), "late");
  EXPECT_EQ(RunTask(loop, ReceiveUntil(loop, sockets.ours.get(), ring->Now() + seconds(5))).raw(), 4);
}

// --- Opening

// Makes io_uring_setup fail permanently with `error` in the calling thread.
void ForbidIoUring(int error) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter = {.len = std::size(program), .filter = program};
  ASSERT_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  ASSERT_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

std::string MessageOfOpenWhenSetupFailsWith(int error) {
  std::string message;
  std::thread thread([&] {
    ForbidIoUring(error);
    auto ring = Ring::Open({});
    EXPECT_FALSE(ring.ok());
    message = std::string(ring.status().message());
  });
  thread.join();
  return message;
}

TEST(Ring, SaysInOneSentenceWhatToChangeWhenItCannotOpen) {
  EXPECT_THAT(MessageOfOpenWhenSetupFailsWith(EPERM),
              AllOf(HasSubstr("forbidden"), HasSubstr("io_uring_disabled"), HasSubstr("seccomp")));
  EXPECT_THAT(MessageOfOpenWhenSetupFailsWith(ENOSYS), AllOf(HasSubstr("not there"), HasSubstr("seccomp")));
  EXPECT_THAT(MessageOfOpenWhenSetupFailsWith(EINVAL), AllOf(HasSubstr("too old"), HasSubstr("6.1")));
  EXPECT_THAT(MessageOfOpenWhenSetupFailsWith(ENOMEM), HasSubstr("ulimit -l"));
  EXPECT_THAT(MessageOfOpenWhenSetupFailsWith(EMFILE), HasSubstr("Too many open files"));
}

}  // namespace
}  // namespace bivalve::core
