#include "appliance/stats/accounting.h"

#include <array>
#include <utility>

#include "core/text.h"

namespace bivalve::appliance {

int64_t AccountingGap(const MetricCounters::Values& values) {
  static constexpr std::array kParts = {Metric::kInProgress, Metric::kDelivered, Metric::kRefused,
                                        Metric::kDropped,    Metric::kBounced,   Metric::kTempfailed,
                                        Metric::kRejected,   Metric::kLost};
  uint64_t gap = values[static_cast<size_t>(Metric::kReceived)];
  for (const Metric part : kParts) gap -= values[static_cast<size_t>(part)];
  return static_cast<int64_t>(gap);
}

std::vector<std::string> AccountingCheck::Look(const std::vector<MetricCounters::Values>& workers) {
  std::vector<std::string> sentences;
  gaps_.resize(workers.size());
  for (size_t i = 0; i < workers.size(); ++i) {
    const int64_t gap = AccountingGap(workers[i]);
    if (gap == std::exchange(gaps_[i], gap) || gap == 0) continue;
    ++violations_;
    sentences.push_back(core::Cat("ACCOUNTING VIOLATION: worker ", i, " has ",
                                  gap > 0 ? "lost the outcome of " : "given ", gap > 0 ? gap : -gap,
                                  gap > 0 ? " messages" : " outcomes too many",
                                  "; please report this, with the log around it"));
  }
  return sentences;
}

}  // namespace bivalve::appliance
