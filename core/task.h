// Task<T>: a coroutine that one other coroutine awaits. Lazy: it starts when awaited, and hands control back
// by symmetric transfer. Its frame comes from the thread's frame pool (core/frame_pool.h).
//
//   core::Task<int> Sum(Io& io);
//   int sum = co_await Sum(io);
//
// Not for work that runs beside its caller: spawn that into a Scope (core/scope.h), which joins it. Never
// destroy a suspended task to stop it, because the kernel may still use its memory: cancel what it awaits,
// and await the task.
//
// g++ 12: an aggregate or capturing lambda made inside a co_await expression is destroyed twice. Name it
// first.
#pragma once

#include <coroutine>
#include <exception>
#include <utility>

#include "core/check.h"
#include "core/frame_pool.h"

namespace bivalve::core {

template <typename T = void>
class Task;

namespace internal {

struct PromiseBase {
  static void* operator new(size_t bytes) { return AllocateFrame(bytes); }
  static void operator delete(void* frame, size_t bytes) { FreeFrame(frame, bytes); }

  struct FinalAwaiter {
    bool await_ready() const noexcept { return false; }
    template <typename Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> done) const noexcept {
      return done.promise().awaiter;
    }
    void await_resume() const noexcept {}
  };

  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }

  std::coroutine_handle<> awaiter = std::noop_coroutine();
};

template <typename T>
struct Promise : PromiseBase {
  Task<T> get_return_object();
  template <typename U>
  void return_value(U&& value) {
    result = std::forward<U>(value);
  }
  T TakeResult() { return std::move(result); }
  T result{};
};

template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object();
  void return_void() const noexcept {}
  void TakeResult() const noexcept {}
};

}  // namespace internal

// T must be default-constructible and movable.
template <typename T>
class [[nodiscard]] Task {
 public:
  using promise_type = internal::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  explicit Task(Handle handle) : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&& other) = delete;
  ~Task() {
    if (handle_) handle_.destroy();
  }

  struct Awaiter {
    Handle handle;
    bool await_ready() const noexcept { return false; }
    Handle await_suspend(std::coroutine_handle<> awaiter) const noexcept {
      handle.promise().awaiter = awaiter;
      return handle;
    }
    T await_resume() const { return handle.promise().TakeResult(); }
  };
  Awaiter operator co_await() && {
    BV_CHECK(handle_);
    return Awaiter{handle_};
  }

 private:
  Handle handle_;
};

namespace internal {
template <typename T>
Task<T> Promise<T>::get_return_object() {
  return Task<T>(std::coroutine_handle<Promise>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<Promise>::from_promise(*this));
}
}  // namespace internal

}  // namespace bivalve::core
