// ClamdPool: scans that take longer than nearly all others. A second scanner is asked for them. Very long
// ones are remembered, so that the same message, sent again, waits for them.
#include <algorithm>
#include <chrono>
#include <vector>

#include "core/histogram.h"
#include "scan/clamd_pool_impl.h"

namespace bivalve::scan {

// Checks the outstanding scans as long as there are any.
core::Task<void> ClamdPool::Impl::WatchScans() {
  static constexpr core::Duration kBetweenSteps = std::chrono::milliseconds(1);
  core::MonoTime next_look = {};
  while (!stopping_) {
    const bool busy = SomethingToWatch();
    const core::Duration pause = long_scans_.busy() ? kBetweenSteps : options_.watch_interval;
    watch_idle_ = !busy && !long_scans_.busy();
    (void)co_await watch_wake_.Wait(watch_idle_ ? core::kNever : loop_.Now() + pause);
    watch_idle_ = false;
    if (stopping_) co_return;
    if (Request* request = long_scans_.Step(); request != nullptr) {
      request->compared_ = false;
      OnReturned(*request, {});
    }
    if (loop_.Now() < next_look) continue;
    next_look = loop_.Now() + options_.watch_interval;
    for (const auto& scanner : removed_) EndGivenUp(*scanner);
    for (const auto& scanner : scanners_) {
      EndGivenUp(*scanner);
      RememberLong(*scanner);
      // While messages wait in the queue, no scanner is free.
      if (options_.hedge && scanners_.size() > 1 && line_.size() == 0) HedgeLate(*scanner);
    }
  }
}

void ClamdPool::Impl::RememberLong(const Scanner& scanner) {
  if (scanner.in_flight == 0) return;
  for (const auto& connection : scanner.connections) {
    connection->VisitOlder(loop_.Now() - options_.remember_after,
                           [this](uint64_t serial, std::string_view content) {
                             if (!long_scans_.Remembers(serial)) long_scans_.Remember(serial, content);
                           });
  }
}

// Requests that waited for this scan get its verdict or go back into the queue. If the connection broke, this
// counts against their content as if they had been sent on it.
void ClamdPool::Impl::OnScanEnded(Scanner& scanner, uint64_t serial, const Verdict* verdict, bool blameless) {
  for (Request* request : long_scans_.End(serial)) {
    request->compared_ = false;
    if (verdict != nullptr) {
      OnAnswer(scanner, *request, *verdict);
      continue;
    }
    if (!blameless) {
      request->attempts_ = 1;
      request->avoid_ = scanner.index;
    }
    OnReturned(*request, "the one that the first copy was on");
  }
}

// Asks a second scanner for messages that this one has had for longer than nearly all others.
void ClamdPool::Impl::HedgeLate(const Scanner& scanner) {
  static constexpr uint64_t kSamplesMin = 100;
  if (scanner.in_flight == 0) return;
  const core::Histogram::Snapshot usual = scanner.stats.latency_us.Read();
  const core::Duration late =
      usual.count < kSamplesMin
          ? options_.hedge_default
          : std::max<core::Duration>(options_.hedge_floor, std::chrono::microseconds(usual.Percentile(0.99)));
  std::vector<Request*> overdue;
  for (const auto& connection : scanner.connections) connection->CollectOlder(loop_.Now() - late, overdue);
  for (Request* request : overdue) {
    if (!MayHedge(*request)) continue;
    ClamdConnection* connection = ChooseSecond(*request);
    if (connection == nullptr) return;
    request->hedged_ = true;
    ++hedged_;
    connection->CountHedge();
    Hand(*request, *connection);
  }
}

bool ClamdPool::Impl::MayHedge(const Request& request) const {
  // Only one more try, as for a message whose connection broke.
  if (request.done_ || request.hedged_ || request.several_readings_ || request.attempts_ > 1) return false;
  return hedged_ * 100 < submitted_ * options_.hedge_percent + options_.hedge_burst * uint64_t{100};
}

// The least busy one of the other scanners that are in good health.
ClamdConnection* ClamdPool::Impl::ChooseSecond(const Request& request) {
  ClamdConnection* best = nullptr;
  uint32_t in_flight = 0;
  for (const auto& scanner : scanners_) {
    ClamdConnection* idlest = nullptr;
    bool fit = scanner->index != request.avoid_ && !scanner->exhausted();
    for (const auto& connection : scanner->connections) {
      fit = fit && !connection->stalled() && connection.get() != request.holders_[0] &&
            connection.get() != request.holders_[1];
      if (connection->room() == 0) continue;
      if (idlest == nullptr || connection->outstanding() < idlest->outstanding()) idlest = connection.get();
    }
    if (!fit || idlest == nullptr || (best != nullptr && scanner->in_flight >= in_flight)) continue;
    best = idlest;
    in_flight = scanner->in_flight;
  }
  return best;
}

}  // namespace bivalve::scan
