// PublishedText: a short text that one thread sets and others read, without a lock: a scanner's version, for
// statistics.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace bivalve::scan {

class PublishedText {
 public:
  static constexpr size_t kBytesMax = 15 * sizeof(uint64_t);

  // Owner only. A longer text is cut.
  void Set(std::string_view text) {
    std::array<uint64_t, kWords> words = {};
    words[0] = std::min(text.size(), kBytesMax);
    std::memcpy(&words[1], text.data(), words[0]);
    sequence_.store(sequence_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    for (size_t i = 0; i < kWords; ++i) words_[i].store(words[i], std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    sequence_.store(sequence_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  // Any thread.
  std::string Get() const {
    std::array<uint64_t, kWords> words;
    for (;;) {
      const uint64_t before = sequence_.load(std::memory_order_acquire);
      for (size_t i = 0; i < kWords; ++i) words[i] = words_[i].load(std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_acquire);
      if ((before & 1) == 0 && sequence_.load(std::memory_order_relaxed) == before) break;
    }
    return std::string(reinterpret_cast<const char*>(&words[1]), std::min<uint64_t>(words[0], kBytesMax));
  }

 private:
  static constexpr size_t kWords = 1 + kBytesMax / sizeof(uint64_t);
  std::atomic<uint64_t> sequence_ = 0;  // odd: Set() is under way
  std::array<std::atomic<uint64_t>, kWords> words_ = {};
};

}  // namespace bivalve::scan
