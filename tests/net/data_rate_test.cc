#include "net/data_rate.h"

#include <gtest/gtest.h>

namespace bivalve::net {
namespace {

using std::chrono::seconds;

constexpr core::MonoTime kStart{seconds(1000)};

TEST(DataRate, APauseThatTimeOutAllowsIsAllowed) {
  DataRate rate;
  rate.Start(kStart, seconds(180));
  rate.Add(DataRate::kBytesPerSecondMin * 180);
  EXPECT_EQ(rate.Deadline(), core::kNever);
  EXPECT_TRUE(rate.Check(kStart + seconds(180)));
  // The next interval begins behind the pause.
  EXPECT_EQ(rate.Deadline(), kStart + seconds(360));
}

TEST(DataRate, AByteNowAndThenIsTooSlow) {
  DataRate rate;
  rate.Start(kStart, seconds(180));
  for (int i = 1; i < 180; ++i) {
    rate.Add(1);
    EXPECT_TRUE(rate.Check(kStart + seconds(i)));
  }
  EXPECT_EQ(rate.Deadline(), kStart + seconds(180));
  EXPECT_FALSE(rate.Check(kStart + seconds(180)));
  EXPECT_FALSE(rate.silent());
}

TEST(DataRate, AModemIsFastEnough) {  // 2,400 bit/s
  DataRate rate;
  rate.Start(kStart, seconds(60));
  for (int i = 1; i < 3600; ++i) {
    rate.Add(240);
    EXPECT_TRUE(rate.Check(kStart + seconds(i))) << i;
  }
}

TEST(DataRate, TimeInWhichWeDidNotReadDoesNotCount) {
  DataRate rate;
  rate.Start(kStart, seconds(60));
  rate.Forgive(kStart + seconds(50));
  EXPECT_TRUE(rate.Check(kStart + seconds(100)));
  EXPECT_FALSE(rate.Check(kStart + seconds(110)));
  EXPECT_TRUE(rate.silent());
}

}  // namespace
}  // namespace bivalve::net
