// The part of ClamdConnection in which its scanner proves itself: a canary is the first scan of a session,
// and is repeated when there is a reason.
#include <algorithm>
#include <memory>
#include <utility>

#include "scan/clamd_connection.h"

namespace bivalve::scan {

// When the next canary is due. If an unanswered canary keeps the mail away, another one is sent: a scanner
// that does not answer earlier requests may still answer new ones. A slow scanner keeps the first canary's
// place in its own queue.
core::MonoTime ClamdConnection::CanaryTime() const {
  if (TakesNoMore() || FreeSlots() == 0) return core::kNever;
  if (session_.canaries_out == 0) return session_.canary_due;
  return usable() || stalled() ? core::kNever : session_.canary_again;
}

// Time after which an unanswered canary counts as given up. For a slow scanner it doubles each time, but not
// on every second connection, so that we notice at once when the scanner is well again.
core::Duration ClamdConnection::CanaryPatience() const {
  static constexpr uint32_t kDoublingsMax = 3;
  if (number_ % 2 == 1) return options_.canary_patience;
  return options_.canary_patience * (1 << std::min(canary_silences_, kDoublingsMax));
}

bool ClamdConnection::LateCanary(const Slot& slot) const {
  return slot.canary && slot.state == SlotState::kSent && loop_.Now() >= slot.since + CanaryPatience();
}

// Queues a canary on this session, before the mail.
core::Task<void> ClamdConnection::TakeCanary() {
  static constexpr core::Duration kRoomPause = std::chrono::milliseconds(500);
  session_.canary_due = session_.canary_again = loop_.Now() + kRoomPause;
  std::unique_ptr<core::Body> body = co_await MakeCanary(bodies_);
  // A message may have taken the place while a file was opened.
  if (body == nullptr || stopping_ || TakesNoMore() || FreeSlots() == 0) {
    bodies_.Release(std::move(body));
    co_return;
  }
  session_.canary_due = core::kNever;
  ++session_.canaries_out;
  session_.canary_again = loop_.Now() + CanaryPatience();
  Slot* slot = FreeSlot();
  slot->state = SlotState::kTaken;
  slot->canary = true;
  slot->body = body.get();
  slot->kept = std::make_shared<KeptBody>(bodies_, std::move(body));
  ++used_;
  owner_.OnChange();
}

void ClamdConnection::Doubt(core::MonoTime next_canary) {
  session_.proven = false;
  if (!session_.ready) return;
  if (session_.canaries_out == 0) session_.canary_due = next_canary;
  session_.canary_again = std::max(session_.canary_again, next_canary);
  wake_.Notify();
}

void ClamdConnection::CanaryModeChanged() {
  if (options_.canary == CanaryMode::kOff) {
    session_.canary_due = core::kNever;
    session_.proven = false;
  } else if (session_.ready && !session_.proven && session_.canaries_out == 0) {
    session_.canary_due = loop_.Now();
  }
  wake_.Notify();
}

void ClamdConnection::CompleteCanary(const Verdict& verdict) {
  --session_.canaries_out;
  if (verdict.kind == VerdictKind::kInfected) {
    session_.proven = true;
    canary_silences_ = 0;
    scanner_.canary_misses = 0;
    const bool again = options_.canary != CanaryMode::kOff;
    session_.canary_due = again ? loop_.Now() + options_.canary_interval : core::kNever;
    owner_.OnCanary(scanner_, CanaryState::kFound, verdict.text);
    return;
  }
  const auto doublings = std::min(scanner_.canary_misses++ / scanner_.connections.size(), size_t{16});
  const core::Duration pause =
      std::min(options_.canary_retry_min * (1 << doublings), options_.canary_retry_max);
  for (const auto& connection : scanner_.connections) connection->Doubt(loop_.Now() + pause);
  const bool clean = verdict.kind == VerdictKind::kClean;
  owner_.OnCanary(scanner_, clean ? CanaryState::kMissed : CanaryState::kError, verdict.text);
}

}  // namespace bivalve::scan
