// Condition: one coroutine waits here until something that it depends on may have changed. Completions of
// several operations, a scanner's answer, a deadline and a stop request all notify the same Condition. The
// waiter checks the state and waits again if necessary. It works like a condition variable with one waiter;
// wake-ups may be spurious.
//
//   while (!request.done() && !client.closed()) {
//     if (!co_await wake.Wait(deadline)) co_return Timeout();
//   }
#pragma once

#include <coroutine>
#include <utility>

#include "core/loop.h"

namespace bivalve::core {

class Condition final : private Timer {
 public:
  explicit Condition(Loop& loop) : loop_(loop) {}
  ~Condition() { BV_CHECK(!waiter_); }

  Loop& loop() { return loop_; }

  // Wakes the waiter, or lets the next Wait return at once. Never suspends, never runs the waiter.
  void Notify() {
    notified_ = true;
    if (waiter_ && !scheduled_) {
      scheduled_ = true;
      loop_.Schedule(waiter_);
    }
  }

  // Suspends until notified (true) or until `deadline` has passed (false). Only one waiter at a time.
  auto Wait(MonoTime deadline = kNever) { return Awaiter{*this, deadline}; }

 private:
  struct Awaiter {
    Condition& condition;
    MonoTime deadline;
    bool await_ready() const noexcept { return condition.notified_; }
    void await_suspend(std::coroutine_handle<> waiter) {
      BV_CHECK(!condition.waiter_);
      condition.waiter_ = waiter;
      condition.loop_.timers().Set(condition, deadline);
    }
    bool await_resume() {
      condition.Drop();
      condition.waiter_ = {};
      condition.scheduled_ = false;
      return std::exchange(condition.notified_, false);
    }
  };

  void OnTimer() override {
    if (waiter_ && !scheduled_) {
      scheduled_ = true;
      loop_.Schedule(waiter_);
    }
  }

  Loop& loop_;
  std::coroutine_handle<> waiter_;
  bool notified_ = false;
  bool scheduled_ = false;
};

}  // namespace bivalve::core
