// Stream::Connect over the real kernel. tests/sim/stream_sim_test.cc tests it with random events.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>
#include <chrono>
#include <vector>

#include "core/scope.h"
#include "core/stream.h"
#include "tests/core/sockets.h"
#include "tests/core/stream_fixture.h"

namespace bivalve::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_F(StreamTest, ConnectsAndSpeaks) {
  const TcpListener listener;
  EXPECT_EQ(Await(stream_.Connect(listener.address(), listener.address_bytes(), In(seconds(5)))).raw(), 0);
  EXPECT_TRUE(stream_.open());
  UniqueFd peer = listener.Accept();
  stream_.Write("EHLO a\r\n");
  EXPECT_TRUE(Await(stream_.Drain(In(seconds(5)))));
  EXPECT_EQ(ReceiveAll(peer.get(), 8), "EHLO a\r\n");
  int on = 0;
  socklen_t bytes = sizeof(on);
  EXPECT_EQ(getsockopt(stream_.fd(), IPPROTO_TCP, TCP_NODELAY, &on, &bytes), 0);
  EXPECT_NE(on, 0);
}

TEST_F(StreamTest, IsAsBeforeWhenItCannotConnect) {
  TcpListener listener;
  listener.Close();
  EXPECT_EQ(Await(stream_.Connect(listener.address(), listener.address_bytes(), In(seconds(5)))).raw(),
            -ECONNREFUSED);
  EXPECT_FALSE(stream_.open());
  const TcpListener another;
  EXPECT_EQ(Await(stream_.Connect(another.address(), another.address_bytes(), In(seconds(5)))).raw(), 0);
}

// A listener with a full queue: connecting clients get no answer.
class StreamConnectsInVain : public StreamTest {
 protected:
  StreamConnectsInVain() {
    EXPECT_EQ(listen(listener_.fd(), 0), 0);
    waiting_ = listener_.Connect();
  }

  const TcpListener listener_;
  UniqueFd waiting_;
};

TEST_F(StreamConnectsInVain, GivesUpAfterItsDeadline) {
  const MonoTime deadline = In(milliseconds(50));
  EXPECT_EQ(Await(stream_.Connect(listener_.address(), listener_.address_bytes(), deadline)).raw(),
            -ETIMEDOUT);
  EXPECT_GE(ring_->Now(), deadline);
  EXPECT_FALSE(stream_.open());
}

TEST_F(StreamConnectsInVain, GivesUpWhenItIsShutDown) {
  IoResult result;
  const auto connect = [&]() -> Task<void> {
    result = co_await stream_.Connect(listener_.address(), listener_.address_bytes(), In(seconds(60)));
  };
  Scope scope(loop_);
  scope.Spawn(connect());
  Turns(3);
  ASSERT_EQ(scope.running(), 1u);
  stream_.Shutdown();
  EXPECT_TRUE(TurnUntil([&] { return scope.running() == 0; }));
  EXPECT_EQ(result.raw(), -ECANCELED);
  EXPECT_FALSE(stream_.open());
  // The stream can be used again.
  AdoptTcp();
  EXPECT_TRUE(stream_.open());
}

TEST_F(StreamTest, ShutdownOfWhatIsNotOpenIsHarmless) {
  stream_.Shutdown();
  AdoptTcp();
  EXPECT_TRUE(stream_.open());
}

}  // namespace
}  // namespace bivalve::core
