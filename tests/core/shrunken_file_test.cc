#include "core/shrunken_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "core/text.h"
#include "tests/core/body_fixture.h"

namespace bivalve::core {
namespace {

class ShrunkenFileTest : public BodyFixture {
 protected:
  void SetUp() override { SurviveShrunkenFiles(); }
  void TearDown() override { signal(SIGBUS, SIG_DFL); }
};

// Cuts the file short, as a scanner under our own user can do with its descriptor.
void CutShort(Body& body) { ASSERT_EQ(truncate(Cat("/proc/self/fd/", body.fd()).c_str(), 0), 0); }

TEST_F(ShrunkenFileTest, ReadsAsZerosAndSaysSo) {
  for (const bool in_file : {false, true}) {
    BodyPool::Options options = DefaultOptions();
    if (in_file) options.memory_bytes_max = 0;
    MakePool(options);
    std::unique_ptr<Body> body = Acquire();
    ASSERT_TRUE(Fill(*body, std::string(3 * kMebi, 'x')));
    ASSERT_GE(body->SealForScan(), 0);
    EXPECT_TRUE(body->Untouched());
    const uint64_t before = ShrunkenFilesMet();
    CutShort(*body);
    EXPECT_FALSE(body->Untouched());
    const std::string_view content = body->content();
    EXPECT_EQ(std::count(content.begin(), content.end(), '\0'), static_cast<ptrdiff_t>(content.size()));
    EXPECT_GT(ShrunkenFilesMet(), before);
    pool_->Release(std::move(body));
    body = Acquire();
    ASSERT_TRUE(Fill(*body, "the next message")) << "and its memory is not used again";
    EXPECT_EQ(body->content(), "the next message");
    pool_->Release(std::move(body));
  }
}

TEST_F(ShrunkenFileTest, CanBeWrittenTo) {
  std::unique_ptr<Body> body = Acquire();
  const std::span<char> room = body->room();
  CutShort(*body);
  std::memset(room.data(), 'y', room.size());
  body->Extend(room.size());
  EXPECT_EQ(body->content().back(), 'y');
  pool_->Release(std::move(body));
}

TEST_F(ShrunkenFileTest, DoesNotSurviveOtherBusErrors) {
  EXPECT_EXIT(raise(SIGBUS), testing::KilledBySignal(SIGBUS), "");
  EXPECT_EXIT(
      {
        char path[] = "/tmp/bivalve-named.XXXXXX";
        const int fd = mkstemp(path);
        if (fd < 0 || ftruncate(fd, 4096) != 0) _exit(1);
        auto* bytes = static_cast<volatile char*>(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 0));
        if (ftruncate(fd, 0) != 0) _exit(1);
        unlink(path);
        _exit(bytes[0]);
      },
      testing::KilledBySignal(SIGBUS), "");
}

TEST_F(ShrunkenFileTest, SeesAModeThatWasChangedAndChangedBack) {
  std::unique_ptr<Body> body = Acquire();
  ASSERT_TRUE(Fill(*body, "content"));
  ASSERT_GE(body->SealForScan(), 0);
  const std::string path = Cat("/proc/self/fd/", body->SealForScan());
  // One tick of the clock with which kernels before 6.13 stamp files.
  usleep(20'000);
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  EXPECT_FALSE(body->Untouched());
  ASSERT_EQ(chmod(path.c_str(), 0400), 0);
  EXPECT_FALSE(body->Untouched());
  pool_->Release(std::move(body));
  body = Acquire();
  ASSERT_GE(body->SealForScan(), 0);
  EXPECT_TRUE(body->Untouched()) << "the next message is another one's";
  pool_->Release(std::move(body));
}

// Even our own user, who can open the file for writing, can neither write to it nor seal it against us.
TEST_F(ShrunkenFileTest, KeepsItsContentFromWhoOpensItForWriting) {
  std::unique_ptr<Body> body = Acquire();
  ASSERT_TRUE(Fill(*body, "content"));
  const std::string path = Cat("/proc/self/fd/", body->SealForScan());
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  const UniqueFd writable(open(path.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(writable.valid());
  EXPECT_EQ(pwrite(writable.get(), "x", 1, TestFront().size()), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writable.get(), 0), MAP_FAILED);
  EXPECT_EQ(fallocate(writable.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
  EXPECT_EQ(fcntl(writable.get(), F_ADD_SEALS, F_SEAL_GROW), -1);
  EXPECT_EQ(body->content(), "content");
  ASSERT_TRUE(Fill(*body, std::string(9 * kMebi, 'x'))) << "the pool itself writes, and makes it grow";
  pool_->Release(std::move(body));
}

}  // namespace
}  // namespace bivalve::core
