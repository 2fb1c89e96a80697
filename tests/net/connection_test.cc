#include "net/connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/core/run_task.h"
#include "tests/sim/sim_io.h"

namespace bivalve::net {
namespace {

using std::string_view_literals::operator""sv;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::string_view kTooLong = "(too long)";
constexpr size_t kLineBytesMax = 20;

class Peer final : public sim::SimPeer {
 public:
  explicit Peer(std::string_view bytes) : bytes_(bytes) {}
  void OnConnect(sim::SimSocket& socket) override {
    socket.Send(bytes_);
    socket.EndSending();
  }

 private:
  std::string bytes_;
};

// All lines that a connection makes of `bytes`, with cuts by the seed. Bytes after the last line end are not
// included.
std::vector<std::string> LinesOf(std::string_view bytes, uint64_t seed = 1, bool peek = false) {
  sim::SimIo io(seed, {.short_recv = seed % 2 == 0 ? 0.0 : 0.8});
  core::Loop loop(io);
  core::Condition wake(loop);
  Connection connection(loop, wake, kLineBytesMax);
  Peer peer(bytes);
  connection.stream().Adopt(io.Accept(peer));
  std::vector<std::string> lines;
  for (;;) {
    if (peek) {
      // PeekLine does not take the line, so peeking twice shows it twice.
      const Connection::Line seen = connection.PeekLine();
      if (seen.state == Connection::LineState::kLine) {
        EXPECT_EQ(connection.PeekLine().text, seen.text);
      }
      if (seen.state == Connection::LineState::kTooLong) {
        lines.emplace_back(kTooLong);
        continue;
      }
    }
    const Connection::Line line = connection.NextLine();
    if (line.state == Connection::LineState::kLine) {
      lines.emplace_back(line.text);
    } else if (line.state == Connection::LineState::kTooLong) {
      lines.emplace_back(kTooLong);
    } else if (connection.stream().ended()) {
      break;
    } else {
      connection.stream().StartReading();
      loop.Turn();
    }
  }
  core::RunTask(loop, connection.stream().Close());
  EXPECT_THAT(io.Problems(), IsEmpty());
  return lines;
}

TEST(Connection, GivesLinesWithoutTheirEnds) {
  EXPECT_THAT(LinesOf("EHLO a\r\n\r\nQUIT\r\n"), ElementsAre("EHLO a", "", "QUIT"));
}

TEST(Connection, TakesLfAloneForALineEnd) {
  EXPECT_THAT(LinesOf("NOOP\n\nQUIT\n"), ElementsAre("NOOP", "", "QUIT"));
}

TEST(Connection, RemovesOnlyOneCr) { EXPECT_THAT(LinesOf("DATA\r\r\n"), ElementsAre("DATA\r")); }

TEST(Connection, LeavesNulAndLoneCrInTheLine) {
  EXPECT_THAT(LinesOf("NO\0OP\r\nA\rB\r\n"sv), ElementsAre("NO\0OP"sv, "A\rB"));
}

TEST(Connection, GivesNoLineWithoutItsEnd) { EXPECT_THAT(LinesOf("QUIT\r\nNOO"), ElementsAre("QUIT")); }

TEST(Connection, FindsTheSameLinesHoweverTheBytesAreCut) {
  const std::string_view bytes = "EHLO a\r\n\r\n123456789012345678\r\n1234567890123456789\r\nQUIT\nNOOP\r\n";
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    EXPECT_THAT(LinesOf(bytes, seed),
                ElementsAre("EHLO a", "", "123456789012345678", kTooLong, "QUIT", "NOOP"));
    EXPECT_THAT(LinesOf(bytes, seed, true),
                ElementsAre("EHLO a", "", "123456789012345678", kTooLong, "QUIT", "NOOP"));
  }
}

TEST(Connection, CountsTheLineEndAmongTheBytesOfALine) {
  EXPECT_THAT(LinesOf(std::string(18, 'x') + "\r\n"), ElementsAre(std::string(18, 'x')));
  EXPECT_THAT(LinesOf(std::string(19, 'x') + "\r\n"), ElementsAre(kTooLong));
  EXPECT_THAT(LinesOf(std::string(19, 'x') + "\n"), ElementsAre(std::string(19, 'x')));
  EXPECT_THAT(LinesOf(std::string(20, 'x') + "\n"), ElementsAre(kTooLong));
}

TEST(Connection, ReportsALongLineOnceAndGoesOnBehindIt) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    EXPECT_THAT(LinesOf(std::string(50'000, 'x') + "\r\nQUIT\r\n", seed), ElementsAre(kTooLong, "QUIT"));
  }
}

TEST(Connection, ReportsALongLineBeforeItsEndHasCome) {
  EXPECT_THAT(LinesOf(std::string(500, 'x')), ElementsAre(kTooLong));
}

TEST(Connection, ReportsEachOfTwoLongLines) {
  const std::string line = std::string(500, 'x') + "\r\n";
  EXPECT_THAT(LinesOf(line + line + "A\r\n"), ElementsAre(kTooLong, kTooLong, "A"));
}

}  // namespace
}  // namespace bivalve::net
