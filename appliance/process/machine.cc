#include "appliance/process/machine.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace bivalve::appliance {
namespace {

// Descriptors for other things than sessions: listeners, rings, scanner connections, logs.
constexpr uint64_t kDescriptorsReserved = 1024;
// For each session: the client's and the server's. While the session has a message (and some seconds longer),
// the body has two more.
constexpr uint64_t kDescriptorsPerSession = 2;

}  // namespace

size_t UsableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return static_cast<size_t>(std::max(CPU_COUNT(&set), 1));
}

uint64_t DefaultBodyMemory() {
  uint64_t memory =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  std::ifstream limit("/sys/fs/cgroup/memory.max");
  uint64_t bytes = 0;
  if (limit >> bytes && bytes > 0) memory = std::min(memory, bytes);
  return memory / 4;
}

uint32_t RaiseDescriptorLimit(uint32_t connections_wanted) {
  const rlim_t wanted = connections_wanted * kDescriptorsPerSession * 2 + kDescriptorsReserved;
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < wanted) {
    rlimit raised = {.rlim_cur = wanted, .rlim_max = std::max(limit.rlim_max, wanted)};
    if (setrlimit(RLIMIT_NOFILE, &raised) != 0) {
      raised = {.rlim_cur = std::min(limit.rlim_max, wanted), .rlim_max = limit.rlim_max};
      setrlimit(RLIMIT_NOFILE, &raised);
    }
    getrlimit(RLIMIT_NOFILE, &limit);
  }
  if (limit.rlim_cur >= wanted) return connections_wanted;
  const uint64_t reserved = std::min<uint64_t>(kDescriptorsReserved, limit.rlim_cur / 2);
  return static_cast<uint32_t>(std::max<uint64_t>((limit.rlim_cur - reserved) / kDescriptorsPerSession, 1));
}

}  // namespace bivalve::appliance
