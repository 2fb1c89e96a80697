// The part of BodyPool that lets callers wait for room.
#include <algorithm>
#include <memory>

#include "core/body_pool.h"

namespace bivalve::core {
namespace {

// Nobody tells us when a disk has room again.
constexpr Duration kRoomRetry = std::chrono::milliseconds(500);

}  // namespace

Task<std::unique_ptr<Body>> BodyPool::AcquireInTime(uint64_t bytes_expected, MonoTime deadline) {
  std::unique_ptr<Body> body;
  uint64_t tried_at = room_returned_;
  // Nobody overtakes those who already wait.
  if (line_.empty()) body = co_await Acquire(bytes_expected);
  if (body != nullptr) co_return body;
  Waiter waiter(loop_, false);
  line_.push_back(&waiter);
  ++waits_;
  for (bool wait = true; wait && body == nullptr;) {
    wait = co_await AwaitRoom(waiter, tried_at, deadline);
    tried_at = room_returned_;
    if (wait) body = co_await Acquire(bytes_expected);
  }
  EndWait(waiter);
  co_return body;
}

Task<bool> BodyPool::GrowInTime(Body& body, MonoTime deadline) {
  bool grown = false;
  uint64_t tried_at = room_returned_;
  if (line_.empty()) grown = co_await Grow(body);
  if (grown) co_return true;
  Waiter waiter(loop_, true);
  line_.push_back(&waiter);
  ++waiting_bodies_;
  ++waits_;
  for (bool wait = true; wait && !grown;) {
    wait = co_await AwaitRoom(waiter, tried_at, deadline);
    tried_at = room_returned_;
    if (wait) grown = co_await Grow(body);
  }
  --waiting_bodies_;
  EndWait(waiter);
  co_return grown;
}

Task<bool> BodyPool::AwaitRoom(Waiter& waiter, uint64_t tried_at, MonoTime deadline) {
  for (;;) {
    // A try takes a while if it opens a file, and room can come back meanwhile.
    if (room_returned_ != tried_at && !waiter.gives_way && line_.front() == &waiter) co_return true;
    // A body in use whose session does not wait comes back, or its owner gives up within its own time limit.
    // If there is no such body, the waiter that came last gives way to those before it.
    if (out_ == waiting_bodies_) {
      const auto last =
          std::find_if(line_.rbegin(), line_.rend(), [](const Waiter* one) { return one->holds_body; });
      if (last == line_.rend()) co_return false;
      (*last)->gives_way = true;
      (*last)->wake.Notify();
    }
    if (waiter.gives_way || loop_.Now() >= deadline) co_return false;
    (void)co_await waiter.wake.Wait(std::min(deadline, loop_.Now() + kRoomRetry));
    if (!waiter.gives_way && line_.front() == &waiter) co_return true;
  }
}

void BodyPool::EndWait(Waiter& waiter) {
  line_.erase(std::find(line_.begin(), line_.end(), &waiter));
  WakeFirst();
}

void BodyPool::WakeFirst() {
  ++room_returned_;
  if (!line_.empty()) line_.front()->wake.Notify();
}

}  // namespace bivalve::core
