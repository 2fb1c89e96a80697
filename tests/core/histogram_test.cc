#include "core/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

#include "tests/sim/sim_io.h"

namespace bivalve::core {
namespace {

TEST(Histogram, PutsEveryValueBetweenItsBucketsBounds) {
  sim::Random random(1);
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t value = random.Next() >> (32 + random.Below(32));
    const size_t bucket = Histogram::BucketOf(value);
    ASSERT_LT(bucket, Histogram::kBuckets);
    ASSERT_LE(Histogram::LowerBound(bucket), value);
    if (bucket + 1 < Histogram::kBuckets) {
      ASSERT_GT(Histogram::LowerBound(bucket + 1), value);
    }
  }
}

TEST(Histogram, HasNoGapsBetweenBuckets) {
  for (size_t bucket = 0; bucket < Histogram::kBuckets; ++bucket) {
    ASSERT_EQ(Histogram::BucketOf(Histogram::LowerBound(bucket)), bucket);
    if (bucket > 0) {
      ASSERT_EQ(Histogram::BucketOf(Histogram::LowerBound(bucket) - 1), bucket - 1);
    }
  }
}

TEST(Histogram, CountsWhatIsTooLongAsTheLongest) {
  EXPECT_EQ(Histogram::BucketOf(UINT64_MAX), Histogram::kBuckets - 1);
  Histogram histogram;
  histogram.Record(uint64_t{1} << 40);
  const Histogram::Snapshot snapshot = histogram.Read();
  EXPECT_EQ(snapshot.count, 1u);
  EXPECT_EQ(snapshot.max, uint64_t{1} << 40);
}

TEST(Histogram, IsZeroWhenNothingWasRecorded) {
  const Histogram::Snapshot snapshot = Histogram().Read();
  EXPECT_EQ(snapshot.Percentile(0.5), 0u);
  EXPECT_EQ(snapshot.Mean(), 0u);
  EXPECT_EQ(snapshot.CountUpTo(1000), 0u);
}

TEST(Histogram, IsExactForSmallValues) {
  Histogram histogram;
  for (uint64_t value = 1; value <= 10; ++value) histogram.Record(value);
  const Histogram::Snapshot snapshot = histogram.Read();
  for (uint64_t value = 1; value <= 10; ++value) {
    EXPECT_EQ(snapshot.Percentile(static_cast<double>(value) / 10), value);
    EXPECT_EQ(snapshot.CountUpTo(value), value);
  }
  EXPECT_EQ(snapshot.Percentile(0), 1u);
  EXPECT_EQ(snapshot.Mean(), 5u);
  EXPECT_EQ(snapshot.sum, 55u);
}

// The bound that the header promises, against the sorted values, for several shapes of distribution.
TEST(Histogram, PercentilesAreOffByAtMostSixPercent) {
  for (uint64_t shape = 0; shape < 5; ++shape) {
    sim::Random random(shape);
    Histogram histogram;
    std::vector<uint64_t> values;
    for (int i = 0; i < 20'000; ++i) {
      const double uniform = static_cast<double>(random.Below(1'000'000) + 1) / 1e6;
      uint64_t value = 0;
      switch (shape) {
        case 0:
          value = random.Below(4'000'000'000);
          break;
        case 1:
          value = static_cast<uint64_t>(-std::log(uniform) * 5000);
          break;
        case 2:
          value = static_cast<uint64_t>(1 / uniform);
          break;
        case 3:
          value = random.Chance(0.01) ? 10'000'000 + random.Below(1000) : 100 + random.Below(10);
          break;
        default:
          value = 12345;
      }
      values.push_back(value);
      histogram.Record(value);
    }
    std::sort(values.begin(), values.end());
    const Histogram::Snapshot snapshot = histogram.Read();
    for (double fraction : {0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0}) {
      const auto rank = std::max<size_t>(1, static_cast<size_t>(std::ceil(fraction * 20'000)));
      const auto exact = static_cast<double>(values[rank - 1]);
      EXPECT_NEAR(static_cast<double>(snapshot.Percentile(fraction)), exact, exact * 0.0625 + 0.5)
          << "shape " << shape << ", fraction " << fraction;
      EXPECT_LE(snapshot.Percentile(fraction), snapshot.max);
    }
  }
}

TEST(Histogram, SnapshotsAddUp) {
  Histogram a;
  Histogram b;
  for (int i = 0; i < 30; ++i) a.Record(10);
  for (int i = 0; i < 70; ++i) b.Record(1000);
  Histogram::Snapshot both = a.Read();
  both.Add(b.Read());
  EXPECT_EQ(both.count, 100u);
  EXPECT_EQ(both.sum, 30u * 10 + 70u * 1000);
  EXPECT_EQ(both.max, 1000u);
  EXPECT_EQ(both.Percentile(0.3), 10u);
  EXPECT_GT(both.Percentile(0.31), 900u);
  EXPECT_EQ(both.CountUpTo(10), 30u);
  EXPECT_EQ(both.CountUpTo(2000), 100u);
}

TEST(Histogram, CanBeReadWhileTheOwnerRecords) {
  Histogram histogram;
  std::atomic<bool> stop = false;
  std::thread reader([&] {
    uint64_t last = 0;
    while (!stop) {
      const Histogram::Snapshot snapshot = histogram.Read();
      ASSERT_GE(snapshot.count, last);
      last = snapshot.count;
    }
  });
  for (uint64_t i = 0; i < 100'000; ++i) histogram.Record(i);
  stop = true;
  reader.join();
  EXPECT_EQ(histogram.Read().count, 100'000u);
}

}  // namespace
}  // namespace bivalve::core
