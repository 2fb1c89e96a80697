// StartThread: starts a thread that reports whether its start succeeded.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include "absl/status/status.h"

namespace bivalve::core {

// Runs `run` in a new thread, which replaces `thread`. Blocks until `run` has called its argument, which it
// does once: with OkStatus when it has started, otherwise with the reason, a sentence for the operator. The
// thread must be joined in both cases.
inline absl::Status StartThread(std::thread& thread,
                                std::function<void(std::function<void(absl::Status)> started)> run) {
  auto said = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> status = said->get_future();
  thread = std::thread([run = std::move(run), said] {
    run([said](absl::Status result) { said->set_value(std::move(result)); });
  });
  return status.get();
}

}  // namespace bivalve::core
