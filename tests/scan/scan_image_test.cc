#include "scan/scan_image.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "core/text.h"
#include "tests/core/body_fixture.h"

namespace bivalve::scan {
namespace {

using core::kKibi;
using core::kMebi;
using core::Pattern;

class ScanImageTest : public core::BodyFixture {
 protected:
  void SetUp() override {
    core::BodyPool::Options options = DefaultOptions();
    options.front = Front();
    MakePool(options);
  }

  static std::string ReadFrom(int fd) {
    struct stat status = {};
    EXPECT_EQ(fstat(fd, &status), 0);
    std::string bytes(static_cast<size_t>(status.st_size) + 1, '\0');
    const ssize_t got = pread(fd, bytes.data(), bytes.size(), 0);
    bytes.resize(got < 0 ? 0 : static_cast<size_t>(got));
    return bytes;
  }
};

// libclamav compares magics at fixed offsets up to 1024; a message must not decide what stands there.
TEST_F(ScanImageTest, KeepsTheContentBehindEveryOffsetThatAScannerLooksAt) {
  EXPECT_EQ(Front().size(), kFrontBytes);
  EXPECT_GE(kFrontBytesMin, 1024 + 64);
  for (size_t at = 0; at < kFrontBytes; at += kFrontLine.size()) {
    EXPECT_EQ(Front().substr(at, kFrontLine.size()), kFrontLine);
  }
}

TEST_F(ScanImageTest, ShowsAnotherHeadToTheScannerOnly) {
  std::unique_ptr<core::Body> body = Acquire();
  const std::string content = "A : b\r\n" + Pattern(3 * kMebi);
  ASSERT_TRUE(Fill(*body, content));
  ScanImage image(*body);
  for (const std::string_view head :
       {"A: b \r\n", "A : b\r\n\r\n", "A : b\r\n",
        "A : b\r\n0123456789012345678901234567890123456789012345678901234567890123"}) {
    image.ReplaceHead(7, head);
    const std::string shown = ReadFrom(body->SealForScan());
    const size_t front = kFrontBytes - (head.size() - 7);
    EXPECT_GE(front, kFrontBytesMin);
    EXPECT_TRUE(shown.substr(front) == core::Cat(head, content.substr(7)));
    EXPECT_EQ(shown.substr(0, front - 2), Front().substr(0, front - 2));
    EXPECT_EQ(shown.substr(front - 2, 2), "\r\n");
    EXPECT_TRUE(shown == body->image());
    image.RestoreHead();
    EXPECT_TRUE(body->content() == content);
    EXPECT_TRUE(ReadFrom(body->SealForScan()) == core::Cat(Front(), content));
  }
  pool_->Release(std::move(body));
}

TEST_F(ScanImageTest, TakesLineEndsBack) {
  std::unique_ptr<core::Body> body = Acquire();
  ASSERT_TRUE(Fill(*body, "a\rb\r\nc\r"));
  ScanImage image(*body);
  EXPECT_TRUE(image.BareCrAsLf());
  EXPECT_EQ(body->content(), "a\nb\r\nc\n");
  EXPECT_FALSE(image.as_received());
  image.RestoreBareCr();
  EXPECT_EQ(body->content(), "a\rb\r\nc\r");
  EXPECT_TRUE(image.as_received());
  pool_->Release(std::move(body));
}

TEST_F(ScanImageTest, KeepsAllBareCrOrChangesNothing) {
  std::unique_ptr<core::Body> body = Acquire();
  ASSERT_TRUE(Fill(*body, std::string(ScanImage::kBareCrMax + 1, '\r')));
  ScanImage image(*body);
  EXPECT_FALSE(image.BareCrAsLf());
  EXPECT_TRUE(image.as_received());
  EXPECT_TRUE(body->content() == std::string(ScanImage::kBareCrMax + 1, '\r'));
  pool_->Release(std::move(body));
}

TEST_F(ScanImageTest, ShowsTheContentAloneToo) {
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{1000}, 10 * kKibi, 3 * kMebi + 5}) {
    std::unique_ptr<core::Body> body = Acquire();
    const std::string content = Pattern(bytes);
    ASSERT_TRUE(Fill(*body, content));
    ScanImage image(*body);
    size_t steps = 0;
    while (!image.MoveToStart(kMebi)) ++steps;
    EXPECT_LE(steps, bytes / kMebi + 1);
    EXPECT_TRUE(ReadFrom(body->SealForScan()) == content);
    EXPECT_TRUE(body->content() == content);
    EXPECT_EQ(body->content_offset(), 0u);
    const uint64_t number = body->number();
    pool_->Release(std::move(body));
    body = Acquire(bytes);
    EXPECT_EQ(body->number(), number) << "the same memory";
    ASSERT_TRUE(Fill(*body, "the next message"));
    EXPECT_TRUE(ReadFrom(body->SealForScan()) == core::Cat(Front(), "the next message"));
    pool_->Release(std::move(body));
  }
}

// A session that ends in the middle leaves the body as it is at that moment.
TEST_F(ScanImageTest, HasItsFrontAgainForTheNextMessage) {
  for (const bool moved : {false, true}) {
    std::unique_ptr<core::Body> body = Acquire();
    ASSERT_TRUE(Fill(*body, Pattern(3 * kMebi)));
    ScanImage image(*body);
    if (moved) {
      EXPECT_FALSE(image.MoveToStart(kMebi));
    } else {
      image.ReplaceHead(0, "\r\n");
    }
    pool_->Release(std::move(body));
    body = Acquire(3 * kMebi);
    ASSERT_TRUE(Fill(*body, "the next message"));
    EXPECT_TRUE(ReadFrom(body->SealForScan()) == core::Cat(Front(), "the next message"));
    pool_->Release(std::move(body));
  }
}

}  // namespace
}  // namespace bivalve::scan
