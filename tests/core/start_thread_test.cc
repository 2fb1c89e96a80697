#include "core/start_thread.h"

#include <gtest/gtest.h>

namespace bivalve::core {
namespace {

TEST(StartThread, ReturnsWhenTheThreadHasBegunAndNotWhenItEnds) {
  std::promise<void> end;
  std::thread thread;
  EXPECT_TRUE(StartThread(thread, [&](const auto& started) {
                started(absl::OkStatus());
                end.get_future().wait();
              }).ok());
  EXPECT_TRUE(thread.joinable());
  end.set_value();
  thread.join();
}

TEST(StartThread, ReturnsWhyTheThreadCouldNotBegin) {
  std::thread thread;
  const absl::Status status =
      StartThread(thread, [](const auto& started) { started(absl::UnavailableError("no ring")); });
  EXPECT_EQ(status, absl::UnavailableError("no ring"));
  thread.join();
}

}  // namespace
}  // namespace bivalve::core
