// What the system knows about this process: memory, descriptors, processor time. Reads /proc. Control thread.
#pragma once

#include <cstdint>

namespace bivalve::appliance {

struct ProcessStats {
  double cpu_seconds = 0;  // user and system, all threads
  uint64_t resident_memory_bytes = 0;
  uint64_t virtual_memory_bytes = 0;
  uint64_t open_fds = 0;
  uint64_t max_fds = 0;  // the current limit
};

ProcessStats ReadProcessStats();

// When the process was started, in seconds since 1970. The result may differ by a clock tick between calls.
double ProcessStartTime();

}  // namespace bivalve::appliance
