// Histogram: how long things took, in log-linear buckets. Each power of two has 16 buckets, so a percentile
// is off by at most 6 %, from 1 µs to more than an hour. Only the owner records; others may read at any time.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace bivalve::core {

class Histogram {
 public:
  static constexpr int kSubBits = 4;
  static constexpr int kValueBits = 32;  // 2^32 µs: 71 minutes; longer values count as that
  static constexpr size_t kBuckets = (kValueBits - kSubBits + 1) << kSubBits;

  // The bucket of a value, and the smallest value of a bucket.
  static size_t BucketOf(uint64_t value);
  static uint64_t LowerBound(size_t bucket);

  // Owner only.
  void Record(uint64_t value);

  // The values recorded up to about now. A plain value; snapshots can be added up.
  struct Snapshot {
    std::array<uint64_t, kBuckets> buckets = {};
    uint64_t count = 0;
    uint64_t sum = 0;
    uint64_t max = 0;

    void Add(const Snapshot& other);
    // The value that `fraction` (0..1) of the recorded values do not exceed: the middle of its bucket, and
    // never more than max. 0 if nothing was recorded.
    uint64_t Percentile(double fraction) const;
    uint64_t Mean() const { return count == 0 ? 0 : sum / count; }
    // How many recorded values are at most `value`, exact at bucket bounds.
    uint64_t CountUpTo(uint64_t value) const;
  };
  Snapshot Read() const;  // Any thread.

 private:
  std::array<std::atomic<uint64_t>, kBuckets> buckets_ = {};
  std::atomic<uint64_t> sum_ = 0;
  std::atomic<uint64_t> max_ = 0;
};

}  // namespace bivalve::core
