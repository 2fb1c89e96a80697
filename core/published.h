// Published: a small value that one thread sets and others read, without a lock. A reader always gets one
// complete value; it tries again while a value is being set. Never suspends.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace bivalve::core {

// For values of at most some hundred bytes that own nothing elsewhere.
template <typename T>
class Published {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Published() { Set(T()); }

  // Owner only.
  void Set(const T& value) {
    std::array<uint64_t, kWords> words = {};
    std::memcpy(words.data(), &value, sizeof(value));
    sequence_.store(sequence_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    for (size_t i = 0; i < kWords; ++i) words_[i].store(words[i], std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    sequence_.store(sequence_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  // Any thread.
  T Get() const {
    std::array<uint64_t, kWords> words;
    for (;;) {
      const uint64_t before = sequence_.load(std::memory_order_acquire);
      for (size_t i = 0; i < kWords; ++i) words[i] = words_[i].load(std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_acquire);
      if ((before & 1) == 0 && sequence_.load(std::memory_order_relaxed) == before) break;
    }
    T value;
    std::memcpy(static_cast<void*>(&value), words.data(), sizeof(value));
    return value;
  }

 private:
  static constexpr size_t kWords = (sizeof(T) + sizeof(uint64_t) - 1) / sizeof(uint64_t);
  std::atomic<uint64_t> sequence_ = 0;  // odd: Set() is in progress
  std::array<std::atomic<uint64_t>, kWords> words_ = {};
};

}  // namespace bivalve::core
