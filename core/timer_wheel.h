// Deadlines of one worker: thousands of them, set and dropped all the time, and few of them ever pass. A
// hierarchical wheel: setting and dropping take a few list operations, whatever the number of timers.
#pragma once

#include <array>
#include <cstdint>

#include "core/check.h"
#include "core/mono_time.h"

namespace bivalve::core {

// One deadline. Lives in its owner; dropped when destroyed.
class Timer {
 public:
  Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  bool armed() const { return previous_ != nullptr; }
  void Drop() {
    if (!armed()) return;
    previous_->next_ = next_;
    next_->previous_ = previous_;
    previous_ = next_ = nullptr;
  }

 protected:
  virtual ~Timer() { Drop(); }
  // Called once by the loop, at or after the deadline (up to one tick late). The timer is no longer armed.
  virtual void OnTimer() {}

 private:
  friend class TimerWheel;
  Timer* previous_ = nullptr;
  Timer* next_ = nullptr;
  uint64_t tick_ = 0;
};

class TimerWheel {
 public:
  // 4 ms: far below any deadline of the mail path, coarse enough that a burst of sessions shares a tick.
  static constexpr Duration kTick = std::chrono::milliseconds(4);

  explicit TimerWheel(MonoTime now);
  TimerWheel(const TimerWheel&) = delete;
  ~TimerWheel();  // no timer may be armed

  // Arms `timer` (again). Never fires before `deadline`. kNever: drops it.
  void Set(Timer& timer, MonoTime deadline);
  // Runs every timer whose deadline has passed. Timers may be set and dropped from inside.
  void Advance(MonoTime now);
  // When Advance must be called next, at the latest; kNever without timers. May be earlier than the first
  // deadline, never later.
  MonoTime Next() const;

 private:
  static constexpr int kLevels = 7;  // 64^7 ticks of 4 ms: any time that a MonoTime can hold
  static constexpr int kSlots = 64;
  struct Head final : Timer {};

  void Place(Timer& timer);
  void Expire(Head& slot);

  MonoTime start_;
  uint64_t now_tick_ = 0;  // all ticks up to this one have run
  std::array<std::array<Head, kSlots>, kLevels> slots_;
  // A set bit: the slot may hold timers. A bit is cleared when its slot is found empty, because a timer that
  // drops itself does not know its wheel.
  mutable std::array<uint64_t, kLevels> occupied_ = {};
};

}  // namespace bivalve::core
