// Patience: how long one waits for a peer that sends bytes, or takes them. It bounds each silence, and the
// rate as well: a peer that sends one byte in every minute is never silent for long, and would hold its
// session for ever (Postfix limits this by smtpd_min_data_rate for the same reason).
//
// Time is cut into intervals as long as the silence that is allowed, and in each of them at least
// kBytesPerSecondMin must pass on average. Worker-local; never suspends.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "core/mono_time.h"

namespace bivalve::core {

class Patience {
 public:
  // Half of what the slowest links in use carry: a satellite telephone's data channel has 2,400 bit/s, 300
  // bytes a second less what TCP/IP and retransmissions take. Postfix asks for 500.
  static constexpr uint64_t kBytesPerSecondMin = 128;

  // Not started. `silence`: TimeOut for the peers of a session, so that a pause which is allowed stays
  // allowed.
  explicit Patience(Duration silence) : silence_(silence) {}

  Duration silence() const { return silence_; }
  // Before the first byte is waited for; and when we ourselves did not read or send for a while.
  void Start(MonoTime now) {
    interval_end_ = now + silence_;
    bytes_ = 0;
  }

  // Bytes have passed.
  void Add(uint64_t bytes) { bytes_ += bytes; }
  // Until when the next ones must have passed, if the wait for them begins now.
  MonoTime Deadline(MonoTime now) const {
    const MonoTime silence_end = now + silence_;
    return Enough() ? silence_end : std::min(silence_end, interval_end_);
  }
  // Call when some have passed, or a wait has ended. False: too slow.
  bool Check(MonoTime now) {
    if (now < interval_end_) return true;
    if (!Enough()) return false;
    Start(now);
    return true;
  }
  // Nothing at all has passed in the interval: silence, and not slowness.
  bool silent() const { return bytes_ == 0; }

 private:
  bool Enough() const {
    const auto milliseconds =
        static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(silence_).count());
    return bytes_ * 1000 >= kBytesPerSecondMin * milliseconds;
  }

  Duration silence_;
  MonoTime interval_end_ = {};
  uint64_t bytes_ = 0;
};

}  // namespace bivalve::core
