// A scanner whose limits are not known says "OK" about content that it does not look at: its OK for a large
// message waits for a canary of that size.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "scan/canary.h"
#include "tests/scan/pool_fixture.h"

namespace bivalve::scan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class SizeProofTest : public PoolFixture {
 protected:
  SizeProofTest() {
    options_.canary = CanaryMode::kOn;
    options_.say = [this](bool bad, std::string text) {
      if (bad) said_.push_back(std::move(text));
    };
  }

  // The scanner has this MaxFileSize, finds canaries up to it, and calls all mail clean.
  FakeClamd& AddScannerWith(uint64_t file_bytes_max, Method method = Method::kFildes) {
    FakeClamd& fake = AddScanner(method);
    fake.on_scan = [this, &fake, file_bytes_max](const FakeClamd::Scan& scan) {
      const std::string image = scan.stream() ? scan.content : ReadAll(scan.descriptor.get());
      const bool is_canary = image.starts_with(Image(CanaryContent()));
      if (is_canary) canaries_.push_back(image.size());
      const std::string_view verdict = is_canary && image.size() <= file_bytes_max ? "Eicar FOUND" : "OK";
      fake.Reply(scan, core::Cat(scan.stream() ? "stream: " : "fd[9]: ", verdict));
    };
    return fake;
  }
  std::vector<size_t> ProofSizes() const {
    return {std::next(canaries_.begin(), std::min<ptrdiff_t>(1, std::ssize(canaries_))), canaries_.end()};
  }
  static std::string Large(size_t image_bytes) { return std::string(image_bytes - kFrontBytes, 'x'); }

  std::vector<size_t> canaries_;  // sizes of images
  std::vector<std::string> said_;
};

TEST_F(SizeProofTest, BelievesSmallMessagesAtOnce) {
  AddScannerWith(1 << 30);
  StartAndConnect();
  EXPECT_TRUE(Clean(Submit(Large(64 << 10))));
  EXPECT_THAT(ProofSizes(), IsEmpty());
  EXPECT_EQ(Count(0, ScannerCount::kSizeProofs), 0u);
}

