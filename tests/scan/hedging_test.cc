// Hedging: a second scanner is asked for messages that the first one has had for long. Whose answer counts,
// and who holds the body.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/scan/pool_fixture.h"

namespace bivalve::scan {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class HedgingTest : public PoolFixture {
 protected:
  HedgingTest() {
    options_.hedge_default = milliseconds(30);
    options_.watch_interval = milliseconds(5);
    options_.say = [this](bool, std::string text) { said_.push_back(std::move(text)); };
  }
  // A message that both scanners have.
  Message& Hedged() {
    Message& message = Submit();
    BV_CHECK(Until([&] { return fakes_[0]->scans.size() + fakes_[1]->scans.size() == 2; }));
    BV_CHECK(fakes_[0]->scans.size() == 1);
    first_ = Count(0, ScannerCount::kHedges) == 1 ? 1 : 0;
    return message;
  }
  FakeClamd& first() { return *fakes_[first_]; }
  FakeClamd& second() { return *fakes_[1 - first_]; }
  void End(Message& message) {
    pool_->Release(message.request, std::move(message.body));
    Settle(milliseconds(5));
  }

  size_t first_ = 0;
  std::vector<std::string> said_;
};

TEST_F(HedgingTest, AsksTheOtherScannerAndTakesTheFirstAnswer) {
  AddScanner();
  AddScanner();
  StartAndConnect();
  Message& message = Hedged();
  second().ReplyOk(second().scans[0]);
  EXPECT_TRUE(Clean(message));
  End(message);
  EXPECT_EQ(bodies_->bodies_out(), 1u) << "the first scanner still reads it";
  first().ReplyOk(first().scans[0]);
  EXPECT_TRUE(Until([&] { return bodies_->bodies_out() == 0; }));
  EXPECT_EQ(Count(0, ScannerCount::kHedges) + Count(1, ScannerCount::kHedges), 1u);
}

TEST_F(HedgingTest, AnInfectedAnswerWinsUntilTheFirstIsActedOn) {
  AddScanner();
  AddScanner();
  StartAndConnect();
  Message& message = Hedged();
  first().ReplyOk(first().scans[0]);
  ASSERT_TRUE(Done(message));
  second().Reply(second().scans[0], "fd[9]: Worm FOUND");
  Settle();
  EXPECT_EQ(message.request.verdict().kind, VerdictKind::kInfected);
  EXPECT_EQ(message.request.verdict().text, "Worm");
  EXPECT_TRUE(said_.empty());
  End(message);
}

TEST_F(HedgingTest, AnInfectedAnswerThatComesTooLateIsSaid) {
  AddScanner();
  AddScanner();
  StartAndConnect();
  Message& message = Hedged();
  first().ReplyOk(first().scans[0]);
  EXPECT_TRUE(Clean(message));
  second().Reply(second().scans[0], "fd[9]: Worm FOUND");
  Settle();
  EXPECT_EQ(message.request.verdict().kind, VerdictKind::kClean);
  EXPECT_EQ(said_.size(), 1u);
  End(message);
}

TEST_F(HedgingTest, WhatIsNoVerdictWaitsForTheOther) {
  AddScanner();
  AddScanner();
  StartAndConnect();
  Message& message = Hedged();
  first().Reply(first().scans[0], "fd[9]: Can't allocate memory ERROR");
  Settle();
  EXPECT_FALSE(message.request.done());
  second().ReplyOk(second().scans[0]);
  EXPECT_TRUE(Clean(message));
  End(message);
}

TEST_F(HedgingTest, TwoThatAreNoVerdictsAreOne) {
  AddScanner();
  AddScanner();
  StartAndConnect();
  Message& message = Hedged();
  first().Reply(first().scans[0], "fd[9]: Can't allocate memory ERROR");
  Settle();
  second().CloseAll();
  EXPECT_TRUE(None(message, NoVerdict::kError));
  End(message);
}

TEST_F(HedgingTest, AConnectionThatEndsLeavesItToTheOther) {
  AddScanner();
  AddScanner();
  StartAndConnect();
  Message& message = Hedged();
  first().CloseAll();
  Settle();
  EXPECT_FALSE(message.request.done());
  EXPECT_EQ(second().scans.size(), 1u);
  second().ReplyOk(second().scans[0]);
  EXPECT_TRUE(Clean(message));
  End(message);
}

TEST_F(HedgingTest, TwoConnectionsThatEndAreEnough) {
  AddScanner();
  AddScanner();
  StartAndConnect();
  Message& message = Hedged();
  first().CloseAll();
  second().CloseAll();
  EXPECT_TRUE(None(message, NoVerdict::kError));
  Settle();
  EXPECT_EQ(fakes_[0]->scans.size() + fakes_[1]->scans.size(), 2u);
  End(message);
}

TEST_F(HedgingTest, ASessionThatLeavesLeavesTheBodyToBoth) {
  AddScanner();
  AddScanner();
  StartAndConnect();
  Message& message = Hedged();
  End(message);
  EXPECT_EQ(bodies_->bodies_out(), 1u);
  second().ReplyOk(second().scans[0]);
  Settle();
  EXPECT_EQ(bodies_->bodies_out(), 1u);
  first().CloseAll();
  EXPECT_TRUE(Until([&] { return bodies_->bodies_out() == 0; }));
}

TEST_F(HedgingTest, KeepsToItsBudget) {
  options_.hedge_burst = 2;
  options_.hedge_percent = 0;
  AddScanner();
  AddScanner();
  StartAndConnect();
  for (int i = 0; i < 4; ++i) (void)Submit();
  Settle(milliseconds(150));
  EXPECT_EQ(fakes_[0]->scans.size() + fakes_[1]->scans.size(), 6u);
  for (auto& message : messages_) End(*message);
}

TEST_F(HedgingTest, IsNotForAStalledScanner) {
  options_.ping_interval = milliseconds(20);
  FakeClamd& one = AddScanner();
  FakeClamd& two = AddScanner();
  StartAndConnect();
  two.answers_pings = false;
  Settle(milliseconds(60));
  Message& message = Submit();
  ASSERT_TRUE(Scans(one, 1));
  Settle(milliseconds(40));
  EXPECT_EQ(two.scans.size(), 0u);
  End(message);
}

TEST_F(HedgingTest, StopsWithBothOutstanding) {
  AddScanner();
  AddScanner();
  StartAndConnect();
  Message& message = Hedged();
  StopThePool();
  EXPECT_TRUE(None(message, NoVerdict::kDown));
  End(message);
  EXPECT_EQ(bodies_->bodies_out(), 0u);
}

}  // namespace
}  // namespace bivalve::scan
