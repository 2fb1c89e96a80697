#include "core/utc_time.h"

#include <ctime>

namespace bivalve::core {

std::string FormatUtcTime(std::chrono::system_clock::time_point time) {
  const time_t seconds = std::chrono::system_clock::to_time_t(time);
  tm fields = {};
  gmtime_r(&seconds, &fields);
  char text[64];
  return std::string(text, strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &fields));
}

}  // namespace bivalve::core
