// Loop: one thread's scheduler over an Io: coroutines that are ready, timers that are due, operations that
// have completed. Worker-local throughout.
#pragma once

#include <coroutine>
#include <vector>

#include "core/io.h"
#include "core/timer_wheel.h"

namespace bivalve::core {

class Loop {
 public:
  explicit Loop(Io& io) : io_(io), timers_(io.Now()) {}
  Loop(const Loop&) = delete;
  ~Loop() { BV_CHECK(ready_.empty()); }

  Io& io() { return io_; }
  TimerWheel& timers() { return timers_; }
  MonoTime Now() const { return io_.Now(); }

  // Resumes `waiter` later in this turn or in the next one, never from inside this call, so that the resumed
  // coroutine does not change anything in the middle of the caller.
  void Schedule(std::coroutine_handle<> waiter) { ready_.push_back(waiter); }

  // One turn: waits for the kernel, at most until `deadline` and not at all if a coroutine is ready; then
  // runs what is due and what is ready. A turn ends with the coroutines, so a caller that turns the loop
  // until something has happened can check after each turn and does not sleep when it has.
  void Turn(MonoTime deadline = kNever);

 private:
  void RunReady();

  Io& io_;
  TimerWheel timers_;
  std::vector<std::coroutine_handle<>> ready_;
  std::vector<std::coroutine_handle<>> running_;
};

}  // namespace bivalve::core
