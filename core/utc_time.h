// Moments as text, in universal time.
#pragma once

#include <chrono>
#include <string>

namespace bivalve::core {

// "2026-11-22T13:05:09Z" (RFC 3339).
std::string FormatUtcTime(std::chrono::system_clock::time_point time);

}  // namespace bivalve::core
