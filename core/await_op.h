// AwaitOp: one operation that a coroutine awaits in its own frame.
//
//   core::IoResult result = co_await core::AwaitOp(loop, request);
//   result = co_await core::AwaitOp(loop, request, deadline);  // -ETIMEDOUT after the deadline
//
// After the deadline the operation is cancelled and still awaited, because the kernel owns its memory until
// it completes.
#pragma once

#include <cerrno>
#include <coroutine>

#include "core/loop.h"

namespace bivalve::core {

class [[nodiscard]] AwaitOp final : private IoOp, private Timer {
 public:
  AwaitOp(Loop& loop, const IoRequest& what, MonoTime deadline = kNever) : loop_(loop), deadline_(deadline) {
    request = what;
  }

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    waiter_ = waiter;
    loop_.timers().Set(*this, deadline_);
    loop_.io().Submit(*this);
  }
  IoResult await_resume() const noexcept { return result_; }

 private:
  void OnComplete(IoResult result) override {
    Drop();
    // A cancelled operation that succeeded nevertheless is a success: the descriptor or the bytes are real.
    result_ = timed_out_ && !result.ok() ? IoResult(-ETIMEDOUT) : result;
    loop_.Schedule(waiter_);
  }
  void OnTimer() override {
    timed_out_ = true;
    loop_.io().Cancel(*this);
  }

  Loop& loop_;
  MonoTime deadline_;
  bool timed_out_ = false;
  std::coroutine_handle<> waiter_;
  IoResult result_;
};

}  // namespace bivalve::core
