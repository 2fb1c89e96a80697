// Given-up scans: how their places come back, and what happens to the other scans on the session.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/scan/pool_fixture.h"

namespace bivalve::scan {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr milliseconds kAlone(40);
constexpr milliseconds kShared(120);
constexpr milliseconds kWithRoom(240);

class GivenUpTest : public PoolFixture {
 protected:
  GivenUpTest() {
    options_.watch_interval = milliseconds(5);
    options_.given_up_alone = kAlone;
    options_.given_up_shared = kShared;
    options_.given_up_with_room = kWithRoom;
    options_.hedge = false;
    options_.say = [this](bool, std::string text) { said_.push_back(std::move(text)); };
  }
  void GiveUp(Message& message) { pool_->Release(message.request, std::move(message.body)); }
  // Fills all places of a scanner that answers nothing, and gives the scans up.
  void FillAndGiveUp(FakeClamd& fake) {
    const size_t places = options_.connections * options_.outstanding_max;
    for (size_t i = 0; i < places; ++i) Submit(core::Cat("given up ", i));
    ASSERT_TRUE(Scans(fake, places));
    for (auto& message : messages_) GiveUp(*message);
  }
  static void AnswerFromNowOn(FakeClamd& fake) {
    fake.on_scan = [&fake](const FakeClamd::Scan& scan) { fake.ReplyOk(scan); };
  }

