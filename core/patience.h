// Patience: how long we wait for a peer that sends or takes bytes. It limits each silence and also the lowest
// rate: a peer that sends one byte a minute is never silent for long, and would hold its session for ever
// (Postfix limits this by smtpd_min_data_rate for the same reason).
//
// Time is divided into intervals as long as the permitted silence. In each interval at least
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
  // bytes a second minus the overhead of TCP/IP and retransmissions. Postfix requires 500.
  static constexpr uint64_t kBytesPerSecondMin = 128;

  // Not started yet. `silence`: TimeOut for the peers of a session, so that a permitted pause stays
  // permitted.
  explicit Patience(Duration silence) : silence_(silence) {}

  Duration silence() const { return silence_; }
  // Call before waiting for the first byte, and after a time in which we ourselves did not read or send.
  void Start(MonoTime now) {
    interval_end_ = now + silence_;
    bytes_ = 0;
  }

  // Bytes have passed.
  void Add(uint64_t bytes) { bytes_ += bytes; }
  // The time by which the next bytes must have passed, if the wait for them begins now.
  MonoTime Deadline(MonoTime now) const {
    const MonoTime silence_end = now + silence_;
    return Enough() ? silence_end : std::min(silence_end, interval_end_);
  }
  // Call when bytes have passed or a wait has ended. False: the peer is too slow.
  bool Check(MonoTime now) {
    if (now < interval_end_) return true;
    if (!Enough()) return false;
    Start(now);
    return true;
  }
  // True if no byte at all has passed in the interval: the peer is silent, not slow.
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
