#include "core/loop.h"

#include <algorithm>

namespace bivalve::core {

void Loop::Turn(MonoTime deadline) {
  io_.Wait(ready_.empty() ? std::min(deadline, timers_.Next()) : MonoTime::min());
  timers_.Advance(Now());
  RunReady();
  RunReady();  // those that the first pass woke: a second pass costs less than asking the kernel again
}

// One pass: coroutines that are scheduled meanwhile wait for the next one, so that two coroutines that wake
// each other do not delay the kernel's completions.
void Loop::RunReady() {
  running_.swap(ready_);
  for (std::coroutine_handle<> waiter : running_) waiter.resume();
  running_.clear();
}

}  // namespace bivalve::core
