// Scope: the owner of tasks that run beside each other (sessions of a worker, connections of a pool). Joined
// before it is destroyed; there is no detached task.
#pragma once

#include <coroutine>
#include <cstddef>
#include <utility>

#include "core/condition.h"
#include "core/task.h"

namespace bivalve::core {

class Scope {
 public:
  explicit Scope(Loop& loop) : loop_(loop), drained_(loop) {}
  Scope(const Scope&) = delete;
  ~Scope() { BV_CHECK(running_ == 0); }

  // Takes ownership of the task and starts it at the loop's next pass.
  void Spawn(Task<void> task) {
    ++running_;
    loop_.Schedule(Run(std::move(task)).handle);
  }
  size_t running() const { return running_; }

  // Suspends until every spawned task has ended. Does not stop them: the caller must have told them to end.
  Task<void> Join() {
    while (running_ > 0) co_await drained_.Wait();
  }

 private:
  // A coroutine that nobody awaits: starts when scheduled and frees itself at its end.
  struct Root {
    struct promise_type : internal::PromiseBase {
      Root get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
      std::suspend_never final_suspend() const noexcept { return {}; }
      void return_void() const noexcept {}
    };
    std::coroutine_handle<> handle;
  };

  Root Run(Task<void> task) {
    co_await std::move(task);
    if (--running_ == 0) drained_.Notify();
  }

  Loop& loop_;
  Condition drained_;
  size_t running_ = 0;
};

}  // namespace bivalve::core
