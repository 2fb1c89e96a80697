// AccountingCheck: looks, while the program runs, whether every received message is accounted for (CONTRACT,
// "Statistics"). A message that got two outcomes, or none, is a bug of ours that nobody would notice for
// months: this makes it a log line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "appliance/stats/metrics.h"

namespace bivalve::appliance {

// How many messages more were received than are in progress or have an outcome; 0 is right.
int64_t AccountingGap(const MetricCounters::Values& values);

class AccountingCheck {
 public:
  // Looks at one moment of every worker, in the same order each time. Returns a sentence for each worker
  // whose account has become wrong, or wrong in another way, since the last look.
  std::vector<std::string> Look(const std::vector<MetricCounters::Values>& workers);
  // How often that has happened.
  uint64_t violations() const { return violations_; }

 private:
  std::vector<int64_t> gaps_;  // at the last look
  uint64_t violations_ = 0;
};

}  // namespace bivalve::appliance
