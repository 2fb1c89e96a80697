#include "core/body.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/text.h"
#include "tests/core/body_fixture.h"

namespace bivalve::core {
namespace {

class BodyTest : public BodyFixture {
 protected:
  static std::string ReadFrom(int fd) {
    struct stat status = {};
    EXPECT_EQ(fstat(fd, &status), 0);
    std::string bytes(static_cast<size_t>(status.st_size) + 1, '\0');
    const ssize_t got = pread(fd, bytes.data(), bytes.size(), 0);
    bytes.resize(got < 0 ? 0 : static_cast<size_t>(got));
    return bytes;
  }
};

TEST_F(BodyTest, IsEmptyWithRoomAtFirst) {
  std::unique_ptr<Body> body = Acquire();
  ASSERT_NE(body, nullptr);
  EXPECT_EQ(body->content(), "");
  EXPECT_GE(body->room().size(), 60 * kKibi);
  EXPECT_FALSE(body->in_file());
  pool_->Release(std::move(body));
}

TEST_F(BodyTest, AlignsItsContentToACacheLine) {
  std::unique_ptr<Body> body = Acquire();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(body->content().data()) % 64, 0u);
  pool_->Release(std::move(body));
}

TEST_F(BodyTest, AbortsWhenExtendedBeyondItsRoom) {
  std::unique_ptr<Body> body = Acquire();
  EXPECT_DEATH(body->Extend(body->room().size() + 1), "check failed");
  pool_->Release(std::move(body));
}

TEST_F(BodyTest, ShowsTheScannerItsFrontAndTheContentExactly) {
  for (const size_t bytes :
       {size_t{0}, size_t{1}, 10 * kKibi, 64 * kKibi - TestFront().size(), 64 * kKibi, kMebi + 1}) {
    std::unique_ptr<Body> body = Acquire();
    const std::string content = Pattern(bytes);
    ASSERT_TRUE(Fill(*body, content));
    const int fd = body->SealForScan();
    ASSERT_GE(fd, 0);
    EXPECT_TRUE(ReadFrom(fd) == Cat(TestFront(), content)) << bytes;
    EXPECT_EQ(body->image_bytes(), TestFront().size() + bytes);
    EXPECT_TRUE(body->content() == content);
    EXPECT_EQ(body->SealForScan(), fd) << "a second scan gets the same";
    pool_->Release(std::move(body));
  }
}

TEST_F(BodyTest, HoldsWhatHasNoFront) {
  // A larger body is kept, to move into.
  std::unique_ptr<Body> larger = Acquire();
  ASSERT_TRUE(Fill(*larger, Pattern(4 * kMebi)));
  std::unique_ptr<Body> body = Acquire();
  ASSERT_TRUE(Fill(*body, "with a front"));
  EXPECT_TRUE(ReadFrom(body->SealForScan()) == Cat(TestFront(), "with a front"));
  pool_->Release(std::move(larger));
  body->BeginWithoutFront();
  for (const size_t bytes : {size_t{3}, 3 * kMebi + 5, size_t{1000}}) {
    body->Clear();
    const std::string content = Pattern(bytes);
    ASSERT_TRUE(Fill(*body, content));
    EXPECT_TRUE(body->content() == content);
    EXPECT_TRUE(ReadFrom(body->SealForScan()) == content);
    EXPECT_TRUE(body->Untouched());
  }
  // Its memory, and that of bodies from which it has moved, have a front again.
  std::vector<std::unique_ptr<Body>> bodies;
  pool_->Release(std::move(body));
  for (int i = 0; i < 6; ++i) {
    bodies.push_back(Acquire());
    ASSERT_TRUE(Fill(*bodies.back(), "the next message"));
    EXPECT_TRUE(ReadFrom(bodies.back()->SealForScan()) == Cat(TestFront(), "the next message"));
  }
  for (std::unique_ptr<Body>& one : bodies) pool_->Release(std::move(one));
}

TEST_F(BodyTest, HasItsFrontAgainForTheNextMessage) {
  for (const size_t bytes : {size_t{0}, size_t{10}, 3 * kMebi}) {
    std::unique_ptr<Body> body = Acquire();
    ASSERT_TRUE(Fill(*body, Pattern(bytes)));
    std::ranges::fill(body->ChangeImage(), 'z');
    body->SetContentAtStart();
    ASSERT_GE(body->SealForScan(), 0);
    const uint64_t number = body->number();
    pool_->Release(std::move(body));
    body = Acquire(bytes);
    EXPECT_EQ(body->number(), number) << "the same memory";
    ASSERT_TRUE(Fill(*body, "the next message"));
    EXPECT_TRUE(ReadFrom(body->SealForScan()) == Cat(TestFront(), "the next message"));
    pool_->Release(std::move(body));
  }
}

TEST_F(BodyTest, KeepsTheLastImagesSizeUntilItHasToGrow) {
  std::unique_ptr<Body> body = Acquire();
  ASSERT_TRUE(Fill(*body, Pattern(10 * kKibi)));
  ASSERT_GE(body->SealForScan(), 0);
  pool_->Release(std::move(body));
  body = Acquire();
  EXPECT_TRUE(body->short_file());
  EXPECT_EQ(body->room().size(), 10 * kKibi);
  const std::string content = Pattern(10 * kKibi + 1);
  ASSERT_TRUE(Fill(*body, content));
  EXPECT_FALSE(body->short_file());
  EXPECT_TRUE(ReadFrom(body->SealForScan()) == Cat(TestFront(), content));
  pool_->Release(std::move(body));
  body = Acquire(11 * kKibi);
  EXPECT_FALSE(body->short_file()) << "a larger message was announced";
  ASSERT_GE(body->SealForScan(), 0);
  pool_->Release(std::move(body));
  body = Acquire();
  EXPECT_GE(body->room().size(), Body::kRoomBytesMin) << "after an empty message";
  pool_->Release(std::move(body));
}

TEST_F(BodyTest, ShowsTheSameOfAFile) {
  BodyPool::Options options = DefaultOptions();
  options.memory_bytes_max = 0;
  MakePool(options);
  std::unique_ptr<Body> body = Acquire();
  ASSERT_NE(body, nullptr);
  EXPECT_TRUE(body->in_file());
  const std::string content = Pattern(5 * kMebi + 7);
  ASSERT_TRUE(Fill(*body, content));
  EXPECT_TRUE(ReadFrom(body->SealForScan()) == Cat(TestFront(), content));
  EXPECT_TRUE(body->content() == content);
  pool_->Release(std::move(body));
}

TEST_F(BodyTest, ShowsNothingOfTheMessageBefore) {
  std::unique_ptr<Body> body = Acquire();
  ASSERT_TRUE(Fill(*body, std::string(50 * kKibi, 's')));
  EXPECT_GE(body->SealForScan(), 0);
  const uint64_t number = body->number();
  pool_->Release(std::move(body));
  body = Acquire();
  ASSERT_EQ(body->number(), number) << "the same memory";
  EXPECT_EQ(body->content(), "");
  ASSERT_TRUE(Fill(*body, "short"));
  EXPECT_TRUE(ReadFrom(body->SealForScan()) == Cat(TestFront(), "short"));
  pool_->Release(std::move(body));
}

TEST_F(BodyTest, GrowsAgainAfterItWasSealedAndReused) {
  for (const size_t bytes : {size_t{10}, 3 * kMebi, size_t{100}, 200 * kKibi, 5 * kMebi}) {
    std::unique_ptr<Body> body = Acquire();
    const std::string content = Pattern(bytes, bytes);
    ASSERT_TRUE(Fill(*body, content));
    EXPECT_TRUE(ReadFrom(body->SealForScan()) == Cat(TestFront(), content));
    EXPECT_TRUE(body->content() == content);
    pool_->Release(std::move(body));
  }
}

TEST_F(BodyTest, TheScannersDescriptorCannotWrite) {
  std::unique_ptr<Body> body = Acquire();
  ASSERT_TRUE(Fill(*body, "content"));
  const int fd = body->SealForScan();
  EXPECT_LT(pwrite(fd, "x", 1, 0), 0);
  EXPECT_LT(ftruncate(fd, 0), 0);
  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
  EXPECT_EQ(body->content(), "content");
  pool_->Release(std::move(body));
}

// A scanner of another user cannot open it for writing through /proc either. Runs in a child, as nobody.
TEST_F(BodyTest, TheScannerCannotOpenItAgainForWriting) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  for (const bool in_file : {false, true}) {
    BodyPool::Options options = DefaultOptions();
    if (in_file) options.memory_bytes_max = 0;
    MakePool(options);
    std::unique_ptr<Body> body = Acquire();
    ASSERT_EQ(body->in_file(), in_file);
    ASSERT_TRUE(Fill(*body, "content"));
    const std::string path = Cat("/proc/self/fd/", body->SealForScan());
    const pid_t child = fork();
    if (child == 0) {
      // Without PR_SET_DUMPABLE the child could not read its own /proc, and the test would prove nothing.
      if (setgid(65534) != 0 || setuid(65534) != 0 || prctl(PR_SET_DUMPABLE, 1) != 0) _exit(2);
      struct stat status = {};
      if (stat(path.c_str(), &status) != 0) _exit(3);
      if (open(path.c_str(), O_RDWR) >= 0) _exit(4);
      if (truncate(path.c_str(), 0) == 0) _exit(5);
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "exit code " << WEXITSTATUS(status);
    EXPECT_EQ(body->content(), "content");
    pool_->Release(std::move(body));
  }
}

TEST_F(BodyTest, NamesItsMemoryAsClamdLogsIt) {
  BodyPool::Options options = DefaultOptions();
  options.name = "bivalve-3";
  MakePool(options);
  std::unique_ptr<Body> body = Acquire();
  EXPECT_EQ(std::filesystem::read_symlink(Cat("/proc/self/fd/", body->fd())),
            Cat("/memfd:bivalve-3-", body->number(), " (deleted)"));
  pool_->Release(std::move(body));
}

TEST_F(BodyTest, KeepsItsDescriptorsFromChildren) {
  std::unique_ptr<Body> body = Acquire();
  EXPECT_NE(fcntl(body->fd(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_NE(fcntl(body->SealForScan(), F_GETFD) & FD_CLOEXEC, 0);
  pool_->Release(std::move(body));
}

}  // namespace
}  // namespace bivalve::core
