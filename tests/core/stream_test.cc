// Stream over the real kernel. tests/sim/stream_sim_test.cc tests it with random events.
#include "core/stream.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "core/ring.h"
#include "core/scope.h"
#include "core/text.h"
#include "tests/core/run_task.h"
#include "tests/core/sockets.h"
#include "tests/core/stream_fixture.h"

namespace bivalve::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::string Pattern(size_t bytes) {
  std::string pattern(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) pattern[i] = static_cast<char>(i * 31 + i / 253);
  return pattern;
}

// --- The reader

TEST_F(StreamTest, ReadsBesideTheOneWhoUsesIt) {
  AdoptLocal();
  stream_.StartReading();
  Turns(2);
  EXPECT_EQ(stream_.input(), "");
  SendAll(peer_.get(), "MAIL FROM:<a>\r\nRCPT");
  EXPECT_TRUE(TurnUntil([&] { return !stream_.input().empty(); }));
  EXPECT_EQ(stream_.input(), "MAIL FROM:<a>\r\nRCPT");
  stream_.Consume(15);
  EXPECT_EQ(stream_.input(), "RCPT");
  stream_.StartReading();
  EXPECT_EQ(stream_.input(), "RCPT");
  SendAll(peer_.get(), " TO");
  EXPECT_TRUE(TurnUntil([&] { return stream_.input().size() > 4; }));
  EXPECT_EQ(stream_.input(), "RCPT TO");
}

Task<bool> WaitFor(Condition& condition, MonoTime deadline) { co_return co_await condition.Wait(deadline); }

TEST_F(StreamTest, NotifiesWhenSomethingArrives) {
  AdoptLocal();
  stream_.StartReading();
  EXPECT_FALSE(Await(WaitFor(wake_, In(milliseconds(20)))));
  SendAll(peer_.get(), "x");
  EXPECT_TRUE(Await(WaitFor(wake_, In(seconds(5)))));
  EXPECT_EQ(stream_.input(), "x");
}

TEST_F(StreamTest, StopsReadingByItself) {
  AdoptLocal();
  stream_.StartReading();
  SendAll(peer_.get(), "one");
  EXPECT_TRUE(TurnUntil([&] { return !stream_.input().empty(); }));
  SendAll(peer_.get(), "two");
  Turns(5);
  EXPECT_EQ(stream_.input(), "one");
}

