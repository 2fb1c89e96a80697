// The pool against scanners under the test's control, over real sockets, with a real ring in the test's
// thread: connections that end, scanners that are down, and the pool's own end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "scan/clamd_pool.h"
#include "tests/scan/fake_clamd.h"
#include "tests/scan/pool_fixture.h"

namespace bivalve::scan {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

using PoolEndsTest = PoolFixture;

// --- Connections that end.

TEST_F(PoolEndsTest, ScansAgainElsewhereAfterAnEnd) {
  FakeClamd& one = AddScanner();
  FakeClamd& two = AddScanner();
  StartAndConnect();
  Message& message = Submit("content");
  ASSERT_TRUE(Until([&] { return one.scans.size() + two.scans.size() == 1; }));
  FakeClamd& first = one.scans.empty() ? two : one;
  FakeClamd& second = one.scans.empty() ? one : two;
  first.Close(first.scans[0].connection);
  ASSERT_TRUE(Scans(second, 1));
  EXPECT_EQ(ReadAll(second.scans[0].descriptor.get()), Image("content"));
  second.ReplyOk(second.scans[0]);
  EXPECT_TRUE(Clean(message));
  EXPECT_EQ(message.request.scanner(), &second == &one ? 0 : 1);
}

TEST_F(PoolEndsTest, GivesUpContentThatTakesTwoConnectionsDown) {
  FakeClamd& one = AddScanner();
  FakeClamd& two = AddScanner();
  StartAndConnect();
  for (FakeClamd* fake : {&one, &two}) {
    fake->on_scan = [fake](const FakeClamd::Scan& scan) { fake->Close(scan.connection); };
  }
  Message& message = Submit();
  EXPECT_TRUE(None(message, NoVerdict::kError));
  Settle();
  EXPECT_EQ(one.scans.size(), 1u);
  EXPECT_EQ(two.scans.size(), 1u);
  EXPECT_THAT(message.request.verdict().text, testing::HasSubstr("it closed the connection"));
}

TEST_F(PoolEndsTest, ShowsWhatItDidNotUnderstand) {
  std::vector<std::string> said;
  options_.say = [&said](bool, std::string text) { said.push_back(std::move(text)); };
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  fake.on_scan = [&fake](const FakeClamd::Scan& scan) {
    fake.Say(scan.connection, std::string_view("250 2.0.0 queued\r\x01\0", 19));
  };
  Message& message = Submit();
  EXPECT_TRUE(None(message, NoVerdict::kError));
  const std::string excerpt = "scanner-0: its reply was not understood: \"250 2.0.0 queued\r\x01\"";
  EXPECT_THAT(message.request.verdict().text, testing::HasSubstr(excerpt));
  EXPECT_THAT(said, testing::Contains(testing::HasSubstr(excerpt)));
}

TEST_F(PoolEndsTest, KeepsWithinItsShareOfTheScannersQueue) {
  options_.connections = 4;
  FakeClamd& fake = AddScanner();
  options_.scanners[0].outstanding_max = 3;
  options_.scanners[0].connections_max = 2;
  Start();
  ASSERT_TRUE(Until([&] { return Count(0, ScannerCount::kConnections) == 2; }));
  for (int i = 0; i < 8; ++i) Submit();
  for (size_t answered = 0; answered < 8; ++answered) {
    ASSERT_TRUE(Scans(fake, std::min<size_t>(answered + 3, 8)));
    Settle(milliseconds(5));
    EXPECT_EQ(fake.scans.size(), std::min<size_t>(answered + 3, 8));
    EXPECT_LE(Count(0, ScannerCount::kInFlight), 3u);
    fake.ReplyOk(fake.scans[answered]);
  }
  for (auto& message : messages_) EXPECT_TRUE(Clean(*message));
  EXPECT_EQ(fake.connections.size(), 2u);
}

TEST_F(PoolEndsTest, ScansAgainOnANewConnection) {
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& first = Submit("first");
  Message& second = Submit("second");
  ASSERT_TRUE(Scans(fake, 2));
  fake.CloseAll();
  ASSERT_TRUE(Scans(fake, 4));
  EXPECT_EQ(ReadAll(fake.scans[2].descriptor.get()), Image("first"));
  EXPECT_EQ(fake.scans[2].connection, 1u);
  fake.ReplyOk(fake.scans[2]);
  fake.ReplyOk(fake.scans[3]);
  EXPECT_TRUE(Clean(first));
  EXPECT_TRUE(Clean(second));
}

TEST_F(PoolEndsTest, TakesTheEndOfAnIdleConnectionForNoError) {
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  for (int round = 0; round < 3; ++round) {
    const uint64_t connects = Count(0, ScannerCount::kConnects);
    fake.Say(fake.connections.size() - 1, "COMMAND READ TIMED OUT\n");
    fake.CloseAll();
    ASSERT_TRUE(Until([&] { return Count(0, ScannerCount::kConnects) > connects; }));
    EXPECT_TRUE(pool_->up());
  }
  EXPECT_EQ(Count(0, ScannerCount::kErrors), 0u);
  // Handed over at the moment of the end, which the pool has not noticed yet.
  fake.CloseAll();
  Message& message = Submit();
  ASSERT_TRUE(Scans(fake, 1));
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(message));
}

