#include "core/body_pool.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>
#include <thread>
#include <vector>

#include "core/text.h"
#include "tests/core/body_fixture.h"
#include "tests/sim/sim_io.h"

namespace bivalve::core {
namespace {

using BodyPoolTest = BodyFixture;

// --- Growing

TEST_F(BodyPoolTest, KeepsTheContentAcrossEveryThreshold) {
  BodyPool::Options options = DefaultOptions();
  options.in_memory_message_bytes_max = 6 * kMebi;
  MakePool(options);
  std::unique_ptr<Body> body = Acquire();
  const std::string content = Pattern(15 * kMebi);
  std::set<bool> in_file;
  // Steps that end just before, at and behind each size at which the body grows.
  size_t done = 0;
  for (const size_t edge : {64 * kKibi, 256 * kKibi, kMebi, 2 * kMebi, 3 * kMebi, 4 * kMebi, 5 * kMebi,
                            6 * kMebi, 8 * kMebi, 12 * kMebi}) {
    for (const size_t end : {edge - 65, edge - 64, edge - 63, edge}) {
      ASSERT_TRUE(Fill(*body, std::string_view(content).substr(done, end - done)));
      done = end;
      ASSERT_TRUE(body->content() == std::string_view(content).substr(0, done)) << done;
      in_file.insert(body->in_file());
    }
  }
  EXPECT_TRUE(body->in_file());
  EXPECT_EQ(in_file.size(), 2u);
  EXPECT_EQ(pool_->file_bodies(), 1u);
  pool_->Release(std::move(body));
  EXPECT_EQ(pool_->file_bodies(), 0u);
  EXPECT_EQ(pool_->bodies_out(), 0u);
}

TEST_F(BodyPoolTest, ChargesWhatIsReady) {
  std::unique_ptr<Body> body = Acquire();
  EXPECT_EQ(pool_->memory_bytes(), 64 * kKibi);
  ASSERT_TRUE(Fill(*body, Pattern(64 * kKibi)));
  EXPECT_EQ(pool_->memory_bytes(), 256 * kKibi);
  ASSERT_TRUE(Fill(*body, Pattern(kMebi)));
  EXPECT_EQ(pool_->memory_bytes(), 2 * kMebi);
  pool_->Release(std::move(body));
  EXPECT_EQ(pool_->memory_bytes(), 2 * kMebi) << "kept";
}

// --- Memory for bodies is short

TEST_F(BodyPoolTest, StartsInAFileWhenMemoryIsUsedUp) {
  BodyPool::Options options = DefaultOptions();
  options.memory_bytes_max = 130 * kKibi;
  MakePool(options);
  std::unique_ptr<Body> bodies[] = {Acquire(), Acquire(), Acquire()};
  EXPECT_FALSE(bodies[0]->in_file());
  EXPECT_FALSE(bodies[1]->in_file());
  EXPECT_TRUE(bodies[2]->in_file());
  pool_->Release(std::move(bodies[0]));
  std::unique_ptr<Body> again = Acquire();
  EXPECT_FALSE(again->in_file());
  pool_->Release(std::move(again));
  pool_->Release(std::move(bodies[1]));
  pool_->Release(std::move(bodies[2]));
}

TEST_F(BodyPoolTest, MovesToAFileWhenMemoryIsUsedUp) {
  BodyPool::Options options = DefaultOptions();
  options.memory_bytes_max = 300 * kKibi;
  MakePool(options);
  std::unique_ptr<Body> body = Acquire();
  const std::string content = Pattern(kMebi);
  ASSERT_TRUE(Fill(*body, content));
  EXPECT_TRUE(body->in_file());
  EXPECT_TRUE(body->content() == content);
  EXPECT_EQ(pool_->memory_bytes(), 256 * kKibi) << "the memory that it left is kept";
  pool_->Release(std::move(body));
}

TEST_F(BodyPoolTest, TakesMemoryFromKeptBodiesFirst) {
  BodyPool::Options options = DefaultOptions();
  options.memory_bytes_max = kMebi;
  MakePool(options);
  std::vector<std::unique_ptr<Body>> bodies;
  for (int i = 0; i < 16; ++i) bodies.push_back(Acquire());
  EXPECT_EQ(pool_->memory_bytes(), kMebi);
  for (auto& body : bodies) pool_->Release(std::move(body));
  EXPECT_EQ(pool_->memory_bytes(), kMebi);
  std::unique_ptr<Body> body = Acquire();
  ASSERT_TRUE(Fill(*body, Pattern(900 * kKibi)));
  EXPECT_FALSE(body->in_file());
  EXPECT_EQ(pool_->memory_bytes(), kMebi);
  pool_->Release(std::move(body));
}

TEST_F(BodyPoolTest, FollowsAChangeOfItsBudget) {
  std::unique_ptr<Body> first = Acquire();
  pool_->set_memory_bytes_max(0);
  std::unique_ptr<Body> second = Acquire();
  EXPECT_TRUE(second->in_file());
  ASSERT_TRUE(Fill(*first, Pattern(100 * kKibi)));
  EXPECT_TRUE(first->in_file());
  pool_->Release(std::move(first));
  pool_->Release(std::move(second));
  pool_->set_memory_bytes_max(kMebi);
  std::unique_ptr<Body> third = Acquire();
  EXPECT_FALSE(third->in_file());
  pool_->Release(std::move(third));
}

// NFS has no O_TMPFILE.
TEST_F(BodyPoolTest, MakesFilesWhereTheFileSystemHasNoUnnamedOnes) {
  std::string directory = testing::TempDir() + "/body_pool_test.XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  BodyPool::Options options = DefaultOptions();
  options.temp_directory = directory;
  options.unnamed_files = false;
  options.memory_bytes_max = 0;
  MakePool(options);
  std::unique_ptr<Body> body = Acquire();
  ASSERT_NE(body, nullptr);
  EXPECT_TRUE(body->in_file());
  const std::string content = Pattern(2 * kMebi);
  ASSERT_TRUE(Fill(*body, content));
  EXPECT_TRUE(body->content() == content);
  EXPECT_GE(body->SealForScan(), 0);
  pool_->Release(std::move(body));
  // Empty: nothing was left behind.
  EXPECT_EQ(rmdir(directory.c_str()), 0);
}

// --- Neither memory nor disk

TEST_F(BodyPoolTest, SaysNoWhenTheTempDirectoryIsMissing) {
  BodyPool::Options options = DefaultOptions();
  options.temp_directory = testing::TempDir() + "/no such directory";
  options.memory_bytes_max = 100 * kKibi;
  MakePool(options);
  std::unique_ptr<Body> body = Acquire();
  ASSERT_NE(body, nullptr);
  EXPECT_EQ(Acquire(), nullptr);
  const std::string content = Pattern(body->room().size());
  ASSERT_TRUE(Fill(*body, content));
  EXPECT_FALSE(Grow(*body));
  EXPECT_TRUE(body->room().empty());
  EXPECT_TRUE(body->content() == content);
  EXPECT_FALSE(Grow(*body));
  EXPECT_GE(body->SealForScan(), 0);
  pool_->Release(std::move(body));
  EXPECT_EQ(pool_->bodies_out(), 0u);
  EXPECT_EQ(pool_->file_bodies(), 0u);
}

// A directory with its own file system of `bytes`, which only the calling thread sees. For a thread that ends
// with it and has not used a ring before, because a ring's kernel threads see what the thread saw when they
// began.
class SmallDisk {
 public:
  explicit SmallDisk(size_t bytes) : path_(Cat(testing::TempDir(), "/bivalve-disk-", getpid())) {
    if (mkdir(path_.c_str(), 0700) != 0 || unshare(CLONE_NEWNS) != 0) return;
    if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return;
    const std::string size = Cat("size=", bytes);
    mounted_ = mount("tmpfs", path_.c_str(), "tmpfs", 0, size.c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount2(path_.c_str(), MNT_DETACH);
    rmdir(path_.c_str());
  }
  bool mounted() const { return mounted_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool mounted_ = false;
};

// Runs `test` with a pool over a disk of `disk_bytes`. False if the system does not allow it.
bool WithSmallDisk(size_t disk_bytes, uint64_t memory_bytes_max, void (*test)(BodyHarness&)) {
  bool mounted = false;
  std::thread thread([&] {
    const SmallDisk disk(disk_bytes);
    mounted = disk.mounted();
    if (!mounted) return;
    BodyPool::Options options = BodyHarness::DefaultOptions();
    options.temp_directory = disk.path();
    options.memory_bytes_max = memory_bytes_max;
    BodyHarness bodies;
    bodies.MakePool(options);
    test(bodies);
  });
  thread.join();
  return mounted;
}

void FillTheDisk(BodyHarness& bodies) {
  std::unique_ptr<Body> body = bodies.Acquire();
  ASSERT_NE(body, nullptr);
  const std::string content = Pattern(8 * kMebi - TestFront().size());
  ASSERT_TRUE(bodies.Fill(*body, content));
  EXPECT_FALSE(bodies.Grow(*body));
  EXPECT_TRUE(body->content() == content);
  EXPECT_TRUE(body->room().empty());
  // The remaining room is too little for this body to double, and enough for a few small ones.
  std::vector<std::unique_ptr<Body>> others;
  while (std::unique_ptr<Body> another = bodies.Acquire()) others.push_back(std::move(another));
  EXPECT_LT(others.size(), 64u);
  EXPECT_EQ(bodies.pool().file_bodies(), 1u + others.size());
  for (std::unique_ptr<Body>& another : others) bodies.pool().Release(std::move(another));
  const int fd = body->SealForScan();
  ASSERT_GE(fd, 0);
  struct stat status = {};
  ASSERT_EQ(fstat(fd, &status), 0);
  EXPECT_EQ(static_cast<size_t>(status.st_size), body->image_bytes());
  bodies.pool().Release(std::move(body));
  body = bodies.Acquire();
  EXPECT_NE(body.get(), nullptr) << "the space is free again";
  bodies.pool().Release(std::move(body));
}

TEST_F(BodyPoolTest, SaysNoWhenTheDiskIsFull) {
  if (!WithSmallDisk(10 * kMebi, 0, FillTheDisk)) GTEST_SKIP() << "may not mount a file system";
}

void MoveToAFullDisk(BodyHarness& bodies) {
  std::unique_ptr<Body> body = bodies.Acquire();
  const std::string content = Pattern(256 * kKibi - TestFront().size());
  ASSERT_TRUE(bodies.Fill(*body, content));
  EXPECT_FALSE(bodies.Grow(*body));
  EXPECT_FALSE(body->in_file());
  EXPECT_TRUE(body->content() == content);
  bodies.pool().Release(std::move(body));
  EXPECT_EQ(bodies.pool().file_bodies(), 0u);
}

TEST_F(BodyPoolTest, SaysNoWhenABodyInMemoryCannotMoveToAFullDisk) {
  if (!WithSmallDisk(2 * kMebi, 256 * kKibi, MoveToAFullDisk)) GTEST_SKIP() << "may not mount a file system";
}

// Calls Acquire() when no descriptor is left.
std::unique_ptr<Body> AcquireWithoutDescriptors(BodyHarness& bodies) {
  const int lowest_free = dup(0);
  close(lowest_free);
  rlimit limit = {};
  EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit low = {.rlim_cur = static_cast<rlim_t>(lowest_free), .rlim_max = limit.rlim_max};
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  std::unique_ptr<Body> body = bodies.Acquire();
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  return body;
}

TEST_F(BodyPoolTest, SaysNoWhenDescriptorsRunOut) {
  EXPECT_EQ(AcquireWithoutDescriptors(*this), nullptr);
  EXPECT_EQ(pool_->memory_bytes(), 0u);
  EXPECT_EQ(pool_->bodies_out(), 0u);
}

TEST_F(BodyPoolTest, TakesDescriptorsFromAKeptBody) {
  std::unique_ptr<Body> large = Acquire();
  ASSERT_TRUE(Fill(*large, Pattern(kMebi)));
  pool_->Release(std::move(large));
  std::unique_ptr<Body> body = AcquireWithoutDescriptors(*this);
  ASSERT_NE(body, nullptr);
  EXPECT_EQ(pool_->memory_bytes(), 64 * kKibi);
  pool_->Release(std::move(body));
}

// --- Keeping

TEST_F(BodyPoolTest, UsesAKeptBodyAgain) {
  std::unique_ptr<Body> body = Acquire();
  const uint64_t number = body->number();
  pool_->Release(std::move(body));
  body = Acquire();
  EXPECT_EQ(body->number(), number);
  pool_->Release(std::move(body));
}

TEST_F(BodyPoolTest, NeverUsesADiscardedBodyAgain) {
  std::unique_ptr<Body> body = Acquire();
  const uint64_t number = body->number();
  pool_->Discard(std::move(body));
  EXPECT_EQ(pool_->memory_bytes(), 0u);
  body = Acquire();
  EXPECT_NE(body->number(), number);
  pool_->Release(std::move(body));
}

TEST_F(BodyPoolTest, TakesNothing) {
  pool_->Release(nullptr);
  pool_->Discard(nullptr);
  EXPECT_EQ(pool_->bodies_out(), 0u);
}

TEST_F(BodyPoolTest, KeepsNoMoreBodiesThanItMay) {
  BodyPool::Options options = DefaultOptions();
  options.kept_bodies_max = 2;
  MakePool(options);
  const size_t descriptors = OpenDescriptors();
  std::vector<std::unique_ptr<Body>> bodies;
  for (int i = 0; i < 5; ++i) bodies.push_back(Acquire());
  for (auto& body : bodies) pool_->Release(std::move(body));
  EXPECT_EQ(pool_->memory_bytes(), 2 * 64 * kKibi);
  EXPECT_EQ(OpenDescriptors(), descriptors + 2 * 2);  // each has one for writing and one for reading only
}

TEST_F(BodyPoolTest, KeepsNothingAboveANewBudget) {
  std::vector<std::unique_ptr<Body>> bodies;
  for (int i = 0; i < 5; ++i) bodies.push_back(Acquire());
  pool_->set_memory_bytes_max(3 * 64 * kKibi);
  for (auto& body : bodies) pool_->Release(std::move(body));
  EXPECT_EQ(pool_->memory_bytes(), 3 * 64 * kKibi);
}

TEST_F(BodyPoolTest, GivesALargeMessageTheLargePages) {
  std::unique_ptr<Body> large = Acquire();
  ASSERT_TRUE(Fill(*large, Pattern(kMebi)));
  const uint64_t large_number = large->number();
  std::unique_ptr<Body> small = Acquire();
  const uint64_t small_number = small->number();
  pool_->Release(std::move(large));
  pool_->Release(std::move(small));
  small = Acquire(1000);
  EXPECT_EQ(small->number(), small_number);
  large = Acquire(kMebi);
  EXPECT_EQ(large->number(), large_number);
  EXPECT_GT(large->room().size(), kMebi);
  pool_->Release(std::move(large));
  pool_->Release(std::move(small));
}

// A message of unknown size that turns out large moves into large kept pages.
TEST_F(BodyPoolTest, LetsAGrowingMessageTakeOverLargePages) {
  std::unique_ptr<Body> large = Acquire();
  ASSERT_TRUE(Fill(*large, Pattern(kMebi)));
  const uint64_t large_number = large->number();
  std::unique_ptr<Body> body = Acquire();
  const std::string content = Pattern(kMebi, 99);
  ASSERT_TRUE(Fill(*body, std::string_view(content).substr(0, 1000)));
  EXPECT_GE(large->SealForScan(), 0);
  pool_->Release(std::move(large));
  const uint64_t memory = pool_->memory_bytes();
  ASSERT_TRUE(Fill(*body, std::string_view(content).substr(1000)));
  EXPECT_EQ(body->number(), large_number);
  EXPECT_TRUE(body->content() == content);
  EXPECT_LE(pool_->memory_bytes(), memory + 256 * kKibi);
  EXPECT_EQ(pool_->bodies_out(), 1u);
  pool_->Release(std::move(body));
}

// --- Accounting

// Many bodies of random sizes come and go over a small budget. Contents stay intact, and at the end nothing
// is charged.
TEST_F(BodyPoolTest, AccountsForEverythingInTheEnd) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    SCOPED_TRACE(seed);
    const size_t descriptors = OpenDescriptors();
    sim::Random random(seed);
    BodyPool::Options options = DefaultOptions();
    options.memory_bytes_max = 6 * kMebi;
    options.in_memory_message_bytes_max = 3 * kMebi;
    options.kept_bytes_always = random.Chance(0.5) ? 2 * kMebi : 0;
    options.kept_bodies_max = 4;
    options.kept_unused_max = std::chrono::milliseconds(1);
    MakePool(options);
    struct Held {
      std::unique_ptr<Body> body;
      std::string content;
    };
    std::vector<Held> held;
    for (int step = 0; step < 200; ++step) {
      if (held.size() < 8 && random.Chance(0.5)) {
        held.push_back({Acquire(random.Below(kMebi)), ""});
        ASSERT_NE(held.back().body, nullptr);
      } else if (!held.empty()) {
        Held& some = held[random.Below(held.size())];
        if (random.Chance(0.7)) {
          const std::string more =
              Pattern(random.Below(size_t{1} << (1 + random.Below(20))), random.Next() % 1000);
          ASSERT_TRUE(Fill(*some.body, more));
          some.content += more;
        } else {
          ASSERT_TRUE(some.body->content() == some.content);
          if (random.Chance(0.7)) {
            ASSERT_GE(some.body->SealForScan(), 0);
          }
          if (random.Chance(0.8)) {
            pool_->Release(std::move(some.body));
          } else {
            pool_->Discard(std::move(some.body));
          }
          std::swap(some, held.back());
          held.pop_back();
        }
      }
      ASSERT_LE(pool_->memory_bytes(), options.memory_bytes_max);
      ASSERT_EQ(pool_->bodies_out(), held.size());
      ASSERT_LE(pool_->file_bodies(), held.size());
    }
    for (Held& some : held) {
      ASSERT_TRUE(some.body->content() == some.content);
      pool_->Release(std::move(some.body));
    }
    EXPECT_EQ(pool_->bodies_out(), 0u);
    EXPECT_EQ(pool_->file_bodies(), 0u);
    const MonoTime end = loop_.Now() + std::chrono::seconds(20);
    while (pool_->memory_bytes() > options.kept_bytes_always && loop_.Now() < end) loop_.Turn(end);
    EXPECT_LE(pool_->memory_bytes(), options.kept_bytes_always);
    pool_.reset();
    EXPECT_EQ(OpenDescriptors(), descriptors);
  }
}

TEST_F(BodyPoolTest, AbortsWhenDestroyedWithABodyOut) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  std::unique_ptr<Body> body = Acquire();
  EXPECT_DEATH(pool_.reset(), "out_ == 0");
  pool_->Release(std::move(body));
}

}  // namespace
}  // namespace bivalve::core
