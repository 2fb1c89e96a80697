#include "appliance/control/limits_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <latch>

namespace bivalve::appliance {
namespace {

using testing::ElementsAre;

TEST(LimitsReader, ReadsWhatIsAskedFor) {
  std::latch done(2);
  std::vector<size_t> found;
  LimitsReader reader(
      3, [](size_t scanner) { return scan::ScannerLimits{.known = true, .file_bytes_max = 7 + scanner}; },
      [&](size_t scanner, const scan::ScannerLimits& limits) {
        EXPECT_EQ(limits.file_bytes_max, 7 + scanner);
        found.push_back(scanner);
        done.count_down();
      });
  reader.Ask(2);
  reader.Ask(0);
  reader.Start();
  done.wait();
  EXPECT_THAT(found, ElementsAre(0, 2));
}

}  // namespace
}  // namespace bivalve::appliance