TEST_F(PoolEndsTest, DoesNotHurryToAScannerThatAlwaysCloses) {
  options_.retry_min = milliseconds(20);
  options_.retry_max = milliseconds(200);
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  const auto end = std::chrono::steady_clock::now() + milliseconds(400);
  while (std::chrono::steady_clock::now() < end) {
    fake.CloseAll();
    Turn();
  }
  EXPECT_LT(fake.connections.size(), 15u);
}

// --- Scanners that are down.

TEST_F(PoolEndsTest, WaitsForTheFirstAttempts) {
  AddScanner().Vanish();
  AddAddress(Method::kAuto, [](sockaddr_storage&) { return socklen_t{0}; });  // a name that does not resolve
  Message& message = NewMessage();
  Start();
  pool_->Submit(message.request, *message.body);
  EXPECT_FALSE(message.request.done());
  EXPECT_EQ(pool_->waiting(), 1u);
  EXPECT_TRUE(None(message, NoVerdict::kDown));
  EXPECT_THAT(message.request.verdict().text, testing::HasSubstr("scanner-0: No such file"));
  EXPECT_THAT(message.request.verdict().text, testing::HasSubstr("scanner-1: its address is not known"));
  EXPECT_FALSE(pool_->up());
  EXPECT_TRUE(None(Submit(), NoVerdict::kDown));
}

// The pauses between attempts are an hour, so only the message can cause the attempt.
TEST_F(PoolEndsTest, LooksForAScannerWhenAMessageComes) {
  options_.retry_min = options_.retry_max = std::chrono::hours(1);
  options_.connections = 2;
  FakeClamd& fake = AddScanner();
  AddScanner().Vanish();
  fake.Vanish();
  Start();
  EXPECT_TRUE(None(Submit(), NoVerdict::kDown));
  fake.Listen();
  Message& message = Submit();
  EXPECT_FALSE(message.request.done());
  ASSERT_TRUE(Scans(fake, 1));
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(message));
}

// systemd holds the socket while clamd loads its database.
TEST_F(PoolEndsTest, WaitsForOneThatTakesConnectionsAndSaysNothing) {
  options_.connect_timeout = milliseconds(40);
  options_.ping_interval = std::chrono::seconds(2);
  FakeClamd& fake = AddScanner();
  fake.answers_pings = false;
  Start();
  Message& message = Submit();
  ASSERT_TRUE(Until([&] { return fake.connections.size() >= 3; }));
  EXPECT_FALSE(message.request.done());
  EXPECT_FALSE(pool_->up());
  fake.answers_pings = true;
  ASSERT_TRUE(Scans(fake, 1));
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(message));
}

