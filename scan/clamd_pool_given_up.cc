// ClamdPool: given-up scans. Their sessions' deadline has passed or their clients have left, but clamd has no
// command that ends a scan: they hold their places until it answers, and for ever if it does not. Closing the
// session frees the places. clamd then forgets the scans that it has not begun. Those that it has begun
// continue, so they are counted against the scanner.
//
//   no place left, nothing else on the session       given_up_alone
//   no place left, messages wait, others are on it   given_up_shared; one session at a time, the others are
//                                                    scanned again
//   places left                                      given_up_with_room; then the session takes nothing more,
//                                                    and is closed when the others are answered
//   the session ends for another reason              given_up_alone, once nothing else is on it
//
// A message that waits for such a scan because of the same content stops waiting after given_up_shared: an
// answer may never come, and it is scanned itself.
//
// Only a session that answers a PING meanwhile is closed: otherwise the scanner reloads its database or is
// stopped, and a new session would not help.
#include <algorithm>
#include <chrono>
#include <string>

#include "core/text.h"
#include "scan/clamd_pool_impl.h"

namespace bivalve::scan {

bool ClamdPool::Impl::SomethingToWatch() const {
  for (const auto* scanners : {&scanners_, &removed_}) {
    for (const auto& scanner : *scanners) {
      if (!scanner->left_behind.empty()) return true;
      for (const auto& connection : scanner->connections) {
        if (connection->outstanding() > 0) return true;
      }
    }
  }
  return false;
}

void ClamdPool::Impl::EndGivenUp(Scanner& scanner) {
  ForgetLeftBehind(scanner, loop_.Now());
  for (const auto& connection : scanner.connections) {
    connection->VisitGivenUp(loop_.Now() - options_.given_up_shared, [this, &scanner](uint64_t serial) {
      OnScanEnded(scanner, serial, nullptr, false);
    });
  }
  const bool room = std::any_of(scanner.connections.begin(), scanner.connections.end(),
                                [](const auto& c) { return c->room() > 0; });
  scanner.full_since = room ? core::kNever : std::min(scanner.full_since, loop_.Now());
  // Whether another session is being opened, which may have room.
  const bool opening = std::any_of(scanner.connections.begin(), scanner.connections.end(),
                                   [](const auto& c) { return !c->usable() && !c->failed(); });
  ClamdConnection* shared = nullptr;  // the one with the fewest other scans
  size_t others = 0;
  for (const auto& connection : scanner.connections) {
    const GivenUpScans scans = connection->given_up();
    if (!connection->ready() || scans.scans == 0) continue;
    const GivenUpStep step = NextStep(scanner, *connection, scans);
    if (step == GivenUpStep::kNone) continue;
    if (!connection->heard_since(scans.since)) {
      connection->AskPing();
    } else if (step == GivenUpStep::kRetire) {
      connection->Retire();
    } else if (step == GivenUpStep::kClose) {
      connection->CloseForGivenUp();
    } else if (shared == nullptr || scans.others < others) {
      shared = connection.get();
      others = scans.others;
    }
  }
  if (shared != nullptr && !opening) shared->CloseForGivenUp();
}

// The next step for a session with given-up scans.
ClamdPool::Impl::GivenUpStep ClamdPool::Impl::NextStep(const Scanner& scanner,
                                                       const ClamdConnection& connection,
                                                       const GivenUpScans& scans) const {
  const core::MonoTime now = loop_.Now();
  const bool alone = scans.others == 0;
  if (alone && connection.ending())
    return now >= scans.since + options_.given_up_alone ? GivenUpStep::kClose : GivenUpStep::kNone;
  const bool full = scanner.full_since != core::kNever && (connection.ending() || !connection.has_place());
  if (!full) {
    const bool due = !connection.ending() && now >= scans.since + options_.given_up_with_room;
    return due ? GivenUpStep::kRetire : GivenUpStep::kNone;
  }
  const core::MonoTime since = std::max(scans.since, scanner.full_since);
  if (alone) return now >= since + options_.given_up_alone ? GivenUpStep::kClose : GivenUpStep::kNone;
  const bool wanted = line_.size() > 0 && connection.usable();
  return wanted && now >= since + options_.given_up_shared ? GivenUpStep::kCloseShared : GivenUpStep::kNone;
}

// Forgets those that must be over by then.
void ClamdPool::Impl::ForgetLeftBehind(Scanner& scanner, core::MonoTime until) {
  while (!scanner.left_behind.empty() && scanner.left_behind.front() <= until) {
    scanner.left_behind.pop_front();
    scanner.stats.counts.Subtract(ScannerCount::kGivenUp);
  }
}

// Reports it at once, and then once a minute as long as it continues.
void ClamdPool::Impl::OnGivenUp(Scanner& scanner, const GivenUpScans& scans) {
  static constexpr core::Duration kPause = std::chrono::minutes(1);
  if (scanner.removed) return;
  ++scanner.given_up_sessions_unsaid;
  if (scanner.given_up_said != core::MonoTime() && loop_.Now() < scanner.given_up_said + kPause) return;
  scanner.given_up_said = loop_.Now();
  // The scans of this session are still counted in scanner.given_up.
  const size_t running = scanner.left_behind.size() + scanner.given_up;
  std::string text = core::Cat("scanner ", scanner.options.name, ": ");
  if (scans.messages > 0) {
    core::Append(text, scans.messages,
                 " scans that were given up (ClamTimeOut, or the client left) held their places");
  } else {
    text += "the test mail (Canary) is not answered";
  }
  text += ", so the session is closed and another one opened";
  if (scans.others > 0) core::Append(text, "; ", scans.others, " others that were on it are scanned again");
  const uint64_t before = scanner.given_up_sessions_unsaid - 1;
  scanner.given_up_sessions_unsaid = 0;
  if (before > 0) core::Append(text, "; ", before, " more such sessions since this was said last");
  if (running > 0) {
    core::Append(text, ". As far as is known it still runs ", running, " such scans of this worker, with ",
                 ThreadsOf(scanner.limits), scanner.limits.threads_max != 0 ? "" : " (assumed)", " threads");
  }
  if (scanner.exhausted()) {
    text +=
        ": too many, it gets one message at a time until it answers. What to do: see what clamd scans "
        "(clamdtop) and "
        "restart it when that has no end; MaxScanTime in clamd.conf should be less than ClamTimeOut";
  }
  Say(true, std::move(text));
}

}  // namespace bivalve::scan
