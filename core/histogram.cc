#include "core/histogram.h"

#include <algorithm>
#include <cmath>

namespace bivalve::core {
namespace {

constexpr uint64_t kSub = uint64_t{1} << Histogram::kSubBits;
constexpr uint64_t kValueMax = (uint64_t{1} << Histogram::kValueBits) - 1;

void Increase(std::atomic<uint64_t>& cell, uint64_t n) {
  cell.store(cell.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

}  // namespace

// Values below 16 have a bucket each. Above that, the highest bit selects the group and the next four bits
// select the bucket.
size_t Histogram::BucketOf(uint64_t value) {
  value = std::min(value, kValueMax);
  if (value < kSub) return value;
  const int shift = 63 - __builtin_clzll(value) - kSubBits;
  return (static_cast<size_t>(shift) << kSubBits) + (value >> shift);
}

uint64_t Histogram::LowerBound(size_t bucket) {
  if (bucket < 2 * kSub) return bucket;
  const uint64_t shift = (bucket >> kSubBits) - 1;
  return (kSub + (bucket & (kSub - 1))) << shift;
}

void Histogram::Record(uint64_t value) {
  Increase(buckets_[BucketOf(value)], 1);
  Increase(sum_, value);
  if (value > max_.load(std::memory_order_relaxed)) max_.store(value, std::memory_order_relaxed);
}

Histogram::Snapshot Histogram::Read() const {
  Snapshot snapshot;
  for (size_t i = 0; i < kBuckets; ++i) {
    snapshot.buckets[i] = buckets_[i].load(std::memory_order_relaxed);
    snapshot.count += snapshot.buckets[i];
  }
  snapshot.sum = sum_.load(std::memory_order_relaxed);
  snapshot.max = max_.load(std::memory_order_relaxed);
  return snapshot;
}

void Histogram::Snapshot::Add(const Snapshot& other) {
  for (size_t i = 0; i < kBuckets; ++i) buckets[i] += other.buckets[i];
  count += other.count;
  sum += other.sum;
  max = std::max(max, other.max);
}

uint64_t Histogram::Snapshot::Percentile(double fraction) const {
  if (count == 0) return 0;
  const auto rank =
      std::max<uint64_t>(1, static_cast<uint64_t>(std::ceil(fraction * static_cast<double>(count))));
  uint64_t seen = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    seen += buckets[i];
    if (seen >= rank) {
      const uint64_t low = LowerBound(i);
      const uint64_t high = i + 1 < kBuckets ? LowerBound(i + 1) : kValueMax;
      return std::min(low + (high - low) / 2, max);
    }
  }
  return max;
}

uint64_t Histogram::Snapshot::CountUpTo(uint64_t value) const {
  uint64_t seen = 0;
  for (size_t i = 0; i < kBuckets && LowerBound(i) <= value; ++i) seen += buckets[i];
  return seen;
}

}  // namespace bivalve::core