TEST_F(PoolEndsTest, FindsAScannerThatComesBack) {
  options_.connections = 2;
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  fake.Vanish();
  ASSERT_TRUE(Until([&] { return !pool_->up(); }));
  EXPECT_EQ(Count(0, ScannerCount::kUp), 0u);
  EXPECT_TRUE(None(Submit(), NoVerdict::kDown));
  fake.Listen();
  ASSERT_TRUE(Until([&] { return Count(0, ScannerCount::kConnections) == 2; }));
  EXPECT_TRUE(pool_->up());
  Message& message = Submit();
  ASSERT_TRUE(Scans(fake, 1));
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(message));
}

TEST_F(PoolEndsTest, AnswersWaitingMessagesWhenTheLastScannerIsGone) {
  options_.outstanding_max = 1;
  FakeClamd& one = AddScanner();
  FakeClamd& two = AddScanner();
  StartAndConnect();
  for (int i = 0; i < 6; ++i) Submit();
  ASSERT_TRUE(Scans(one, 1));
  ASSERT_TRUE(Scans(two, 1));
  one.Vanish();
  Settle();
  EXPECT_EQ(std::count_if(messages_.begin(), messages_.end(), [](auto& m) { return m->request.done(); }), 0);
  two.Vanish();
  for (auto& message : messages_) EXPECT_TRUE(None(*message, NoVerdict::kDown));
}

TEST_F(PoolEndsTest, GoesOnWithTheOtherScanner) {
  FakeClamd& one = AddScanner();
  FakeClamd& two = AddScanner();
  two.on_scan = [&](const FakeClamd::Scan& scan) { two.ReplyOk(scan); };
  StartAndConnect();
  one.Vanish();
  for (int i = 0; i < 20; ++i) Submit();
  for (auto& message : messages_) EXPECT_TRUE(Clean(*message));
  EXPECT_TRUE(Until([&] { return Count(0, ScannerCount::kUp) == 0; }));
  EXPECT_EQ(Count(1, ScannerCount::kUp), 1u);
}

TEST_F(PoolEndsTest, TakesOneThatDoesNotAnswerPingsForDown) {
  options_.connect_timeout = milliseconds(40);
  options_.ping_interval = milliseconds(20);
  FakeClamd& fake = AddScanner();
  fake.answers_pings = false;
  Start();
  EXPECT_TRUE(None(Submit(), NoVerdict::kDown));
  fake.answers_pings = true;
  EXPECT_TRUE(Until([&] { return pool_->up(); }));
}

TEST_F(PoolEndsTest, TakesOneThatIsNoClamdForDown) {
  FakeClamd& fake = AddScanner();
  fake.answers_pings = false;
  Start();
  Message& message = Submit();
  size_t greeted = 0;
  ASSERT_TRUE(Until([&] {
    for (; greeted < fake.connections.size(); ++greeted) fake.Say(greeted, "220 mail.example.org ESMTP\r\n");
    return message.request.done();
  }));
  EXPECT_TRUE(None(message, NoVerdict::kDown));
}

// --- PING.

TEST_F(PoolEndsTest, KeepsIdleSessionsAlive) {
  options_.ping_interval = milliseconds(40);
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  ASSERT_TRUE(Until([&] { return fake.connections[0].pings >= 4; }));
  Message& message = Submit();  // busy sessions as well
  ASSERT_TRUE(Scans(fake, 1));
  const uint32_t pings = fake.connections[0].pings;
  ASSERT_TRUE(Until([&] { return fake.connections[0].pings >= pings + 2; }));
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(message));
  EXPECT_EQ(fake.connections.size(), 1u);
}