TEST_F(StreamTest, HoldsAtMostItsLimitOfUnreadInput) {
  AdoptLocal();
  const std::string sent = Pattern(200'000);
  std::thread sender([&] { SendAll(peer_.get(), sent); });
  const auto full = [&] {
    stream_.StartReading();
    return stream_.input().size() >= Stream::kInputBytesMax;
  };
  EXPECT_TRUE(TurnUntil(full));
  stream_.StartReading();
  Turns(20);
  EXPECT_LT(stream_.input().size(), Stream::kInputBytesMax + 4096);
  std::string received;
  while (received.size() < sent.size()) {
    received += stream_.input();
    stream_.Consume(stream_.input().size());
    if (received.size() == sent.size()) break;
    stream_.StartReading();
    ASSERT_TRUE(TurnUntil([&] { return !stream_.input().empty(); }));
  }
  sender.join();
  EXPECT_TRUE(received == sent);
}

TEST_F(StreamTest, KeepsWhatCameBeforeTheEnd) {
  AdoptTcp();
  SendAll(peer_.get(), "QUIT");
  peer_.Reset();
  const auto ended = [&] {
    stream_.StartReading();
    return stream_.ended();
  };
  EXPECT_TRUE(TurnUntil(ended));
  EXPECT_EQ(stream_.input(), "QUIT");
  EXPECT_EQ(stream_.error(), 0);
}

TEST_F(StreamTest, NoticesAPeerThatEndsWhileItWaits) {
  AdoptTcp();
  stream_.StartReading();
  Turns(3);
  peer_.Reset();
  EXPECT_TRUE(Await(WaitFor(wake_, In(seconds(5)))));
  EXPECT_TRUE(stream_.ended());
}

TEST_F(StreamTest, TellsAResetFromAnEnd) {
  AdoptTcp();
  stream_.StartReading();
  Turns(3);
  ResetOnClose(peer_.get());
  peer_.Reset();
  EXPECT_TRUE(TurnUntil([&] { return stream_.ended(); }));
  EXPECT_EQ(stream_.error(), ECONNRESET);
}

TEST_F(StreamTest, PutsBytesInFrontOfTheInputAgain) {
  AdoptLocal();
  SendAll(peer_.get(), "abcdef");
  stream_.StartReading();
  EXPECT_TRUE(TurnUntil([&] { return !stream_.input().empty(); }));
  stream_.Consume(3);
  stream_.Unread("XY");
  EXPECT_EQ(stream_.input(), "XYdef");
  stream_.Consume(5);
  stream_.Unread("Z");
  EXPECT_EQ(stream_.input(), "Z");
  SendAll(peer_.get(), "!");
  stream_.StartReading();
  EXPECT_TRUE(TurnUntil([&] { return stream_.input().size() > 1; }));
  EXPECT_EQ(stream_.input(), "Z!");
}

// --- Receiving into a room

TEST_F(StreamTest, ReceivesFromTheInputFirst) {
  AdoptLocal();
  stream_.Unread("first");
  SendAll(peer_.get(), "second");
  std::string room(100, '\0');
  EXPECT_EQ(Await(stream_.Receive(std::span(room).first(2), In(seconds(5)))).raw(), 2);
  EXPECT_EQ(room.substr(0, 2), "fi");
  EXPECT_EQ(Await(stream_.Receive(room, In(seconds(5)))).raw(), 3);
  EXPECT_EQ(room.substr(0, 3), "rst");
  EXPECT_EQ(Await(stream_.Receive(room, In(seconds(5)))).raw(), 6);
  EXPECT_EQ(room.substr(0, 6), "second");
}

TEST_F(StreamTest, ReceivesIntoPlace) {
  AdoptTcp();
  const std::string sent = Pattern(3'000'000);
  std::thread sender([&] { SendAll(peer_.get(), sent); });
  std::string received(sent.size(), '\0');
  size_t bytes = 0;
  while (bytes < sent.size()) {
    const IoResult result = Await(stream_.Receive(std::span(received).subspan(bytes), In(seconds(5))));
    ASSERT_TRUE(result.ok() && !result.eof());
    bytes += result.value();
  }
  sender.join();
  EXPECT_TRUE(received == sent);
  EXPECT_LT(ring_->counts().completions, 3'000'000u / 4096) << "went through small buffers";
}

TEST_F(StreamTest, ReceivesThroughAReaderThatWasArmedBefore) {
  AdoptLocal();
  stream_.StartReading();
  Turns(3);
  std::string room(3, '\0');
  std::thread sender([&] {
    std::this_thread::sleep_for(milliseconds(10));
    SendAll(peer_.get(), "abcdef");
  });
  EXPECT_EQ(Await(stream_.Receive(room, In(seconds(5)))).raw(), 3);
  sender.join();
  EXPECT_EQ(room, "abc");
  EXPECT_EQ(stream_.input(), "def");
}

TEST_F(StreamTest, ReceiveGivesUpAfterItsDeadline) {
  for (const bool armed : {false, true}) {
    AdoptLocal();
    if (armed) stream_.StartReading();
    std::string room(10, '\0');
    EXPECT_EQ(Await(stream_.Receive(room, In(milliseconds(20)))).raw(), -ETIMEDOUT);
    EXPECT_FALSE(stream_.ended());
    SendAll(peer_.get(), "late");
    EXPECT_EQ(Await(stream_.Receive(room, In(seconds(5)))).raw(), 4);
    EXPECT_EQ(room.substr(0, 4), "late");
    RunTask(loop_, stream_.Close());
  }
}

TEST_F(StreamTest, ReceiveTellsTheEndAndTheReset) {
  std::string room(10, '\0');
  for (const bool armed : {false, true}) {
    AdoptTcp();
    SendAll(peer_.get(), "x");
    peer_.Reset();
    EXPECT_EQ(Await(stream_.Receive(room, In(seconds(5)))).raw(), 1);
    if (armed) stream_.StartReading();
    EXPECT_EQ(Await(stream_.Receive(room, In(seconds(5)))).raw(), 0);
    EXPECT_TRUE(stream_.ended());
    EXPECT_EQ(Await(stream_.Receive(room, In(seconds(5)))).raw(), 0);
    RunTask(loop_, stream_.Close());

    AdoptTcp();
    if (armed) stream_.StartReading();
    Turns(2);
    ResetOnClose(peer_.get());
    peer_.Reset();
    EXPECT_EQ(Await(stream_.Receive(room, In(seconds(5)))).raw(), -ECONNRESET);
    EXPECT_EQ(Await(stream_.Receive(room, In(seconds(5)))).raw(), -ECONNRESET);
    RunTask(loop_, stream_.Close());
  }
}

// --- Writing

TEST_F(StreamTest, SendsWhatWasWrittenInOneGo) {
  AdoptLocal();
  stream_.Write("MAIL FROM:<a>\r\n");
  stream_.Write("RCPT TO:<b>\r\n");
  EXPECT_EQ(stream_.unsent_bytes(), 28u);
  EXPECT_TRUE(Await(stream_.Drain(In(seconds(5)))));
  EXPECT_EQ(stream_.unsent_bytes(), 0u);
  EXPECT_EQ(ring_->counts().submissions, 1u);
  EXPECT_EQ(ReceiveAll(peer_.get(), 28), "MAIL FROM:<a>\r\nRCPT TO:<b>\r\n");
}

TEST_F(StreamTest, SendsWithoutBeingWaitedFor) {
  AdoptLocal();
  stream_.Write("one ");
  stream_.Flush();
  stream_.Write("two ");  // while the first is in flight
  stream_.Flush();
  stream_.Write("three");
  stream_.Flush();
  EXPECT_TRUE(TurnUntil([&] { return stream_.unsent_bytes() == 0; }));
  EXPECT_EQ(ReceiveAll(peer_.get(), 13), "one two three");
}

TEST_F(StreamTest, DrainGivesUpOnAPeerThatDoesNotRead) {
  AdoptLocal();
  stream_.Write(Pattern(4 << 20));
  const MonoTime start = ring_->Now();
  EXPECT_FALSE(Await(stream_.Drain(In(milliseconds(30)))));
  EXPECT_GE(ring_->Now(), start + milliseconds(30));
  EXPECT_NE(stream_.write_error(), 0);
  EXPECT_FALSE(Await(stream_.Drain(In(seconds(5)))));
}

TEST_F(StreamTest, AFailureOfASendShowsAndNotifies) {
  AdoptLocal();
  peer_.Reset();
  stream_.Write("x");
  stream_.Flush();
  EXPECT_TRUE(Await(WaitFor(wake_, In(seconds(5)))));
  EXPECT_EQ(stream_.write_error(), EPIPE);
  stream_.Write("y");
  EXPECT_FALSE(Await(stream_.Drain(In(seconds(5)))));
}

// --- Pieces

TEST_F(StreamTest, SendsManyPiecesInOrder) {
  AdoptLocal();
  std::vector<std::string> texts;
  std::vector<iovec> pieces;
  std::string expected = "DATA\r\n";
  for (size_t i = 0; i < 1000; ++i) texts.push_back(i % 7 == 0 ? "" : Pattern(i));
  for (std::string& text : texts) {
    pieces.push_back({text.data(), text.size()});
    expected += text;
  }
  stream_.Write("DATA\r\n");
  std::string received;
  std::thread reader([&] { received = ReceiveAll(peer_.get(), expected.size()); });
  EXPECT_EQ(Await(stream_.SendPieces(pieces, seconds(5))).raw(), 0);
  reader.join();
  EXPECT_TRUE(received == expected);
}

TEST_F(StreamTest, SendsALongPieceInSteps) {
  AdoptTcp();
  std::string head = "head";
  std::string text = Pattern(3 * Stream::kSendStepBytes + 12345);
  std::string tail = "tail";
  const iovec pieces[] = {{head.data(), 4}, {text.data(), text.size()}, {tail.data(), 4}};
  std::string received;
  std::thread reader([&] { received = ReceiveAll(peer_.get(), text.size() + 8); });
  EXPECT_EQ(Await(stream_.SendPieces(pieces, seconds(5))).raw(), 0);
  reader.join();
  EXPECT_TRUE(received == "head" + text + "tail");
  EXPECT_EQ(ring_->counts().submissions, 4u);
}

TEST_F(StreamTest, SendsNoPiecesAtAll) {
  AdoptLocal();
  EXPECT_EQ(Await(stream_.SendPieces({}, seconds(5))).raw(), 0);
  const iovec nothing = {nullptr, 0};
  EXPECT_EQ(Await(stream_.SendPieces({&nothing, 1}, seconds(5))).raw(), 0);
  EXPECT_EQ(ring_->counts().submissions, 0u);
  stream_.Write("only this");
  EXPECT_EQ(Await(stream_.SendPieces({}, seconds(5))).raw(), 0);
  EXPECT_EQ(ReceiveAll(peer_.get(), 9), "only this");
}

TEST_F(StreamTest, SendsPiecesBehindAFlushInFlight) {
  AdoptLocal();
  const std::string front = Pattern(1 << 20);
  std::string text = "piece";
  stream_.Write(front);
  stream_.Flush();
  stream_.Write("between");
  const iovec piece = {text.data(), text.size()};
  std::string received;
  std::thread reader([&] { received = ReceiveAll(peer_.get(), front.size() + 12); });
  EXPECT_EQ(Await(stream_.SendPieces({&piece, 1}, seconds(5))).raw(), 0);
  reader.join();
  EXPECT_TRUE(received == front + "between" + "piece");
}

TEST_F(StreamTest, PiecesGiveUpOnAPeerThatDoesNotRead) {
  AdoptLocal();
  std::string text = Pattern(4 << 20);
  const iovec piece = {text.data(), text.size()};
  EXPECT_EQ(Await(stream_.SendPieces({&piece, 1}, milliseconds(30))).raw(), -ETIMEDOUT);
  EXPECT_EQ(Await(stream_.SendPieces({&piece, 1}, seconds(5))).raw(), -ETIMEDOUT) << "the stream is cut";
}

TEST_F(StreamTest, PiecesFailWhenThePeerResets) {
  AdoptTcp();
  std::string text = Pattern(8 << 20);
  const iovec piece = {text.data(), text.size()};
  std::thread resetter([&] {
    std::this_thread::sleep_for(milliseconds(20));
    ResetOnClose(peer_.get());
    peer_.Reset();
  });
  const int result = Await(stream_.SendPieces({&piece, 1}, seconds(5))).raw();
  resetter.join();
  EXPECT_TRUE(result == -ECONNRESET || result == -EPIPE) << result;
}

// --- Descriptors

TEST_F(StreamTest, SendsADescriptorWithItsBytes) {
  AdoptLocal();
  const UniqueFd file(memfd_create("test", MFD_CLOEXEC));
  ASSERT_EQ(write(file.get(), "content", 7), 7);
  stream_.Write("zFILDES");
  EXPECT_EQ(Await(stream_.SendDescriptor("!", file.get(), In(seconds(5)))).raw(), 0);
  EXPECT_EQ(ReceiveAll(peer_.get(), 7), "zFILDES");
  char byte = 0;
  iovec piece = {&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ASSERT_EQ(recvmsg(peer_.get(), &message, MSG_CMSG_CLOEXEC), 1);
  EXPECT_EQ(byte, '!');
  ASSERT_NE(CMSG_FIRSTHDR(&message), nullptr);
  int descriptor = -1;
  std::memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
  const UniqueFd received(descriptor);
  char content[7];
  EXPECT_EQ(pread(received.get(), content, 7, 0), 7);
  EXPECT_EQ(std::string(content, 7), "content");
}

TEST_F(StreamTest, SaysWhenADescriptorCannotBeSent) {
  AdoptLocal();
  stream_.Write("x");
  EXPECT_EQ(Await(stream_.SendDescriptor("!", 1'000'000, In(seconds(5)))).raw(), -EBADF);
}

// --- Closing

TEST_F(StreamTest, ClosesWithEverythingInFlight) {
  for (const bool tcp : {false, true}) {
    tcp ? AdoptTcp() : AdoptLocal();
    stream_.StartReading();
    stream_.Write(Pattern(8 << 20));
    stream_.Flush();
    stream_.Write("more");
    Turns(3);
    RunTask(loop_, stream_.Close());
    EXPECT_FALSE(stream_.open());
    EXPECT_EQ(stream_.unsent_bytes(), 0u);
    EXPECT_LT(ReceiveAll(peer_.get()).size(), size_t{8} << 20);  // and the end
  }
}

TEST_F(StreamTest, ClosesBeforeTheFirstTurn) {
  AdoptTcp();
  stream_.StartReading();
  stream_.Write("x");
  stream_.Flush();
  RunTask(loop_, stream_.Close());
  RunTask(loop_, stream_.Close());  // nothing to do
  EXPECT_FALSE(stream_.open());
}

TEST_F(StreamTest, SendsWhatWasDrainedBeforeItsClose) {
  AdoptTcp();
  stream_.StartReading();
  stream_.Write("221 bye\r\n");
  EXPECT_TRUE(Await(stream_.Drain(In(seconds(5)))));
  RunTask(loop_, stream_.Close());
  EXPECT_EQ(ReceiveAll(peer_.get()), "221 bye\r\n");
}

TEST_F(StreamTest, CanBeUsedAgainAfterAClose) {
  AdoptTcp();
  stream_.Unread("unread");
  ResetOnClose(peer_.get());
  peer_.Reset();
  stream_.Write("x");
  std::string room(10, '\0');
  EXPECT_TRUE(TurnUntil([&] {
    stream_.StartReading();
    return stream_.ended();
  }));
  RunTask(loop_, stream_.Close());
  AdoptTcp();
  EXPECT_FALSE(stream_.ended());
  EXPECT_EQ(stream_.input(), "");
  EXPECT_EQ(stream_.write_error(), 0);
  stream_.Write("hello");
  EXPECT_TRUE(Await(stream_.Drain(In(seconds(5)))));
  EXPECT_EQ(ReceiveAll(peer_.get(), 5), "hello");
}

}  // namespace
}  // namespace bivalve::core
