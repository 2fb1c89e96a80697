// How long the pool keeps freed bodies, in simulated time.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "core/body_pool.h"
#include "tests/core/body_fixture.h"
#include "tests/sim/sim_io.h"

namespace bivalve::core {
namespace {

class BodyKeeping : public testing::Test, protected BodyHarness {
 protected:
  BodyKeeping() : BodyHarness(std::make_unique<sim::SimIo>(1)) {}

  void Pass(Duration time) {
    const MonoTime end = loop_.Now() + time;
    while (loop_.Now() < end) loop_.Turn(end);
  }
  // This many messages at once, each a little over 1 MiB, so that 2 MiB are ready.
  void Messages(int count) {
    std::vector<std::unique_ptr<Body>> bodies;
    for (int i = 0; i < count; ++i) bodies.push_back(Acquire(kMebi));
    for (auto& body : bodies) ASSERT_TRUE(Fill(*body, Pattern(kMebi)));
    for (auto& body : bodies) pool_->Release(std::move(body));
  }
};

// Forty messages at once, then four at a time: the pages of forty stay until four were enough for a whole
// period. After that only those stay that are always kept.
TEST_F(BodyKeeping, KeepsAsManyAsWereNeededLately) {
  BodyPool::Options options = DefaultOptions();
  options.kept_bytes_always = 2 * kMebi;
  options.kept_unused_max = std::chrono::seconds(5);
  MakePool(options);
  Messages(40);
  EXPECT_EQ(pool_->memory_bytes(), 40 * 2 * kMebi);
  Pass(std::chrono::milliseconds(4900));
  Messages(40);  // they were needed; unused ones show in the next period
  EXPECT_EQ(pool_->memory_bytes(), 40 * 2 * kMebi);
  Pass(std::chrono::milliseconds(4900));
  Messages(4);
  EXPECT_EQ(pool_->memory_bytes(), 40 * 2 * kMebi);
  Pass(std::chrono::milliseconds(2000));  // in steps of 16 MiB, 50 ms between them
  EXPECT_EQ(pool_->memory_bytes(), 4 * 2 * kMebi);
  Pass(std::chrono::seconds(11));
  EXPECT_EQ(pool_->memory_bytes(), 2 * kMebi);
}

TEST_F(BodyKeeping, GivesPagesBackInSteps) {
  BodyPool::Options options = DefaultOptions();
  options.kept_bytes_always = 0;
  MakePool(options);
  Messages(40);
  Pass(options.kept_unused_max);  // the last messages came in this period
  Pass(options.kept_unused_max + 2 * TimerWheel::kTick);
  EXPECT_EQ(pool_->memory_bytes(), (40 - 1 - 8) * 2 * kMebi);
  Pass(std::chrono::milliseconds(60));
  EXPECT_EQ(pool_->memory_bytes(), (40 - 1 - 16) * 2 * kMebi);
  Pass(std::chrono::seconds(1));
  EXPECT_EQ(pool_->memory_bytes(), 0u);
}

TEST_F(BodyKeeping, GivesBackWhatIsAboveANewBudget) {
  Messages(40);
  pool_->set_memory_bytes_max(10 * kMebi);
  Pass(2 * TimerWheel::kTick);
  EXPECT_EQ(pool_->memory_bytes(), (40 - 8) * 2 * kMebi);
  Pass(std::chrono::seconds(1));
  EXPECT_EQ(pool_->memory_bytes(), 10 * kMebi);
}

TEST_F(BodyKeeping, ChargesNoPagesThatASealGaveBack) {
  std::unique_ptr<Body> body = Acquire();
  ASSERT_TRUE(Fill(*body, Pattern(5 * kMebi)));
  EXPECT_EQ(pool_->memory_bytes(), 6 * kMebi);
  const uint64_t number = body->number();
  pool_->Release(std::move(body));
  body = Acquire(3 * kMebi);
  ASSERT_EQ(body->number(), number);
  ASSERT_TRUE(Fill(*body, Pattern(100 * kKibi)));
  ASSERT_GE(body->SealForScan(), 0);
  pool_->Release(std::move(body));
  EXPECT_EQ(pool_->memory_bytes(), 256 * kKibi);
  // The pool grows again as before.
  body = Acquire();
  ASSERT_EQ(body->number(), number);
  const std::string content = Pattern(5 * kMebi, 7);
  ASSERT_TRUE(Fill(*body, content));
  EXPECT_TRUE(body->content() == content);
  EXPECT_EQ(pool_->memory_bytes(), 6 * kMebi);
  pool_->Release(std::move(body));
}

// Large bodies that nobody needs do not keep small ones out for ever, even if few may be kept.
TEST_F(BodyKeeping, LargeBodiesMakeWayForSmallOnes) {
  BodyPool::Options options = DefaultOptions();
  options.kept_bodies_max = 16;
  MakePool(options);
  Messages(16);
  Pass(std::chrono::seconds(15));
  std::unique_ptr<Body> body = Acquire();
  const uint64_t number = body->number();
  pool_->Release(std::move(body));
  body = Acquire();
  EXPECT_EQ(body->number(), number);
  pool_->Release(std::move(body));
}

// Nothing is checked while the pool keeps no more than it always keeps.
TEST_F(BodyKeeping, LetsAQuietWorkerSleep) {
  Messages(4);
  EXPECT_EQ(loop_.timers().Next(), kNever);
  std::vector<std::unique_ptr<Body>> bodies;
  for (int i = 0; i < 129; ++i) bodies.push_back(Acquire());
  for (auto& body : bodies) pool_->Release(std::move(body));
  EXPECT_NE(loop_.timers().Next(), kNever);
  Pass(std::chrono::seconds(30));
  EXPECT_EQ(loop_.timers().Next(), kNever);
}

}  // namespace
}  // namespace bivalve::core
