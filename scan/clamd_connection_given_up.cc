// The part of ClamdConnection for given-up scans: nobody waits for them any more, but they hold their places
// until the scanner answers or the session is closed. clamd_pool_given_up.cc decides when to close it.
#include <algorithm>
#include <chrono>
#include <cstdint>

#include "scan/clamd_connection.h"

namespace bivalve::scan {

size_t Scanner::room() const {
  size_t most = SIZE_MAX;
  if (outstanding_max != 0) most = outstanding_max - std::min(outstanding_max, in_flight);
  if (!exhausted()) return most;
  const uint64_t awaited = in_flight - given_up;
  const uint64_t allowed = 1 + answered_since_close;
  return static_cast<size_t>(std::min<uint64_t>(most, allowed - std::min(allowed, awaited)));
}

GivenUpScans ClamdConnection::given_up() const {
  GivenUpScans all;
  for (const Slot& slot : slots_) {
    if (slot.state == SlotState::kFree) continue;
    const bool message = slot.given_up_at != core::kNever;
    if (!message && !LateCanary(slot)) {
      ++all.others;
      continue;
    }
    ++all.scans;
    all.messages += message ? 1 : 0;
    all.since = std::min(all.since, message ? slot.given_up_at : slot.since + CanaryPatience());
  }
  return all;
}

void ClamdConnection::AskPing() {
  if (session_.ping_id != 0) return;
  session_.ping_wanted = true;
  wake_.Notify();
}

bool ClamdConnection::has_place() const {
  const uint32_t most = scanner_.outstanding_max;
  return FreeSlots() > 0 && (most == 0 || scanner_.in_flight < most);
}

void ClamdConnection::Retire() {
  if (session_.retiring) return;
  session_.retiring = true;
  wake_.Notify();
}

void ClamdConnection::CloseForGivenUp() {
  if (session_.end != EndOfSession::kNone) return;
  session_.useful = true;
  End(EndOfSession::kGivenUp, "it was closed for scans that were given up");
  // It is a silence only if it keeps the mail away.
  if (!usable()) ++canary_silences_;
  scanner_.answered_since_close = 0;
  scanner_.stats.counts.Add(ScannerCount::kGivenUpSessions);
  owner_.OnGivenUp(scanner_, given_up());
  // Completes a send that the scanner does not accept. Answers that have already arrived are read.
  stream_.Shutdown();
  wake_.Notify();
}

// When a session ends, clamd drops the scans that it has not begun. A scan that it has begun continues,
// normally for at most MaxScanTime. It cannot run more scans than it has threads.
void ClamdConnection::LeaveBehind() {
  static constexpr core::Duration kScanTimeMax = std::chrono::seconds(120);  // clamd's default
  if (scanner_.removed) return;
  const core::Duration known = scanner_.limits.scan_time_max;
  scanner_.left_behind.push_back(loop_.Now() + (known.count() != 0 ? known : kScanTimeMax));
  scanner_.stats.counts.Add(ScannerCount::kGivenUp);
  if (scanner_.left_behind.size() <= ThreadsOf(scanner_.limits)) return;
  scanner_.left_behind.pop_front();
  scanner_.stats.counts.Subtract(ScannerCount::kGivenUp);
}

}  // namespace bivalve::scan
