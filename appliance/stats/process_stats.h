// What the system knows of this process: memory, descriptors, processor time. Reads /proc; for the control
// thread.
#pragma once

#include <cstdint>

namespace bivalve::appliance {

struct ProcessStats {
  double cpu_seconds = 0;  // user and system, all threads
  uint64_t resident_memory_bytes = 0;
  uint64_t virtual_memory_bytes = 0;
  uint64_t open_fds = 0;
  uint64_t max_fds = 0;  // the limit, as it is now
};

ProcessStats ReadProcessStats();

// When the process was started, in seconds since 1970. Moves by a clock tick from one call to the next.
double ProcessStartTime();

}  // namespace bivalve::appliance
