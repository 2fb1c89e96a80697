#include "appliance/stats/accounting.h"

#include <gtest/gtest.h>

#include <vector>

namespace bivalve::appliance {
namespace {

MetricCounters::Values Values(std::initializer_list<std::pair<Metric, uint64_t>> list) {
  MetricCounters::Values values = {};
  for (const auto& [metric, value] : list) values[static_cast<size_t>(metric)] = value;
  return values;
}

TEST(AccountingGap, IsZeroWhenEveryMessageHasOneOutcome) {
  EXPECT_EQ(AccountingGap({}), 0);
  EXPECT_EQ(AccountingGap(Values({{Metric::kReceived, 36},
                                  {Metric::kInProgress, 1},
                                  {Metric::kDelivered, 2},
                                  {Metric::kRefused, 3},
                                  {Metric::kDropped, 4},
                                  {Metric::kBounced, 5},
                                  {Metric::kTempfailed, 6},
                                  {Metric::kRejected, 7},
                                  {Metric::kLost, 8},
                                  {Metric::kAborted, 100},
                                  {Metric::kClean, 100}})),
            0);
}

TEST(AccountingCheck, SaysEachViolationOnce) {
  AccountingCheck check;
  const auto good = Values({{Metric::kReceived, 1}, {Metric::kDelivered, 1}});
  const auto lost = Values({{Metric::kReceived, 2}, {Metric::kDelivered, 1}});
  const auto twice = Values({{Metric::kReceived, 1}, {Metric::kDelivered, 1}, {Metric::kTempfailed, 1}});
  EXPECT_TRUE(check.Look({good, good}).empty());
  const auto said = check.Look({good, lost});
  ASSERT_EQ(said.size(), 1u);
  EXPECT_NE(said[0].find("worker 1 has lost the outcome of 1 "), std::string::npos) << said[0];
  EXPECT_TRUE(check.Look({good, lost}).empty());
  EXPECT_EQ(check.Look({twice, lost}).size(), 1u);
  EXPECT_TRUE(check.Look({good, good}).empty());
  EXPECT_EQ(check.violations(), 2u);
}

}  // namespace
}  // namespace bivalve::appliance
