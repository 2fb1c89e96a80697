// StartThread: a thread that says whether it could begin.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include "absl/status/status.h"

namespace bivalve::core {

// Runs `run` in a new thread, which takes the place of `thread`, and blocks until `run` has called its
// argument, which it does once: with OkStatus when it has begun, else with the reason, a sentence for the
// operator. Either way the thread is to be joined.
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
