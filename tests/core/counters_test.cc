#include "core/counters.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace bivalve::core {
namespace {

enum class Count : uint8_t { kOpened, kActive, kCount };

TEST(Counters, StartAtZeroAndAddUp) {
  Counters<Count> counters;
  EXPECT_EQ(counters.Get(Count::kOpened), 0u);
  counters.Add(Count::kOpened);
  counters.Add(Count::kOpened, 41);
  EXPECT_EQ(counters.Get(Count::kOpened), 42u);
  EXPECT_EQ(counters.Get(Count::kActive), 0u);
}

TEST(Counters, GaugesGoDownAgain) {
  Counters<Count> counters;
  counters.Add(Count::kActive, 3);
  counters.Subtract(Count::kActive);
  EXPECT_EQ(counters.Get(Count::kActive), 2u);
  counters.Subtract(Count::kActive, 2);
  EXPECT_EQ(counters.Get(Count::kActive), 0u);
  counters.Set(Count::kActive, 7);
  EXPECT_EQ(counters.Get(Count::kActive), 7u);
}

TEST(Counters, KeepToCacheLinesOfTheirOwn) {
  EXPECT_EQ(alignof(Counters<Count>), 64u);
  EXPECT_EQ(sizeof(Counters<Count>) % 64, 0u);
}

TEST(Counters, CanBeReadWhileTheOwnerCounts) {
  Counters<Count> counters;
  std::atomic<bool> stop = false;
  std::thread reader([&] {
    uint64_t last = 0;
    while (!stop) {
      const uint64_t now = counters.Get(Count::kOpened);
      ASSERT_GE(now, last);
      last = now;
    }
  });
  for (int i = 0; i < 100'000; ++i) counters.Add(Count::kOpened);
  stop = true;
  reader.join();
  EXPECT_EQ(counters.Get(Count::kOpened), 100'000u);
}

}  // namespace
}  // namespace bivalve::core