TEST_F(SizeProofTest, BelievesALargeOneBehindACanaryOfItsSize) {
  for (const Method method : {Method::kFildes, Method::kInstream}) {
    canaries_.clear();
    AddScannerWith(1 << 30, method);
    StartAndConnect();
    EXPECT_TRUE(Clean(Submit(Large(800'000))));
    EXPECT_THAT(ProofSizes(), ElementsAre(900'000));
    EXPECT_TRUE(Clean(Submit(Large(900'000)))) << "that is proven now";
    EXPECT_TRUE(Clean(Submit(Large(70'000))));
    EXPECT_EQ(ProofSizes().size(), 1u);
    EXPECT_TRUE(Clean(Submit(Large(1'600'000))));
    EXPECT_THAT(ProofSizes(), ElementsAre(900'000, 1'800'000));
    EXPECT_EQ(Count(0, ScannerCount::kSizeProofs), 2u);
    EXPECT_EQ(Count(0, ScannerCount::kScans), 4u) << "of messages";
    EXPECT_THAT(said_, IsEmpty());
    Forget();
  }
}

TEST_F(SizeProofTest, DoubtsWhatIsLargerThanTheScannerLooksAt) {
  AddScannerWith(500'000);
  StartAndConnect();
  EXPECT_TRUE(None(Submit(Large(600'000)), NoVerdict::kSize));
  EXPECT_THAT(said_, ElementsAre(HasSubstr("does not find a test message of 675000 bytes"),
                                 HasSubstr("does not find a test message of 600000 bytes")));
  EXPECT_TRUE(None(Submit(Large(700'000)), NoVerdict::kSize));
  EXPECT_EQ(ProofSizes().size(), 2u) << "that was known";
  EXPECT_TRUE(Clean(Submit(Large(400'000))));
  EXPECT_TRUE(Clean(Submit()));
  EXPECT_EQ(said_.size(), 2u);
}

TEST_F(SizeProofTest, BelievesWhatLiesJustBelowTheLimit) {
  for (const Method method : {Method::kFildes, Method::kInstream}) {
    canaries_.clear();
    AddScannerWith(650'000, method);
    StartAndConnect();
    EXPECT_TRUE(Clean(Submit(Large(600'000))));
    EXPECT_TRUE(Clean(Submit(Large(650'000))));
    EXPECT_TRUE(None(Submit(Large(650'001)), NoVerdict::kSize));
    EXPECT_THAT(ProofSizes(), ElementsAre(675'000, 600'000, 650'000, 650'001));
    Forget();
  }
}

// A failure at the canary says nothing about the size: the same message may pass the next time.
TEST_F(SizeProofTest, HasTheCauseOfAScannerThatFailsAtTheCanary) {
  for (const auto& [reply, cause] :
       {std::pair("Can't allocate memory ERROR", NoVerdict::kError),
        std::pair("Heuristics.Limits.Exceeded.MaxScanTime FOUND", NoVerdict::kTimeout),
        std::pair("Heuristics.Limits.Exceeded.MaxFileSize FOUND", NoVerdict::kSize)}) {
    SCOPED_TRACE(reply);
    FakeClamd& fake = AddScannerWith(1 << 30);
    fake.on_scan = [&fake, usual = fake.on_scan, text = reply](const FakeClamd::Scan& scan) {
      const std::string image = ReadAll(scan.descriptor.get());
      if (image.size() < 600'000 || !image.starts_with(Image(CanaryContent()))) return usual(scan);
      fake.Reply(scan, core::Cat("fd[9]: ", text));
    };
    StartAndConnect();
    Message& large = Submit(Large(600'000));
    EXPECT_TRUE(None(large, cause));
    EXPECT_THAT(large.request.verdict().text, HasSubstr("is not believed"));
    EXPECT_EQ(said_.empty(), cause != NoVerdict::kSize);
    Forget();
  }
}

TEST_F(SizeProofTest, OnlySaysSoWhereCanariesOnlyWarn) {
  options_.canary = CanaryMode::kWarn;
  AddScannerWith(500'000);
  StartAndConnect();
  EXPECT_TRUE(Clean(Submit(Large(600'000))));
  EXPECT_TRUE(Clean(Submit(Large(700'000))));
  EXPECT_THAT(said_, ElementsAre(HasSubstr("believed all the same")));
}

TEST_F(SizeProofTest, AsksNobodyWhoseLimitsAreKnown) {
  AddScannerWith(500'000);
  options_.scanners[0].limits = {.known = true, .file_bytes_max = 1'000'000};
  StartAndConnect();
  EXPECT_TRUE(Clean(Submit(Large(600'000))));
  EXPECT_THAT(ProofSizes(), IsEmpty());
}

TEST_F(SizeProofTest, AsksNobodyWithoutCanaries) {
  options_.canary = CanaryMode::kOff;
  AddScannerWith(500'000);
  StartAndConnect();
  EXPECT_TRUE(Clean(Submit(Large(600'000))));
  EXPECT_THAT(canaries_, IsEmpty());
}

// Several at once, given up at any moment; the fixture checks that each body comes back.
TEST_F(SizeProofTest, GivesEverythingBack) {
  options_.outstanding_max = 2;
  AddScannerWith(1 << 30);
  StartAndConnect();
  for (int turns = 0; turns < 40; ++turns) {
    std::vector<Message*> messages;
    for (int i = 0; i < 3; ++i)
      messages.push_back(&Submit(Large(300'000 + static_cast<size_t>(turns) * 40'000)));
    for (int i = 0; i < turns; ++i) Turn();
    pool_->Release(messages[0]->request, std::move(messages[0]->body));
    EXPECT_TRUE(Clean(*messages[1]));
    EXPECT_TRUE(Clean(*messages[2]));
  }
}

}  // namespace
}  // namespace bivalve::scan
