#include "core/utc_time.h"

#include <gtest/gtest.h>

namespace bivalve::core {
namespace {

TEST(FormatUtcTime, WritesRfc3339) {
  EXPECT_EQ(FormatUtcTime(std::chrono::system_clock::from_time_t(0)), "1970-01-01T00:00:00Z");
  EXPECT_EQ(FormatUtcTime(std::chrono::system_clock::from_time_t(1'795'352'709)), "2026-11-22T13:05:09Z");
}

}  // namespace
}  // namespace bivalve::core
