// Monotonic time as the loop sees it: constant during a turn, and under a test's control in simulation.
#pragma once

#include <chrono>
#include <cstdint>

namespace bivalve::core {

using Duration = std::chrono::nanoseconds;
using MonoTime = std::chrono::time_point<std::chrono::steady_clock, Duration>;
inline constexpr MonoTime kNever = MonoTime::max();

// Whole microseconds of a duration, for histograms; negative becomes 0.
inline uint64_t Microseconds(Duration d) {
  return d.count() <= 0 ? 0 : static_cast<uint64_t>(d.count()) / 1000;
}

}  // namespace bivalve::core
