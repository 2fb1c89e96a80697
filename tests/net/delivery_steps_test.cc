// Delivery in steps: a message that is sent to the server while it is still being received.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/delivery.h"
#include "net/smtp_reply.h"
#include "tests/core/run_task.h"
#include "tests/sim/sim_io.h"

namespace bivalve::net {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;
using Status = DeliveryResult::Status;

constexpr seconds kTimeout{10};

struct Got {
  DeliveryResult result;
  std::string text;
};

// Answers each chunk by its next reply. The commands and data received are in `chunks`.
class ChunkServer final : public sim::SimPeer {
 public:
  explicit ChunkServer(std::vector<std::string> replies) : replies_(std::move(replies)) {}
  void OnBytes(sim::SimSocket& socket, std::string_view part) override {
    input_ += part;
    for (;;) {
      const size_t end = input_.find("\r\n");
      if (end == std::string::npos) return;
      const size_t size = std::stoul(input_.substr(5));
      if (input_.size() < end + 2 + size) return;
      chunks.push_back(input_.substr(0, end + 2 + size));
      message += input_.substr(end + 2, size);
      ended = ended || input_.substr(0, end).ends_with("LAST");
      input_.erase(0, end + 2 + size);
      const std::string reply = chunks.size() <= replies_.size() ? replies_[chunks.size() - 1] : "250 ok\r\n";
      socket.Send(reply);
    }
  }
  std::vector<std::string> chunks;
  std::string message;
  bool ended = false;

 private:
  std::vector<std::string> replies_;
  std::string input_;
};

// Feeds `parts` one by one, and ends with `last`.
Got FeedTo(ChunkServer& server, const std::vector<std::string_view>& parts, std::string_view last,
           bool proven, uint64_t seed = 1) {
  sim::SimIo io(seed, {.short_recv = seed % 2 == 0 ? 0.0 : 0.5, .send_buffer_bytes = 2000});
  core::Loop loop(io);
  core::Condition wake(loop);
  Connection connection(loop, wake, kReplyLineBytesMax);
  connection.stream().Adopt(io.Accept(server));
  Got got;
  const auto feed = [&]() -> core::Task<DeliveryResult> {
    Delivery delivery(connection, wake, {.chunking = true, .chunking_proven = proven, .timeout = kTimeout},
                      got.text);
    (void)co_await delivery.Begin();
    for (const std::string_view part : parts) {
      const std::array<std::string_view, 2> halves = {part.substr(0, part.size() / 2),
                                                      part.substr(part.size() / 2)};
      const bool taken = co_await delivery.Feed(halves);
      if (!taken) break;
    }
    const std::array<std::string_view, 1> rest = {last};
    co_return co_await delivery.End(rest);
  };
  got.result = core::RunTask(loop, feed());
  core::RunTask(loop, connection.stream().Close());
  EXPECT_THAT(io.Problems(), IsEmpty());
  return got;
}

TEST(DeliveryInSteps, SendsChunksAndTheLastOneAtItsEnd) {
  const std::string large(5000, 'y');
  for (uint64_t seed = 0; seed < 20; ++seed) {
    ChunkServer server({});
    const Got got = FeedTo(server, {"a: b\r\n\r\n", "", large}, "end\r\n", true, seed);
    EXPECT_EQ(got.result.code, 250);
    EXPECT_EQ(got.text, "250 ok\r\n");
    EXPECT_THAT(server.chunks,
                ElementsAre("BDAT 8\r\na: b\r\n\r\n", "BDAT 5000\r\n" + large, "BDAT 5 LAST\r\nend\r\n"));
  }
}

TEST(DeliveryInSteps, EndsWithoutMoreContent) {
  ChunkServer server({});
  EXPECT_EQ(FeedTo(server, {"a: b\r\n"}, "", true).result.code, 250);
  EXPECT_EQ(server.chunks.back(), "BDAT 0 LAST\r\n");
}

TEST(DeliveryInSteps, TriesOneByteFirst) {
  ChunkServer server({});
  EXPECT_EQ(FeedTo(server, {"a: b\r\n", "c"}, "d\r\n", false).result.code, 250);
  EXPECT_THAT(server.chunks,
              ElementsAre("BDAT 1\r\na", "BDAT 5\r\n: b\r\n", "BDAT 1\r\nc", "BDAT 3 LAST\r\nd\r\n"));
}

// Whichever chunk is refused: nothing is sent after it, and never the end.
TEST(DeliveryInSteps, SendsNothingBehindARefusal) {
  for (size_t refused = 0; refused < 3; ++refused) {
    std::vector<std::string> replies(3, "250 ok\r\n");
    replies[refused] = "552 5.3.4 too much\r\n";
    ChunkServer server(replies);
    const Got got = FeedTo(server, {"one\r\n", "two\r\n", "three\r\n"}, "end\r\n", true);
    EXPECT_EQ(got.result.status, Status::kRefusedData);
    EXPECT_EQ(got.result.code, 552);
    EXPECT_EQ(got.text, "552 5.3.4 too much\r\n");
    EXPECT_EQ(server.chunks.size(), refused + 1);
    EXPECT_FALSE(server.ended);
  }
}

TEST(DeliveryInSteps, SaysThatTheServerKnowsNoChunks) {
  ChunkServer server({"250 ok\r\n", "502 what\r\n"});
  const Got got = FeedTo(server, {"one\r\n", "two\r\n", "three\r\n"}, "end\r\n", true);
  EXPECT_EQ(got.result.status, Status::kLost);
  EXPECT_TRUE(got.result.no_chunking);
  EXPECT_EQ(got.text, "");
  EXPECT_FALSE(server.ended);
}

// A second reply to a chunk would be taken for the reply to the message.
TEST(DeliveryInSteps, SendsNoEndToAServerThatHasAnsweredTwice) {
  ChunkServer server({"250 ok\r\n", "250 ok\r\n250 2.0.0 taken\r\n"});
  const Got got = FeedTo(server, {"one\r\n", "two\r\n"}, "end\r\n", true, 2);
  EXPECT_EQ(got.result.status, Status::kLost);
  EXPECT_TRUE(got.result.early);
  EXPECT_FALSE(server.ended);
}

}  // namespace
}  // namespace bivalve::net
