#include "core/patience.h"

#include <gtest/gtest.h>

namespace bivalve::core {
namespace {

using std::chrono::seconds;

constexpr MonoTime kStart{seconds(1000)};

TEST(Patience, APauseThatTimeOutAllowsIsAllowed) {
  Patience patience(seconds(180));
  patience.Start(kStart);
  patience.Add(Patience::kBytesPerSecondMin * 180);
  EXPECT_EQ(patience.Deadline(kStart + seconds(10)), kStart + seconds(190));
  EXPECT_TRUE(patience.Check(kStart + seconds(180)));
  // The next interval begins after the pause.
  EXPECT_EQ(patience.Deadline(kStart + seconds(200)), kStart + seconds(360));
}

TEST(Patience, AByteNowAndThenIsTooSlow) {
  Patience patience(seconds(180));
  patience.Start(kStart);
  for (int i = 1; i < 180; ++i) {
    patience.Add(1);
    EXPECT_TRUE(patience.Check(kStart + seconds(i)));
  }
  EXPECT_EQ(patience.Deadline(kStart + seconds(179)), kStart + seconds(180));
  EXPECT_FALSE(patience.Check(kStart + seconds(180)));
  EXPECT_FALSE(patience.silent());
}

TEST(Patience, AModemIsFastEnough) {  // 2,400 bit/s
  Patience patience(seconds(60));
  patience.Start(kStart);
  for (int i = 1; i < 3600; ++i) {
    patience.Add(240);
    EXPECT_TRUE(patience.Check(kStart + seconds(i))) << i;
  }
}

TEST(Patience, TimeInWhichWeDidNotReadDoesNotCount) {
  Patience patience(seconds(60));
  patience.Start(kStart);
  patience.Start(kStart + seconds(50));
  EXPECT_TRUE(patience.Check(kStart + seconds(100)));
  EXPECT_FALSE(patience.Check(kStart + seconds(110)));
  EXPECT_TRUE(patience.silent());
}

}  // namespace
}  // namespace bivalve::core
