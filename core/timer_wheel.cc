#include "core/timer_wheel.h"

#include <algorithm>

namespace bivalve::core {

// Level L holds the timers that are due within 64^(L+1) ticks, in the slot given by the L-th base-64 digit of
// their tick. When the digit of a level changes, the timers of that slot move one level lower or run.

TimerWheel::TimerWheel(MonoTime now) : start_(now) {
  for (auto& level : slots_) {
    for (Head& head : level) {
      head.previous_ = head.next_ = &head;
    }
  }
}

TimerWheel::~TimerWheel() {
  for (auto& level : slots_) {
    for (Head& head : level) {
      BV_CHECK(head.next_ == &head);
      head.previous_ = head.next_ = nullptr;
    }
  }
}

void TimerWheel::Set(Timer& timer, MonoTime deadline) {
  timer.Drop();
  if (deadline == kNever) return;
  const Duration distance = std::max(deadline - start_, Duration::zero());
  // Rounded up, so that a timer never fires early. A deadline in the past becomes the next tick.
  const auto tick = static_cast<uint64_t>(distance / kTick) + (distance % kTick != Duration::zero() ? 1 : 0);
  timer.tick_ = std::max(tick, now_tick_ + 1);
  Place(timer);
}

void TimerWheel::Place(Timer& timer) {
  const uint64_t distance = timer.tick_ ^ now_tick_;  // the highest different digit decides the level
  const int level = distance == 0 ? 0 : (63 - __builtin_clzll(distance)) / 6;
  BV_CHECK(level < kLevels);
  const uint64_t slot = (timer.tick_ >> (6 * level)) & (kSlots - 1);
  Head& head = slots_[static_cast<size_t>(level)][slot];
  occupied_[static_cast<size_t>(level)] |= uint64_t{1} << slot;
  timer.previous_ = head.previous_;
  timer.next_ = &head;
  head.previous_->next_ = &timer;
  head.previous_ = &timer;
}

// Takes each timer out of the slot and runs it or moves it. Works on the slot's first timer until the slot is
// empty, because a timer's OnTimer may drop its neighbours.
void TimerWheel::Expire(Head& slot) {
  Head taken;
  if (slot.next_ == &slot) return;
  taken.next_ = slot.next_;
  taken.previous_ = slot.previous_;
  taken.next_->previous_ = &taken;
  taken.previous_->next_ = &taken;
  slot.previous_ = slot.next_ = &slot;
  while (taken.next_ != &taken) {
    Timer& timer = *taken.next_;
    timer.Drop();
    if (timer.tick_ <= now_tick_) {
      timer.OnTimer();
    } else {
      Place(timer);
    }
  }
  taken.previous_ = taken.next_ = nullptr;
}

void TimerWheel::Advance(MonoTime now) {
  const auto target = static_cast<uint64_t>(std::max(now - start_, Duration::zero()) / kTick);
  while (now_tick_ < target) {
    // Skip to the next tick at which a slot that is not empty comes up.
    const MonoTime next = Next();
    const uint64_t next_tick =
        next == kNever ? target : std::min(target, static_cast<uint64_t>((next - start_) / kTick));
    now_tick_ = std::max(now_tick_ + 1, next_tick);
    for (int level = kLevels - 1; level >= 1; --level) {
      if ((now_tick_ & ((uint64_t{1} << (6 * level)) - 1)) == 0) {
        Expire(slots_[static_cast<size_t>(level)][(now_tick_ >> (6 * level)) & (kSlots - 1)]);
      }
    }
    Expire(slots_[0][now_tick_ & (kSlots - 1)]);
  }
}

MonoTime TimerWheel::Next() const {
  // The timers of a lower level are due before those of a higher one, so the first level that is not empty
  // decides.
  for (int level = 0; level < kLevels; ++level) {
    uint64_t& occupied = occupied_[static_cast<size_t>(level)];
    const uint64_t digit = now_tick_ >> (6 * level);
    while (occupied != 0) {
      const auto slot = static_cast<uint64_t>(__builtin_ctzll(occupied));
      const Head& head = slots_[static_cast<size_t>(level)][slot];
      if (head.next_ != &head)
        return start_ + (((digit & ~uint64_t{kSlots - 1}) | slot) << (6 * level)) * kTick;
      occupied &= occupied - 1;
    }
  }
  return kNever;
}

}  // namespace bivalve::core
