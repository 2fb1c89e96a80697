#include "core/published.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>

namespace bivalve::core {
namespace {

struct Value {
  uint64_t number = 0;
  std::array<uint64_t, 30> copies = {};
  char last = 0;
};

TEST(Published, IsAValueFromTheStart) {
  const Published<Value> published;
  EXPECT_EQ(published.Get().number, 0u);
}

TEST(Published, GivesWhatWasSetLast) {
  Published<Value> published;
  Value value;
  value.number = 7;
  value.last = 'x';
  published.Set(value);
  EXPECT_EQ(published.Get().number, 7u);
  EXPECT_EQ(published.Get().last, 'x');
}

// The owner never waits for the readers, and no reader sees two values mixed.
TEST(Published, IsNeverHalfOfAValue) {
  Published<Value> published;
  std::atomic<bool> stop = false;
  std::thread owner([&published, &stop] {
    Value value;
    while (!stop.load(std::memory_order_relaxed)) {
      ++value.number;
      value.copies.fill(value.number);
      value.last = static_cast<char>(value.number);
      published.Set(value);
    }
  });
  uint64_t before = 0;
  for (int i = 0; i < 20'000; ++i) {
    const Value value = published.Get();
    for (const uint64_t copy : value.copies) ASSERT_EQ(copy, value.number);
    ASSERT_EQ(value.last, static_cast<char>(value.number));
    ASSERT_GE(value.number, before);
    before = value.number;
  }
  stop = true;
  owner.join();
}

}  // namespace
}  // namespace bivalve::core
