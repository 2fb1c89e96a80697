// Watchdog: tells the service manager that the service lives (sd_watchdog_enabled(3)), but only if every
// worker has answered since the last time. So a worker that hangs makes the service manager act. Control
// thread.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "appliance/log/event.h"
#include "appliance/worker/worker.h"
#include "core/condition.h"
#include "core/loop.h"
#include "core/mailbox.h"
#include "core/task.h"

namespace bivalve::appliance {

class Watchdog {
 public:
  struct Callbacks {
    std::function<void(Severity, std::string)> say;
    std::function<void(std::function<void()>)> post;  // any thread: runs it on the control thread
  };

  Watchdog(core::Loop& loop, std::vector<Worker*> workers, Callbacks callbacks)
      : loop_(loop), wake_(loop), workers_(std::move(workers)), callbacks_(std::move(callbacks)) {}
  Watchdog(const Watchdog&) = delete;

  // At half of the service manager's time limit, asks the workers and then tells the service manager. Returns
  // at once if the service manager does not want to be told. Suspends until Stop().
  core::Task<void> Run();
  void Stop();

 private:
  void Ask();
  void Complain();

  core::Loop& loop_;
  core::Condition wake_;
  const std::vector<Worker*> workers_;
  const Callbacks callbacks_;
  std::vector<bool> answered_;  // by worker, since the last question
  size_t missing_ = 0;
  uint64_t round_ = 0;
  bool stopping_ = false;
};

}  // namespace bivalve::appliance
