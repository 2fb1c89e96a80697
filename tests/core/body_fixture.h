// For tests of bodies: a pool on a real ring (or on another Io), and a way to fill a body as a session does.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "core/body_pool.h"
#include "core/ring.h"
#include "tests/core/run_task.h"

namespace bivalve::core {

constexpr size_t kKibi = 1024;
constexpr size_t kMebi = 1024 * kKibi;

// Bytes that show their own position.
inline std::string Pattern(size_t bytes, size_t seed = 0) {
  std::string pattern(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) pattern[i] = static_cast<char>((i + seed) * 31 + (i + seed) / 253);
  return pattern;
}

// The front of the test's bodies.
inline const std::string& TestFront() {
  static const std::string front(18 * 64, 'F');
  return front;
}

inline size_t OpenDescriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

class BodyHarness {
 public:
  BodyHarness() : BodyHarness(Ring::Open({}).value()) {}
  explicit BodyHarness(std::unique_ptr<Io> io) : io_(std::move(io)) {}

  static BodyPool::Options DefaultOptions() {
    BodyPool::Options options;
    options.temp_directory = testing::TempDir();
    options.front = TestFront();
    return options;
  }
  void MakePool(const BodyPool::Options& options) {
    pool_.reset();
    pool_ = std::make_unique<BodyPool>(loop_, options);
  }

  std::unique_ptr<Body> Acquire(uint64_t bytes_expected = 0) {
    return RunTask(loop_, pool_->Acquire(bytes_expected));
  }
  bool Grow(Body& body) { return RunTask(loop_, pool_->Grow(body)); }

  // Appends `bytes`, growing as needed. False if the body cannot grow.
  bool Fill(Body& body, std::string_view bytes) {
    while (!bytes.empty()) {
      if (body.room().empty()) {
        if (!Grow(body)) return false;
        EXPECT_FALSE(body.room().empty());
      }
      const size_t part = std::min(bytes.size(), body.room().size());
      std::memcpy(body.room().data(), bytes.data(), part);
      body.Extend(part);
      bytes.remove_prefix(part);
    }
    return true;
  }

  BodyPool& pool() { return *pool_; }

 protected:
  const std::unique_ptr<Io> io_;
  Loop loop_{*io_};
  std::unique_ptr<BodyPool> pool_ = std::make_unique<BodyPool>(loop_, DefaultOptions());
};

class BodyFixture : public testing::Test, protected BodyHarness {};

}  // namespace bivalve::core
