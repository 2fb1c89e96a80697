#include "appliance/scanner_facts_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <latch>

namespace bivalve::appliance {
namespace {

using scan::ScannerFacts;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uid_t kUs = 101;

ScannerFacts Facts(bool limits_known, std::optional<uid_t> user) {
  ScannerFacts facts{.limits_read = true, .limits = {}, .user = user};
  facts.limits.known = limits_known;
  return facts;
}

TEST(ScannerWarnings, SayWhatIsTrueOnce) {
  EXPECT_THAT(ScannerWarnings("a", {}, {}, kUs), IsEmpty()) << "nobody has looked yet";
  EXPECT_THAT(ScannerWarnings("a", {}, Facts(true, 7), kUs), IsEmpty());
  EXPECT_THAT(ScannerWarnings("a", {}, Facts(true, std::nullopt), kUs), IsEmpty());
  EXPECT_THAT(
      ScannerWarnings("a", {}, Facts(false, kUs), kUs),
      ElementsAre(HasSubstr("scanner a: its limits are not known"), HasSubstr("scanner a: it runs as")));
  EXPECT_THAT(ScannerWarnings("a", Facts(false, kUs), Facts(false, kUs), kUs), IsEmpty());
  EXPECT_THAT(ScannerWarnings("a", Facts(true, 7), Facts(false, 7), kUs), ElementsAre(HasSubstr("limits")));
  EXPECT_THAT(ScannerWarnings("a", Facts(true, 7), Facts(true, kUs), kUs), ElementsAre(HasSubstr("runs as")));
}

TEST(ScannerFactsReader, ReadsWhatIsAskedFor) {
  std::latch done(2);
  std::vector<size_t> found;
  ScannerFactsReader reader(
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