TEST_F(PoolEndsTest, WaitsForAStalledScannerButPrefersAnother) {
  options_.ping_interval = milliseconds(300);
  FakeClamd& one = AddScanner();
  FakeClamd& two = AddScanner();
  two.on_scan = [&](const FakeClamd::Scan& scan) { two.ReplyOk(scan); };
  StartAndConnect();
  // Each scanner gets some; then the first one stops answering.
  Submit();
  Submit();
  ASSERT_TRUE(Scans(one, 1));
  ASSERT_TRUE(Scans(two, 1));
  ASSERT_TRUE(Until([&] { return messages_[0]->request.done() || messages_[1]->request.done(); }));
  Message& stuck = *messages_[messages_[0]->request.done() ? 1 : 0];
  one.answers_pings = false;
  ASSERT_TRUE(Until([&] { return one.unanswered_pings > 0; }));
  Settle(milliseconds(350));
  for (int i = 0; i < 20; ++i) Submit();
  for (size_t i = 2; i < messages_.size(); ++i) EXPECT_TRUE(Clean(*messages_[i]));
  EXPECT_EQ(one.scans.size(), 1u);
  EXPECT_FALSE(stuck.request.done());
  EXPECT_EQ(Count(0, ScannerCount::kErrors), 0u);
  // The scanner continues.
  one.Say(0, core::Cat(one.connections[0].id, ": PONG", '\0'));
  one.answers_pings = true;
  one.ReplyOk(one.scans[0]);
  EXPECT_TRUE(Clean(stuck));
  EXPECT_EQ(one.connections.size(), 1u);
  Submit();
  Submit();
  EXPECT_TRUE(Scans(one, 2));
}

TEST_F(PoolEndsTest, GivesADeadScannerUpAtLast) {
  options_.ping_interval = milliseconds(20);
  options_.connect_timeout = milliseconds(50);
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& message = Submit();
  ASSERT_TRUE(Scans(fake, 1));
  fake.answers_pings = false;
  EXPECT_TRUE(None(message, NoVerdict::kDown));
  EXPECT_FALSE(pool_->up());
}

// --- The end.

TEST_F(PoolEndsTest, StopsWithEverythingOutstanding) {
  options_.outstanding_max = 1;
  options_.connections = 2;
  FakeClamd& fildes = AddScanner();
  FakeClamd& instream = AddScanner(Method::kInstream);
  FakeClamd& silent = AddScanner();  // never answers the first PING
  silent.answers_pings = false;
  AddAddress(Method::kAuto, [](sockaddr_storage& out) {  // an address that does not answer (RFC 5737)
    auto& address = reinterpret_cast<sockaddr_in&>(out);
    address.sin_family = AF_INET;
    address.sin_port = htons(9);
    address.sin_addr.s_addr = htonl(0xc0000201);
    return static_cast<socklen_t>(sizeof(address));
  });
  Start();
  ASSERT_TRUE(Until([&] {
    return Count(0, ScannerCount::kConnections) == 2 && Count(1, ScannerCount::kConnections) == 2;
  }));
  instream.reading = false;
  for (int i = 0; i < 8; ++i) Submit(std::string(8u << 20, 'x'));
  ASSERT_TRUE(Scans(fildes, 2));
  Settle();
  Message& abandoned = *messages_[0];
  pool_->Release(abandoned.request, std::move(abandoned.body));
  StopThePool();
  for (size_t i = 1; i < messages_.size(); ++i) EXPECT_TRUE(None(*messages_[i], NoVerdict::kDown));
  EXPECT_EQ(bodies_->bodies_out(), messages_.size() - 1);
  for (size_t i = 0; i < stats_.size(); ++i) {
    EXPECT_EQ(Count(i, ScannerCount::kConnections), 0u);
    EXPECT_EQ(Count(i, ScannerCount::kInFlight), 0u);
    EXPECT_EQ(Count(i, ScannerCount::kUp), 0u);
  }
  EXPECT_TRUE(None(Submit(), NoVerdict::kDown));
}

TEST_F(PoolEndsTest, StopsBeforeItHasBegun) {
  AddScanner();
  Start();
  StopThePool();
}

}  // namespace
}  // namespace bivalve::scan
