// Loop: one thread's scheduler over an Io: what is ready to run, what is due, what the kernel has completed.
// Worker-local throughout.
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

  // Resumes `waiter` later in this turn or in the next one, never from inside this call: nobody is surprised
  // in the middle of a function by what the resumed coroutine does.
  void Schedule(std::coroutine_handle<> waiter) { ready_.push_back(waiter); }

  // One turn: waits for the kernel, at most until `deadline` and not at all when something is ready, then
  // runs what is due and what is ready. Ends with the coroutines, so that who turns the loop until something
  // has happened may look after each turn, and never sleeps through it.
  void Turn(MonoTime deadline = kNever);

 private:
  void RunReady();

  Io& io_;
  TimerWheel timers_;
  std::vector<std::coroutine_handle<>> ready_;
  std::vector<std::coroutine_handle<>> running_;
};

}  // namespace bivalve::core
