// Stream with a transport other than the plain one.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "core/stream.h"
#include "core/text.h"
#include "tests/core/flipping_transport.h"
#include "tests/core/stream_fixture.h"

namespace bivalve::core {
namespace {

using std::chrono::seconds;

class SwitchedStreamTest : public StreamTest {
 protected:
  size_t Switch() {
    Await(stream_.StopReading());
    return stream_.Switch(std::make_unique<FlippingTransport>(*ring_, stream_.fd(), stream_.owner()));
  }
  void PeerSays(std::string_view bytes) {
    ASSERT_EQ(write(peer_.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  std::string PeerHears() {
    std::string heard(4096, '\0');
    const ssize_t bytes = read(peer_.get(), heard.data(), heard.size());
    heard.resize(bytes > 0 ? static_cast<size_t>(bytes) : 0);
    return heard;
  }
};

TEST_F(SwitchedStreamTest, SendsAndReceivesByTheOtherTransport) {
  AdoptTcp();
  EXPECT_EQ(Switch(), 0u);
  stream_.Write("one\r\n");
  EXPECT_TRUE(Await(stream_.Drain(In(seconds(5)))));
  EXPECT_EQ(PeerHears(), FlippingTransport::Flipped("one\r\n"));
  const std::string_view text = "two\r\n";
  const iovec piece = {const_cast<char*>(text.data()), text.size()};
  EXPECT_TRUE(Await(stream_.SendPieces({&piece, 1}, seconds(5))).ok());
  EXPECT_EQ(PeerHears(), FlippingTransport::Flipped("two\r\n"));

  PeerSays(FlippingTransport::Flipped("three"));
  stream_.StartReading();
  EXPECT_TRUE(TurnUntil([this] { return stream_.input() == "three"; }));
  stream_.Consume(5);
  PeerSays(FlippingTransport::Flipped("four"));
  std::array<char, 16> room;
  const IoResult received = Await(stream_.Receive(room, In(seconds(5))));
  ASSERT_EQ(received.raw(), 4);
  EXPECT_EQ(std::string_view(room.data(), 4), "four");
}

TEST_F(SwitchedStreamTest, ThrowsAwayWhatCameBeforeTheSwitch) {
  AdoptTcp();
  const std::string_view command = "STARTTLS\r\n";
  const std::string_view injected = "MAIL FROM:<injected@example>\r\n";
  PeerSays(Cat(command, injected));
  stream_.StartReading();
  ASSERT_TRUE(TurnUntil([&] { return stream_.input().size() == Cat(command, injected).size(); }));
  stream_.Consume(command.size());
  stream_.StartReading();
  EXPECT_EQ(Switch(), injected.size());
  EXPECT_EQ(stream_.input(), "");
  PeerSays(FlippingTransport::Flipped("EHLO"));
  stream_.StartReading();
  EXPECT_TRUE(TurnUntil([this] { return stream_.input() == "EHLO"; }));
}

TEST_F(SwitchedStreamTest, IsPlainAgainAfterClose) {
  AdoptTcp();
  Switch();
  stream_.StartReading();
  Await(stream_.Close());
  AdoptTcp();
  stream_.Write("plain");
  EXPECT_TRUE(Await(stream_.Drain(In(seconds(5)))));
  EXPECT_EQ(PeerHears(), "plain");
}

}  // namespace
}  // namespace bivalve::core