  std::vector<std::string> said_;
};

TEST_F(GivenUpTest, TheirPlacesComeBack) {
  for (Method method : {Method::kFildes, Method::kInstream}) {
    options_.connections = 2;
    options_.outstanding_max = method == Method::kFildes ? 4 : 1;
    FakeClamd& fake = AddScanner(method);
    StartAndConnect();
    FillAndGiveUp(fake);
    EXPECT_EQ(Count(0, ScannerCount::kGivenUp), messages_.size());
    AnswerFromNowOn(fake);
    EXPECT_TRUE(Clean(Submit("after")));
    EXPECT_EQ(Count(0, ScannerCount::kGivenUpSessions), 2u);
    EXPECT_EQ(Count(0, ScannerCount::kErrors), 0u);
    EXPECT_EQ(Count(0, ScannerCount::kInFlight), 0u);
    EXPECT_EQ(bodies_->bodies_out(), 1u) << "only that of the last message";
    // clamd continues these scans nevertheless.
    EXPECT_EQ(Count(0, ScannerCount::kGivenUp), messages_.size() - 1);
    Forget();
    EXPECT_TRUE(stats_.empty());
  }
}

// Memory that clamd has open must not be used for another message.
TEST_F(GivenUpTest, TheirMemoryIsNotUsedAgain) {
  options_.connections = 1;
  options_.outstanding_max = 2;
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& lost = Submit("given up, and still read");
  Message& other = Submit("scanned again, and still read");
  ASSERT_TRUE(Scans(fake, 2));
  GiveUp(lost);
  Message& waiting = Submit("waiting");
  ASSERT_TRUE(Scans(fake, 4));
  fake.ReplyOk(fake.scans[2]);
  fake.ReplyOk(fake.scans[3]);
  EXPECT_TRUE(Clean(other));
  EXPECT_TRUE(Clean(waiting));
  GiveUp(other);
  GiveUp(waiting);
  for (int i = 0; i < 8; ++i) NewMessage(std::string(1000, 'n'));
  EXPECT_EQ(ReadAll(fake.scans[0].descriptor.get()), Image("given up, and still read"));
  EXPECT_EQ(ReadAll(fake.scans[1].descriptor.get()), Image("scanned again, and still read"));
}

// The second reading of a message uses the body of the first one.
TEST_F(GivenUpTest, TheMemoryOfAnEarlierReadingIsNotUsedAgainEither) {
  options_.outstanding_max = 2;
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& lost = Submit("given up");
  Message& several = NewMessage("several readings");
  several.request.SetSeveralReadings();
  pool_->Submit(several.request, *several.body);
  ASSERT_TRUE(Scans(fake, 2));
  GiveUp(lost);
  AnswerFromNowOn(fake);
  Message& waiting = Submit("waiting");
  EXPECT_TRUE(Clean(several));
  EXPECT_TRUE(Clean(waiting));
  pool_->Submit(several.request, *several.body);
  EXPECT_TRUE(Clean(several));
  GiveUp(several);
  for (int i = 0; i < 8; ++i) NewMessage(std::string(1000, 'n'));
  EXPECT_EQ(ReadAll(fake.scans[1].descriptor.get()), Image("several readings"));
}

TEST_F(GivenUpTest, TheOthersAreScannedAgainWithoutBlame) {
  options_.outstanding_max = 2;
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& lost = Submit("lost");
  Message& other = Submit("other");
  ASSERT_TRUE(Scans(fake, 2));
  GiveUp(lost);
  Settle(kShared * 2);
  EXPECT_EQ(fake.connections.size(), 1u) << "nobody waits for the place";
  Message& waiting = Submit("waiting");
  ASSERT_TRUE(Scans(fake, 4));
  EXPECT_EQ(ReadAll(fake.scans[2].descriptor.get()), Image("other"));
  EXPECT_EQ(ReadAll(fake.scans[3].descriptor.get()), Image("waiting"));
  EXPECT_EQ(Count(0, ScannerCount::kErrors), 0u);
  EXPECT_EQ(Count(0, ScannerCount::kGivenUp), 1u);
  // The message still has its two tries.
  fake.CloseAll();
  ASSERT_TRUE(Scans(fake, 6));
  EXPECT_FALSE(other.request.done());
  fake.ReplyOk(fake.scans[4]);
  fake.ReplyOk(fake.scans[5]);
  EXPECT_TRUE(Clean(other));
  EXPECT_TRUE(Clean(waiting));
}

TEST_F(GivenUpTest, NoSecondSessionIsClosedWhileTheFirstIsOpenedAnew) {
  options_.connections = 2;
  options_.outstanding_max = 2;
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  for (int i = 0; i < 4; ++i) Submit(core::Cat(i));
  ASSERT_TRUE(Scans(fake, 4));
  for (size_t session = 0; session < 2; ++session) {
    const auto first = std::find_if(fake.scans.begin(), fake.scans.end(),
                                    [session](const auto& s) { return s.connection == session; });
    GiveUp(*messages_[static_cast<size_t>(first - fake.scans.begin())]);
  }
  Submit("waiting");
  ASSERT_TRUE(Until([&] { return Count(0, ScannerCount::kGivenUpSessions) == 1; }));
  fake.answers_pings = false;
  Settle(kShared * 2);
  EXPECT_EQ(Count(0, ScannerCount::kGivenUpSessions), 1u);
  AnswerFromNowOn(fake);
  fake.answers_pings = true;
  fake.Say(2, std::string_view("1: PONG\0", 8));
  EXPECT_TRUE(Clean(*messages_.back()));
}

TEST_F(GivenUpTest, OneThatIsAnsweredSoonCostsNothing) {
  options_.outstanding_max = 2;
  options_.given_up_alone = options_.given_up_shared = std::chrono::seconds(10);
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  FillAndGiveUp(fake);
  Message& waiting = Submit("waiting");
  Settle(kShared);
  fake.ReplyOk(fake.scans[0]);
  ASSERT_TRUE(Scans(fake, 3));
  fake.ReplyOk(fake.scans[2]);
  EXPECT_TRUE(Clean(waiting));
  EXPECT_EQ(Count(0, ScannerCount::kGivenUp), 1u);
  EXPECT_EQ(Count(0, ScannerCount::kGivenUpSessions), 0u);
  EXPECT_EQ(fake.connections.size(), 1u);
}

// If places are left, nothing is scanned again: the session ends when it can.
TEST_F(GivenUpTest, WithPlacesLeftTheOthersAreWaitedFor) {
  options_.connections = 2;
  options_.outstanding_max = 2;
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& lost = Submit("lost");
  ASSERT_TRUE(Scans(fake, 1));
  Message& elsewhere = Submit("elsewhere");
  ASSERT_TRUE(Scans(fake, 2));
  Message& other = Submit("other");
  ASSERT_TRUE(Scans(fake, 3));
  const size_t session = fake.scans[0].connection;
  const size_t neighbour = fake.scans[2].connection == session ? 2 : 1;
  ASSERT_EQ(fake.scans[neighbour].connection, session);
  GiveUp(lost);
  fake.ReplyOk(fake.scans[3 - neighbour]);
  Settle(kWithRoom / 2);
  EXPECT_EQ(fake.open_connections(), 2u);
  Settle(kWithRoom * 2);
  EXPECT_EQ(fake.open_connections(), 2u);
  EXPECT_EQ(Count(0, ScannerCount::kGivenUpSessions), 0u);
  fake.ReplyOk(fake.scans[neighbour]);
  EXPECT_TRUE(Clean(elsewhere));
  EXPECT_TRUE(Clean(other));
  ASSERT_TRUE(Until([&] { return Count(0, ScannerCount::kGivenUpSessions) == 1; }));
  ASSERT_TRUE(Until([&] { return Count(0, ScannerCount::kConnects) == 3; }));
  EXPECT_EQ(fake.scans.size(), 3u);
}

// The scanner reloads its database, or is stopped: a new session would not help.
TEST_F(GivenUpTest, ASessionThatAnswersNoPingIsKept) {
  options_.ping_interval = std::chrono::seconds(60);
  options_.outstanding_max = 1;
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  fake.answers_pings = false;
  FillAndGiveUp(fake);
  ASSERT_TRUE(Until([&] { return fake.unanswered_pings == 1; }));
  Settle(kAlone * 4);
  EXPECT_EQ(fake.unanswered_pings, 1u);
  EXPECT_EQ(fake.connections.size(), 1u);
  fake.answers_pings = true;
  fake.Say(0, core::Cat(fake.connections[0].id, ": PONG", '\0'));
  AnswerFromNowOn(fake);
  EXPECT_TRUE(Clean(Submit("after")));
  EXPECT_EQ(fake.connections.size(), 2u);
}

TEST_F(GivenUpTest, AScannerThatIsLeftWithManyGetsOneMessageAtATimeUntilItAnswers) {
  options_.connections = 2;
  options_.outstanding_max = 4;
  FakeClamd& fake = AddScanner();
  options_.scanners[0].limits.threads_max = 14;  // 7 of them for given-up scans
  StartAndConnect();
  AnswerFromNowOn(fake);  // earlier answers do not count
  for (int i = 0; i < 9; ++i) {
    EXPECT_TRUE(Clean(Submit()));
    GiveUp(*messages_.back());
  }
  messages_.clear();
  fake.scans.clear();
  fake.on_scan = {};
  FillAndGiveUp(fake);
  for (int i = 0; i < 9; ++i) Submit();
  size_t answered = 8;
  for (size_t at_once = 1; at_once <= 4; ++at_once) {
    ASSERT_TRUE(Scans(fake, answered + at_once));
    Settle(milliseconds(10));
    EXPECT_EQ(fake.scans.size(), answered + at_once);
    fake.ReplyOk(fake.scans[answered++]);
  }
  for (; answered < 8 + 9; ++answered) {
    ASSERT_TRUE(Scans(fake, answered + 1));
    fake.ReplyOk(fake.scans[answered]);
  }
  for (size_t i = 8; i < messages_.size(); ++i) EXPECT_TRUE(Clean(*messages_[i]));
  EXPECT_EQ(Count(0, ScannerCount::kGivenUp), 8u);
}

TEST_F(GivenUpTest, AnotherScannerIsPreferred) {
  FakeClamd& bad = AddScanner();
  options_.outstanding_max = 8;
  options_.scanners[0].limits.threads_max = 2;
  StartAndConnect();
  for (int i = 0; i < 3; ++i) Submit();
  ASSERT_TRUE(Scans(bad, 3));
  for (auto& message : messages_) GiveUp(*message);
  ASSERT_TRUE(Until([&] { return Count(0, ScannerCount::kInFlight) == 0; }));
  FakeClamd& good = AddScanner();
  AnswerFromNowOn(good);
  std::vector<ScannerStats*> stats;
  for (auto& one : stats_) stats.push_back(one.get());
  pool_->Change(options_, stats);
  ASSERT_TRUE(Until([&] { return Count(1, ScannerCount::kConnections) == 1; }));
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(Clean(Submit()));
  EXPECT_EQ(bad.scans.size(), 3u);
}

TEST_F(GivenUpTest, IsForgottenAfterMaxScanTime) {
  FakeClamd& fake = AddScanner();
  options_.scanners[0].limits.scan_time_max = milliseconds(100);
  StartAndConnect();
  FillAndGiveUp(fake);
  ASSERT_TRUE(Until([&] { return Count(0, ScannerCount::kInFlight) == 0; }));
  EXPECT_EQ(Count(0, ScannerCount::kGivenUp), 4u);
  EXPECT_TRUE(Until([&] { return Count(0, ScannerCount::kGivenUp) == 0; }));
}

TEST_F(GivenUpTest, IsForgottenWithAScannerThatIsDown) {
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  FillAndGiveUp(fake);
  ASSERT_TRUE(Until([&] { return Count(0, ScannerCount::kInFlight) == 0; }));
  EXPECT_EQ(Count(0, ScannerCount::kGivenUp), 4u);
  fake.Vanish();
  EXPECT_TRUE(Until([&] { return Count(0, ScannerCount::kGivenUp) == 0; }));
}

// clamd runs at most as many scans at once as it has threads.
TEST_F(GivenUpTest, IsNeverMoreThanTheScannerHasThreads) {
  FakeClamd& fake = AddScanner();
  options_.scanners[0].limits.threads_max = 2;
  StartAndConnect();
  FillAndGiveUp(fake);
  EXPECT_TRUE(Until([&] { return Count(0, ScannerCount::kInFlight) == 0; }));
  EXPECT_EQ(Count(0, ScannerCount::kGivenUp), 2u);
}

TEST_F(GivenUpTest, IsSaidOnceAMinute) {
  options_.connections = 2;
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  FillAndGiveUp(fake);
  ASSERT_TRUE(Until([&] { return Count(0, ScannerCount::kGivenUpSessions) == 2; }));
  ASSERT_EQ(said_.size(), 1u);
  EXPECT_THAT(said_[0], HasSubstr("scanner scanner-0: 4 scans that were given up"));
  EXPECT_THAT(said_[0], HasSubstr("8 such scans of this worker, with 10 (assumed) threads"));
  EXPECT_THAT(said_[0], HasSubstr("What to do: "));
}

// A scanner that is removed from the settings ends, whatever it still has.
TEST_F(GivenUpTest, DoesNotHoldAScannerThatIsTakenOut) {
  FakeClamd& fake = AddScanner();
  AddScanner();
  StartAndConnect();
  Message& message = Submit();
  Message& second = Submit();
  ASSERT_TRUE(Until([&] { return fake.scans.size() + fakes_[1]->scans.size() == 2; }));
  GiveUp(message);
  GiveUp(second);
  std::vector<ScannerStats*> stats = {stats_[1].get()};
  options_.scanners.erase(options_.scanners.begin());
  pool_->Change(options_, stats);
  EXPECT_TRUE(Until([&] { return fake.open_connections() == 0; }));
  EXPECT_EQ(Count(0, ScannerCount::kInFlight), 0u);
  EXPECT_EQ(Count(0, ScannerCount::kGivenUp), 0u);
}

// The same for a connection, while the others have places.
TEST_F(GivenUpTest, DoesNotHoldAConnectionThatIsTakenOut) {
  options_.given_up_with_room = std::chrono::seconds(60);
  options_.connections = 2;
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  for (int i = 0; i < 2; ++i) Submit();
  ASSERT_TRUE(Scans(fake, 2));
  ASSERT_NE(fake.scans[0].connection, fake.scans[1].connection);
  for (auto& message : messages_) GiveUp(*message);
  std::vector<ScannerStats*> stats = {stats_[0].get()};
  options_.connections = 1;
  pool_->Change(options_, stats);
  EXPECT_TRUE(Until([&] { return fake.open_connections() == 1; }));
  Settle(kAlone * 2);
  EXPECT_EQ(Count(0, ScannerCount::kInFlight), 1u) << "where there are places it has time";
}

// A message that waits for a given-up scan of its content is scanned itself when that session is closed.
TEST_F(GivenUpTest, WhoWaitsForTheSameContentIsScannedThen) {
  options_.remember_after = milliseconds(10);
  options_.outstanding_max = 1;
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& first = Submit("the same");
  ASSERT_TRUE(Scans(fake, 1));
  Settle(milliseconds(40));
  Message& second = Submit("the same");
  Settle(milliseconds(20));
  EXPECT_EQ(pool_->waiting(), 0u);
  AnswerFromNowOn(fake);
  GiveUp(first);
  EXPECT_TRUE(Clean(second));
  EXPECT_EQ(fake.scans.size(), 2u);
}

TEST_F(GivenUpTest, WhoWaitsForTheSameContentIsScannedSoonWithPlacesLeft) {
  options_.remember_after = milliseconds(10);
  options_.given_up_with_room = std::chrono::seconds(60);
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& first = Submit("the same");
  ASSERT_TRUE(Scans(fake, 1));
  Settle(milliseconds(40));
  Message& second = Submit("the same");
  Settle(milliseconds(20));
  GiveUp(first);
  Settle(kShared / 2);
  EXPECT_EQ(fake.scans.size(), 1u) << "its answer may still come";
  AnswerFromNowOn(fake);
  EXPECT_TRUE(Clean(second));
  EXPECT_TRUE(Clean(Submit("the same"))) << "nobody else waits for it either";
  EXPECT_EQ(fake.scans.size(), 3u);
  EXPECT_EQ(fake.connections.size(), 1u);
}

TEST_F(GivenUpTest, WhoWaitsForTheSameContentAsAnotherScanHasNoBlameEither) {
  options_.remember_after = milliseconds(10);
  options_.outstanding_max = 3;
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& lost = Submit("lost");
  Submit("the same");
  Submit("third");
  ASSERT_TRUE(Scans(fake, 3));
  Settle(milliseconds(40));
  Message& copy = Submit("the same");
  Settle(milliseconds(20));
  EXPECT_EQ(pool_->waiting(), 0u);
  GiveUp(lost);
  Submit("waiting");
  ASSERT_TRUE(Scans(fake, 6));
  EXPECT_EQ(ReadAll(fake.scans[5].descriptor.get()), Image("the same"));
  fake.CloseAll();
  ASSERT_TRUE(Scans(fake, 9));
  EXPECT_FALSE(copy.request.done());
  for (size_t i = 6; i < 9; ++i) fake.ReplyOk(fake.scans[i]);
  EXPECT_TRUE(Clean(copy));
}

// The slower one of two scanners that had a message holds a place for it too.
TEST_F(GivenUpTest, TheLoserOfARaceIsGivenUp) {
  options_.hedge = true;
  options_.hedge_default = milliseconds(20);
  options_.outstanding_max = 1;
  AddScanner();
  AddScanner();
  StartAndConnect();
  Message& message = Submit();
  ASSERT_TRUE(Until([&] { return fakes_[0]->scans.size() + fakes_[1]->scans.size() == 2; }));
  fakes_[0]->ReplyOk(fakes_[0]->scans[0]);
  EXPECT_TRUE(Clean(message));
  GiveUp(message);
  EXPECT_TRUE(Until([&] { return Count(1, ScannerCount::kInFlight) == 0; }));
  EXPECT_EQ(Count(1, ScannerCount::kGivenUpSessions), 1u);
}

// --- Canaries.

TEST_F(GivenUpTest, ACanaryThatIsNotAnsweredDoesNotKeepTheMailAway) {
  for (Method method : {Method::kFildes, Method::kInstream}) {
    options_.canary = CanaryMode::kOn;
    options_.canary_patience = milliseconds(60);
    FakeClamd& fake = AddScanner(method);
    StartAndConnect();
    Message& message = Submit();
    ASSERT_TRUE(Scans(fake, method == Method::kFildes ? 6 : 3));  // over more than one session
    EXPECT_GT(Count(0, ScannerCount::kGivenUpSessions), 0u);
    fake.on_scan = [&fake](const FakeClamd::Scan& scan) {
      const std::string content = scan.stream() ? scan.content : ReadAll(scan.descriptor.get());
      const bool canary = content.find("X-Bivalve-Canary") != std::string::npos;
      fake.Reply(scan, core::Cat(scan.stream() ? "stream: " : "fd[9]: ", canary ? "Canary FOUND" : "OK"));
    };
    EXPECT_TRUE(Clean(message));
    EXPECT_EQ(Count(0, ScannerCount::kErrors), 0u);
    Forget();
  }
}

// If a second canary cannot be sent on the same session.
TEST_F(GivenUpTest, ACanaryThatTakesLongIsWaitedForLongerEachTime) {
  constexpr milliseconds kLate(150);
  options_.canary = CanaryMode::kOn;
  options_.canary_patience = milliseconds(40);
  options_.given_up_alone = milliseconds(5);
  FakeClamd& fake = AddScanner(Method::kInstream);
  std::vector<std::pair<core::MonoTime, size_t>> due;
  fake.on_scan = [&](const FakeClamd::Scan&) {
    due.emplace_back(loop_->Now() + kLate, fake.scans.size() - 1);
  };
  Start();
  ASSERT_TRUE(Until([&] {
    for (; !due.empty() && due.front().first <= loop_->Now(); due.erase(due.begin()))
      fake.Reply(fake.scans[due.front().second], "stream: Canary FOUND");
    return Count(0, ScannerCount::kCanary) == static_cast<uint64_t>(CanaryState::kFound);
  }));
  EXPECT_GT(Count(0, ScannerCount::kGivenUpSessions), 0u);
}

// One of two connections asks often, so that we notice at once when a scanner is well again.
TEST_F(GivenUpTest, OneOfTwoConnectionsStaysImpatient) {
  constexpr milliseconds kPatience(60);
  options_.canary = CanaryMode::kOn;
  options_.canary_patience = kPatience;
  options_.given_up_alone = milliseconds(5);
  options_.connections = 2;
  AddScanner(Method::kInstream);
  StartAndConnect();
  ASSERT_TRUE(Until([&] { return Count(0, ScannerCount::kGivenUpSessions) >= 12; }));
  const uint64_t closed = Count(0, ScannerCount::kGivenUpSessions);
  const core::MonoTime began = loop_->Now();
  ASSERT_TRUE(Until([&] { return Count(0, ScannerCount::kGivenUpSessions) >= closed + 6; }));
  EXPECT_LT(loop_->Now() - began, kPatience * 16) << "if both took eight times as long, 24";
}

// The first canary of a slow scanner keeps its place in the scanner's own queue.
TEST_F(GivenUpTest, ALateAnswerToTheFirstCanaryIsTaken) {
  options_.canary = CanaryMode::kOn;
  options_.canary_patience = milliseconds(60);
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& message = Submit("content");
  ASSERT_TRUE(Scans(fake, 3));
  ASSERT_EQ(fake.connections.size(), 1u);
  fake.Reply(fake.scans[0], "fd[9]: Canary FOUND");
  ASSERT_TRUE(Scans(fake, 4));
  EXPECT_EQ(ReadAll(fake.scans[3].descriptor.get()), Image("content"));
  fake.ReplyOk(fake.scans[3]);
  EXPECT_TRUE(Clean(message));
}

}  // namespace
}  // namespace bivalve::scan
