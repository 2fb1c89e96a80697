// The part of ClamdConnection in which its scanner proves itself: a canary as the first scan of a session,
// and again when there is a reason.
#include <algorithm>
#include <memory>
#include <utility>

#include "scan/clamd_connection.h"

namespace bivalve::scan {

bool ClamdConnection::CanaryDue() const {
  return !canary_out_ && !leaving() && FreeSlots() > 0 && loop_.Now() >= canary_due_;
}

// Puts a canary in line on this session, in front of the mail.
core::Task<void> ClamdConnection::TakeCanary() {
  static constexpr core::Duration kRoomPause = std::chrono::milliseconds(500);
  canary_due_ = loop_.Now() + kRoomPause;
  std::unique_ptr<core::Body> body = co_await MakeCanary(bodies_);
  // Mail may have taken the place while a file was opened.
  if (body == nullptr || stopping_ || FreeSlots() == 0) {
    bodies_.Release(std::move(body));
    co_return;
  }
  canary_due_ = core::kNever;
  canary_out_ = true;
  Slot* slot = FreeSlot();
  slot->state = SlotState::kTaken;
  slot->canary = true;
  slot->body = body.get();
  slot->kept = std::make_shared<KeptBody>(bodies_, std::move(body));
  ++used_;
}

void ClamdConnection::Doubt(core::MonoTime next_canary) {
  proven_ = false;
  if (!ready_) return;
  if (!canary_out_) canary_due_ = next_canary;
  wake_.Notify();
}

void ClamdConnection::CanaryModeChanged() {
  if (options_.canary == CanaryMode::kOff) {
    canary_due_ = core::kNever;
    proven_ = false;
  } else if (ready_ && !proven_ && !canary_out_) {
    canary_due_ = loop_.Now();
  }
  wake_.Notify();
}

void ClamdConnection::CompleteCanary(const Verdict& verdict) {
  canary_out_ = false;
  if (verdict.kind == VerdictKind::kInfected) {
    proven_ = true;
    scanner_.canary_misses = 0;
    const bool again = options_.canary != CanaryMode::kOff;
    canary_due_ = again ? loop_.Now() + options_.canary_interval : core::kNever;
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
