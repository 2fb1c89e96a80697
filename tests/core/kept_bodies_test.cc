#include "core/kept_bodies.h"

#include <gtest/gtest.h>

#include "tests/core/body_fixture.h"

namespace bivalve::core {
namespace {

class KeptBodiesTest : public testing::Test, protected BodyHarness {
 protected:
  // Keeps a body from the pool with at least `bytes` ready. Returns its number.
  uint64_t Put(uint64_t bytes) {
    std::unique_ptr<Body> body = Acquire();
    EXPECT_TRUE(Fill(*body, Pattern(bytes - TestFront().size())));
    const uint64_t number = body->number();
    kept_.Put(std::move(body));
    return number;
  }
  // The pool must get its bodies back.
  uint64_t Take(std::unique_ptr<Body> body) {
    if (body == nullptr) return kNone;
    const uint64_t number = body->number();
    pool_->Discard(std::move(body));
    return number;
  }
  void TearDown() override {
    while (Take(kept_.TakeLargest()) != kNone) {
    }
  }

  static constexpr uint64_t kNone = ~uint64_t{0};
  KeptBodies kept_;
};

TEST_F(KeptBodiesTest, KnowsClasses) {
  EXPECT_EQ(KeptBodies::ClassOf(0), 0u);
  EXPECT_EQ(KeptBodies::ClassOf(256 * kKibi), 0u);
  EXPECT_EQ(KeptBodies::ClassOf(256 * kKibi + 1), 1u);
  EXPECT_EQ(KeptBodies::ClassOf(2 * kMebi), 1u);
  EXPECT_EQ(KeptBodies::ClassOf(2 * kMebi + 1), 2u);
  EXPECT_EQ(KeptBodies::ClassOf(~uint64_t{0}), 2u);
}

TEST_F(KeptBodiesTest, GivesTheOneUsedLastOfItsClass) {
  const uint64_t first = Put(2000);
  const uint64_t large = Put(kMebi);
  const uint64_t second = Put(2000);
  EXPECT_EQ(kept_.count(), 3u);
  EXPECT_EQ(kept_.bytes(), (64 + 64 + 1024) * kKibi);
  EXPECT_EQ(Take(kept_.Take(2)), kNone);
  EXPECT_EQ(Take(kept_.Take(0)), second);
  EXPECT_EQ(Take(kept_.Take(1)), large);
  EXPECT_EQ(Take(kept_.Take(1)), kNone);
  EXPECT_EQ(Take(kept_.Take(0)), first);
  EXPECT_EQ(kept_.bytes(), 0u);
  EXPECT_EQ(kept_.count(), 0u);
}

TEST_F(KeptBodiesTest, TakesTheLargestFirst) {
  const uint64_t small = Put(2000);
  const uint64_t huge = Put(3 * kMebi);
  const uint64_t large = Put(kMebi);
  EXPECT_EQ(Take(kept_.TakeLargest()), huge);
  EXPECT_EQ(Take(kept_.TakeLargest()), large);
  EXPECT_EQ(Take(kept_.TakeLargest()), small);
  EXPECT_EQ(Take(kept_.TakeLargest()), kNone);
}

TEST_F(KeptBodiesTest, WhatWasNotTakenForAPeriodIsUnused) {
  const uint64_t oldest = Put(2000);
  const uint64_t older = Put(2000);
  Put(2000);
  EXPECT_EQ(Take(kept_.TakeUnused()), kNone);
  kept_.EndPeriod();
  EXPECT_EQ(Take(kept_.TakeUnused()), kNone) << "they came in the period that ended";
  // In this period one at a time is enough.
  for (int i = 0; i < 5; ++i) kept_.Put(kept_.Take(0));
  kept_.EndPeriod();
  EXPECT_EQ(Take(kept_.TakeUnused()), oldest);
  EXPECT_EQ(Take(kept_.TakeUnused()), older);
  EXPECT_EQ(Take(kept_.TakeUnused()), kNone);
  EXPECT_EQ(kept_.count(), 1u);
}

TEST_F(KeptBodiesTest, WhatIsTakenIsNotUnusedAnyMore) {
  for (int i = 0; i < 3; ++i) Put(2000);
  kept_.EndPeriod();
  kept_.EndPeriod();
  std::unique_ptr<Body> first = kept_.Take(0);
  std::unique_ptr<Body> second = kept_.Take(0);
  kept_.Put(std::move(first));
  kept_.Put(std::move(second));
  EXPECT_NE(Take(kept_.TakeUnused()), kNone);
  EXPECT_EQ(Take(kept_.TakeUnused()), kNone);
}

}  // namespace
}  // namespace bivalve::core
