// AccountingCheck: checks, while the program runs, that every received message is accounted for. A
// message with two outcomes, or with none, is a bug of ours that nobody would notice for months. This check
// makes it a log line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "appliance/stats/metrics.h"

namespace bivalve::appliance {

// How many more messages were received than are in progress or have an outcome; 0 is correct.
int64_t AccountingGap(const MetricCounters::Values& values);

class AccountingCheck {
 public:
  // Checks the values of every worker, read at one moment and given in the same order each time. Returns a
  // sentence for each worker whose gap is not 0 and has changed since the last check.
  std::vector<std::string> Look(const std::vector<MetricCounters::Values>& workers);
  // How often a gap was reported.
  uint64_t violations() const { return violations_; }

 private:
  std::vector<int64_t> gaps_;  // at the last check
  uint64_t violations_ = 0;
};

}  // namespace bivalve::appliance
