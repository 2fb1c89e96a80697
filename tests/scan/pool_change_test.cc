// New scanners and settings for a pool that is working (ClamdPool::Change).
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/scan/pool_fixture.h"

namespace bivalve::scan {
namespace {

class PoolChange : public PoolFixture {
 protected:
  // Gives the pool the scanners with these indexes of the fixture.
  void Change(const std::vector<size_t>& wanted) {
    ClamdPool::Options options = options_;
    options.scanners.clear();
    std::vector<ScannerStats*> stats;
    for (const size_t i : wanted) {
      options.scanners.push_back(options_.scanners[i]);
      stats.push_back(stats_[i].get());
    }
    pool_->Change(options, stats);
  }
  static void FindCanaries(FakeClamd& fake) {
    fake.on_scan = [&fake](const FakeClamd::Scan& scan) {
      const std::string image = scan.stream() ? scan.content : ReadAll(scan.descriptor.get());
      if (image == Image(CanaryContent()))
        fake.Reply(scan, scan.stream() ? "stream: Eicar FOUND" : "fd[9]: Eicar FOUND");
    };
  }
  bool Connected(size_t scanner, uint64_t connections) {
    return Until([&] { return Count(scanner, ScannerCount::kConnections) == connections; });
  }
};

TEST_F(PoolChange, LeavesAScannerThatStaysUndisturbed) {
  FakeClamd& stays = AddScanner();
  FakeClamd& comes = AddScanner();
  std::vector<ScannerOptions> all = options_.scanners;
  options_.scanners.resize(1);
  auto later = std::move(stats_.back());
  stats_.pop_back();
  StartAndConnect();
  Message& message = Submit();
  ASSERT_TRUE(Scans(stays, 1));
  options_.scanners = all;
  stats_.push_back(std::move(later));
  Change({1, 0});
  ASSERT_TRUE(Connected(1, 1));
  stays.ReplyOk(stays.scans[0]);
  EXPECT_TRUE(Clean(message));
  EXPECT_EQ(stays.connections.size(), 1u);
  EXPECT_EQ(Count(0, ScannerCount::kConnects), 1u);
  // Both scanners get mail.
  Message& one = Submit();
  Message& two = Submit();
  ASSERT_TRUE(Scans(stays, 2) && Scans(comes, 1));
  stays.ReplyOk(stays.scans[1]);
  comes.ReplyOk(comes.scans[0]);
  EXPECT_TRUE(Clean(one) && Clean(two));
}

TEST_F(PoolChange, GivesMailToANewScannerOnlyWhenItHasProvenItself) {
  options_.canary = CanaryMode::kOn;
  FakeClamd& old = AddScanner();
  FakeClamd& fresh = AddScanner();
  FindCanaries(old);
  Start();
  ASSERT_TRUE(Connected(1, 1));
  StopThePool();
  stopped_ = false;
  // Starts again with only the first scanner.
  const std::vector<ScannerOptions> all = options_.scanners;
  options_.scanners.resize(1);
  std::vector<ScannerStats*> stats = {stats_[0].get()};
  pool_ = std::make_unique<ClamdPool>(*loop_, *bodies_, options_, stats);
  pool_->Start();
  options_.scanners = all;
  ASSERT_TRUE(Until([&] { return pool_->up(); }));
  const size_t before = fresh.scans.size();
  Change({1});
  Message& message = Submit();
  ASSERT_TRUE(Scans(fresh, before + 1));
  Settle();
  EXPECT_EQ(fresh.scans.size(), before + 1);  // only the canary
  fresh.Reply(fresh.scans[before], "fd[9]: Eicar FOUND");
  ASSERT_TRUE(Scans(fresh, before + 2));
  fresh.ReplyOk(fresh.scans[before + 1]);
  EXPECT_TRUE(Clean(message));
}

TEST_F(PoolChange, ARemovedScannerAnswersForWhatItHas) {
  FakeClamd& goes = AddScanner();
  FakeClamd& stays = AddScanner();
  StartAndConnect();
  // One message each.
  Message& one = Submit();
  Message& two = Submit();
  ASSERT_TRUE(Scans(goes, 1) && Scans(stays, 1));
  Change({1});
  Message& three = Submit();
  ASSERT_TRUE(Scans(stays, 2));
  EXPECT_EQ(Count(0, ScannerCount::kUp), 0u);
  EXPECT_EQ(Count(0, ScannerCount::kConnections), 1u);
  goes.ReplyOk(goes.scans[0]);
  stays.ReplyOk(stays.scans[0]);
  stays.ReplyOk(stays.scans[1]);
  EXPECT_TRUE(Clean(one) && Clean(two) && Clean(three));
  EXPECT_TRUE(Connected(0, 0));
  EXPECT_EQ(goes.scans.size(), 1u);
  EXPECT_EQ(Count(0, ScannerCount::kScans), 1u);
  // When it is back, it continues counting.
  Change({0, 1});
  ASSERT_TRUE(Connected(0, 1));
  EXPECT_EQ(Count(0, ScannerCount::kConnects), 2u);
}

TEST_F(PoolChange, AMessageOfARemovedScannerThatBreaksGoesToAnother) {
  FakeClamd& goes = AddScanner();
  FakeClamd& comes = AddScanner();
  StartAndConnect();
  Change({0});
  ASSERT_TRUE(Connected(1, 0));
  Message& message = Submit();
  ASSERT_TRUE(Scans(goes, 1));
  Change({1});
  goes.Close(goes.scans[0].connection);
  ASSERT_TRUE(Scans(comes, 1));
  comes.ReplyOk(comes.scans[0]);
  EXPECT_TRUE(Clean(message));
}

TEST_F(PoolChange, HoldsAsManyConnectionsAsItIsTold) {
  FakeClamd& fake = AddScanner();
  options_.connections = 3;
  StartAndConnect();
  Message& message = Submit();
  ASSERT_TRUE(Scans(fake, 1));
  options_.connections = 1;
  Change({0});
  ASSERT_TRUE(Until([&] { return Count(0, ScannerCount::kConnections) <= 2; }));
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(message));
  ASSERT_TRUE(Connected(0, 1));
  options_.connections = 4;
  Change({0});
  ASSERT_TRUE(Connected(0, 4));
}

TEST_F(PoolChange, AsksForProofFromTheMomentThatItIsToldTo) {
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  ASSERT_TRUE(Until([&] { return pool_->up(); }));
  options_.canary = CanaryMode::kOn;
  Change({0});
  EXPECT_FALSE(pool_->up());
  Message& message = Submit();
  ASSERT_TRUE(Scans(fake, 1));
  Settle();
  ASSERT_EQ(fake.scans.size(), 1u);
  fake.Reply(fake.scans[0], "fd[9]: Eicar FOUND");
  ASSERT_TRUE(Scans(fake, 2));
  fake.ReplyOk(fake.scans[1]);
  EXPECT_TRUE(Clean(message));
  options_.canary = CanaryMode::kOff;
  Change({0});
  EXPECT_TRUE(pool_->up());
  EXPECT_EQ(Count(0, ScannerCount::kCanary), static_cast<uint64_t>(CanaryState::kOff));
}

TEST_F(PoolChange, SendsInTheOtherWayWithoutLosingAMessage) {
  FakeClamd& fake = AddScanner(Method::kFildes);
  StartAndConnect();
  Message& message = Submit();
  ASSERT_TRUE(Scans(fake, 1));
  EXPECT_FALSE(fake.scans[0].stream());
  options_.scanners[0].method = Method::kInstream;
  Change({0});
  Message& next = Submit();
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(message));
  ASSERT_TRUE(Scans(fake, 2));
  EXPECT_TRUE(fake.scans[1].stream());
  fake.ReplyOk(fake.scans[1]);
  EXPECT_TRUE(Clean(next));
}

TEST_F(PoolChange, WhenNobodyOfTheNewOnesAnswersTheMessagesAreTold) {
  FakeClamd& old = AddScanner();
  FakeClamd& gone = AddScanner();
  StartAndConnect();
  gone.Vanish();
  Change({1});
  Message& message = Submit();
  EXPECT_TRUE(None(message, NoVerdict::kDown));
  EXPECT_TRUE(old.scans.empty());
}

}  // namespace
}  // namespace bivalve::scan
