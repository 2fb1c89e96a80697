#include "appliance/control/watchdog.h"

#include "appliance/process/service_notify.h"
#include "core/text.h"

namespace bivalve::appliance {

core::Task<void> Watchdog::Run() {
  const core::Duration interval = WatchdogInterval() / 2;
  if (interval <= core::Duration{}) co_return;
  while (!stopping_) {
    const core::MonoTime next = loop_.Now() + interval;
    Ask();
    while (!stopping_ && missing_ > 0 && loop_.Now() < next) (void)co_await wake_.Wait(next);
    // If a worker is late, the operator is told; the service manager hears nothing until it answers.
    if (missing_ > 0 && !stopping_) Complain();
    while (!stopping_ && missing_ > 0) (void)co_await wake_.Wait();
    if (!stopping_) NotifyServiceManager("WATCHDOG=1");
    while (!stopping_ && loop_.Now() < next) (void)co_await wake_.Wait(next);
  }
}

void Watchdog::Ask() {
  ++round_;
  missing_ = workers_.size();
  answered_.assign(workers_.size(), false);
  for (size_t i = 0; i < workers_.size(); ++i) {
    workers_[i]->Post([this, i, round = round_] {
      callbacks_.post([this, i, round] {
        if (round != round_ || answered_[i]) return;
        answered_[i] = true;
        if (--missing_ == 0) wake_.Notify();
      });
    });
  }
}

void Watchdog::Complain() {
  for (size_t i = 0; i < answered_.size(); ++i) {
    if (!answered_[i])
      callbacks_.say(
          Severity::kError,
          core::Cat("worker ", i, " does not answer; the service manager is not told that all is well"));
  }
}

void Watchdog::Stop() {
  stopping_ = true;
  wake_.Notify();
}

}  // namespace bivalve::appliance
