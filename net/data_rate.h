// DataRate: whether a client sends its mail data fast enough to be worth a session. A deadline for each
// receive bounds silence only: a client that sends one byte in every minute would hold its session for ever
// (Postfix limits this by smtpd_min_data_rate for the same reason).
//
// Time is cut into intervals as long as the silence that is allowed, and in each of them at least
// kBytesPerSecondMin must come on average. Worker-local; never suspends.
#pragma once

#include <chrono>
#include <cstdint>

#include "core/mono_time.h"

namespace bivalve::net {

class DataRate {
 public:
  // Half of what the slowest links in use carry: a satellite telephone's data channel has 2,400 bit/s, 300
  // bytes a second less what TCP/IP and retransmissions take. Postfix asks for 500.
  static constexpr uint64_t kBytesPerSecondMin = 128;

  // Before the first byte is waited for. `interval`: TimeOut, so that a pause which is allowed stays allowed.
  void Start(core::MonoTime now, core::Duration interval) {
    interval_ = interval;
    interval_end_ = now + interval;
    bytes_ = 0;
  }
  bool started() const { return interval_ > core::Duration::zero(); }
  // We ourselves did not read for a while.
  void Forgive(core::MonoTime now) { Start(now, interval_); }

  void Add(uint64_t bytes) { bytes_ += bytes; }

  // The end of the interval when too little has come in it so far; else never.
  core::MonoTime Deadline() const { return Enough() ? core::kNever : interval_end_; }

  // Call when something has come, or a wait has ended. False: too slow.
  bool Check(core::MonoTime now) {
    if (now < interval_end_) return true;
    if (!Enough()) return false;
    Start(now, interval_);
    return true;
  }
  // Nothing at all has come in the interval: silence, and not slowness.
  bool silent() const { return bytes_ == 0; }

 private:
  bool Enough() const {
    const auto milliseconds =
        static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(interval_).count());
    return bytes_ * 1000 >= kBytesPerSecondMin * milliseconds;
  }

  core::Duration interval_{};
  core::MonoTime interval_end_{};
  uint64_t bytes_ = 0;
};

}  // namespace bivalve::net
