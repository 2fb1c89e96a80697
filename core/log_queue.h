// LogQueue: records from one worker to the control thread, which formats and writes them. A bounded ring of
// bytes with one writer and one reader. The writer never waits, never allocates and never makes a system
// call; records that do not fit are counted as dropped.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace bivalve::core {

class LogQueue {
 public:
  // `capacity_bytes`: a power of two.
  explicit LogQueue(size_t capacity_bytes = size_t{1} << 20);

  // Writer only. False if the reader is a whole capacity behind: the record is lost and counted.
  bool Push(std::string_view record);

  // Reader only. Takes the oldest record; false if there is none.
  bool Pop(std::string& record);
  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  size_t mask() const { return capacity_ - 1; }
  void CopyIn(uint64_t position, const void* from, size_t bytes);
  void CopyOut(uint64_t position, void* to, size_t bytes) const;

  size_t capacity_;
  std::unique_ptr<char[]> bytes_;
  alignas(64) std::atomic<uint64_t> written_ = 0;
  uint64_t read_seen_ = 0;  // read_, as the writer last saw it
  std::atomic<uint64_t> dropped_ = 0;
  alignas(64) std::atomic<uint64_t> read_ = 0;
};

}  // namespace bivalve::core
