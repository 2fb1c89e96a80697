#include "core/mailbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "core/ring.h"
#include "core/scope.h"
#include "tests/core/run_task.h"

namespace bivalve::core {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;

class MailboxTest : public testing::Test {
 protected:
  std::unique_ptr<Ring> ring_ = Ring::Open({}).value();
  Loop loop_{*ring_};
  Mailbox mailbox_;
};

TEST_F(MailboxTest, RunsWhatWasPostedBeforeInOrder) {
  std::vector<int> seen;
  for (int i = 0; i < 3; ++i) mailbox_.Post([&seen, i] { seen.push_back(i); });
  mailbox_.Post([this] { mailbox_.Close(); });
  RunTask(loop_, mailbox_.Run(loop_));
  EXPECT_THAT(seen, ElementsAre(0, 1, 2));
}

TEST_F(MailboxTest, AMessageMayPostAnother) {
  std::vector<int> seen;
  mailbox_.Post([&] {
    seen.push_back(1);
    mailbox_.Post([&] {
      seen.push_back(2);
      mailbox_.Close();
    });
  });
  RunTask(loop_, mailbox_.Run(loop_));
  EXPECT_THAT(seen, ElementsAre(1, 2));
}

TEST_F(MailboxTest, WakesAnOwnerThatSleeps) {
  std::thread::id ran_on;
  std::thread poster([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    mailbox_.Post([&] {
      ran_on = std::this_thread::get_id();
      mailbox_.Close();
    });
  });
  RunTask(loop_, mailbox_.Run(loop_));
  poster.join();
  EXPECT_EQ(ran_on, std::this_thread::get_id());
}

TEST_F(MailboxTest, KeepsTheOrderOfEachOfManyPosters) {
  constexpr int kPosters = 4;
  constexpr int kMessages = 5000;
  std::vector<int> next(kPosters, 0);
  int ended = 0;
  std::vector<std::thread> posters;
  for (int p = 0; p < kPosters; ++p) {
    posters.emplace_back([&, p] {
      for (int i = 0; i < kMessages; ++i) {
        mailbox_.Post([&, p, i] {
          EXPECT_EQ(next[static_cast<size_t>(p)], i);
          next[static_cast<size_t>(p)] = i + 1;
        });
      }
      mailbox_.Post([&] {
        if (++ended == kPosters) mailbox_.Close();
      });
    });
  }
  RunTask(loop_, mailbox_.Run(loop_));
  for (std::thread& poster : posters) poster.join();
  EXPECT_THAT(next, ElementsAre(kMessages, kMessages, kMessages, kMessages));
}

TEST_F(MailboxTest, DestroysWhatNobodyRan) {
  auto held = std::make_shared<int>(1);
  {
    Mailbox mailbox;
    mailbox.Post([held] {});
    mailbox.Post([held] {});
    EXPECT_EQ(held.use_count(), 3);
  }
  EXPECT_EQ(held.use_count(), 1);
}

Task<void> CloseSoon(Loop& loop, Mailbox& mailbox) {
  Condition nothing(loop);
  (void)co_await nothing.Wait(loop.Now() + std::chrono::milliseconds(10));
  mailbox.Close();
}

TEST_F(MailboxTest, ClosesFromAnotherTaskOfTheOwner) {
  Scope scope(loop_);
  scope.Spawn(mailbox_.Run(loop_));
  scope.Spawn(CloseSoon(loop_, mailbox_));
  const MonoTime give_up = loop_.Now() + seconds(10);
  while (scope.running() > 0 && loop_.Now() < give_up) loop_.Turn(give_up);
  EXPECT_EQ(scope.running(), 0u);
}

}  // namespace
}  // namespace bivalve::core
