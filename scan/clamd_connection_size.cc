// The part of ClamdConnection for a scanner whose limits are not known. Such a scanner says "OK" about
// anything larger than its MaxFileSize or MaxScanSize without having looked. If a message is larger than
// everything proven on this session, its OK waits, in the message's own place, until the scanner has found a
// canary of that size.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "core/text.h"
#include "scan/canary.h"
#include "scan/clamd_connection.h"

namespace bivalve::scan {

using core::Cat;

bool ClamdConnection::IsInDoubt(const Slot& slot) const {
  return options_.canary != CanaryMode::kOff && !scanner_.limits.known &&
         slot.body->image_bytes() > session_.proven_bytes;
}

// False: we know already that the scanner does not look at that many bytes.
bool ClamdConnection::AskForProof(Slot& slot, Verdict verdict) {
  if (slot.body->image_bytes() >= session_.unproven_bytes) return false;
  slot.if_proven = std::move(verdict);
  slot.state = SlotState::kTaken;
  wake_.Notify();
  return true;
}

core::Task<void> ClamdConnection::MakeProof(Slot& slot) {
  // A little more, so that not every slightly larger message needs a new proof.
  const uint64_t image_bytes = slot.body->image_bytes();
  const uint64_t more_bytes = image_bytes + image_bytes / 8;
  const uint64_t bytes = more_bytes < session_.unproven_bytes ? more_bytes : image_bytes;
  const uint64_t serial = slot.serial;
  std::unique_ptr<core::Body> body = co_await MakeCanary(bodies_, wake_, bytes);
  // The message may have been taken back meanwhile, and its place may belong to another one.
  if (stopping_ || slot.state != SlotState::kTaken || slot.serial != serial || !slot.if_proven.has_value()) {
    bodies_.Release(std::move(body));
    co_return;
  }
  if (body == nullptr) {
    Complete(slot,
             NoVerdictBecause(NoVerdict::kError,
                              "the scanner's OK is not believed: its limits are not known, and there is "
                              "no room for a test message of that size"));
    co_return;
  }
  slot.proof = body.get();
  slot.proof_kept = std::make_shared<KeptBody>(bodies_, std::move(body));
  scanner_.stats.counts.Add(ScannerCount::kSizeProofs);
}

void ClamdConnection::CompleteProof(Slot& slot, const Verdict& verdict) {
  const uint64_t bytes = slot.proof->image_bytes();
  if (verdict.kind == VerdictKind::kInfected) {
    session_.proven_bytes = std::max(session_.proven_bytes, bytes);
    return Complete(slot, *std::exchange(slot.if_proven, std::nullopt));
  }
  const bool not_looked_at = verdict.kind == VerdictKind::kClean || verdict.cause == NoVerdict::kSize ||
                             verdict.cause == NoVerdict::kLimits;
  if (not_looked_at && bytes < session_.unproven_bytes) {
    session_.unproven_bytes = bytes;
    if (options_.say) {
      options_.say(true,
                   Cat("scanner ", scanner_.options.name, ": it does not find a test message of ", bytes,
                       " bytes: its OK for messages as large is ",
                       options_.canary == CanaryMode::kOn ? "not believed" : "believed all the same (Canary)",
                       "; raise its MaxFileSize and MaxScanSize"));
    }
  }
  if (options_.canary == CanaryMode::kWarn)
    return Complete(slot, *std::exchange(slot.if_proven, std::nullopt));
  if (not_looked_at && bytes > slot.body->image_bytes()) return ProveAgain(slot);
  // If the scanner failed at the canary, it has not said that the size is too large, and may find it next
  // time.
  Complete(slot, not_looked_at ? TooLargeToBelieve() : UnprovenBecause(verdict));
}

// Tries exactly the message's size: the limit may lie between the two sizes.
void ClamdConnection::ProveAgain(Slot& slot) {
  if (!session_.sends_content) slot.proof_kept->Discard();
  slot.proof_kept.reset();
  slot.proof = nullptr;
  slot.state = SlotState::kTaken;
  wake_.Notify();
}

Verdict ClamdConnection::UnprovenBecause(const Verdict& verdict) {
  return NoVerdictBecause(verdict.cause,
                          Cat("the scanner's OK is not believed: its limits are not known, and it says of a "
                              "test message of that size: ",
                              verdict.text));
}

Verdict ClamdConnection::TooLargeToBelieve() {
  return NoVerdictBecause(
      NoVerdict::kSize,
      "the scanner's OK is not believed: its limits are not known, and it does not find a test "
      "message of that size");
}

}  // namespace bivalve::scan
