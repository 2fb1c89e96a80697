// For tests: runs one coroutine to its end on a loop, as main() would run a worker.
#pragma once

#include <utility>

#include "core/loop.h"
#include "core/scope.h"
#include "core/task.h"

namespace bivalve::core {

template <typename T>
Task<void> StoreResult(Task<T> task, T& result) {
  result = co_await std::move(task);
}

// Turns the loop until the task has ended.
template <typename T>
T RunTask(Loop& loop, Task<T> task) {
  T result{};
  Scope scope(loop);
  scope.Spawn(StoreResult(std::move(task), result));
  while (scope.running() > 0) loop.Turn();
  return result;
}

inline void RunTask(Loop& loop, Task<void> task) {
  Scope scope(loop);
  scope.Spawn(std::move(task));
  while (scope.running() > 0) loop.Turn();
}

}  // namespace bivalve::core
