#include "core/log_queue.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"

namespace bivalve::core {

LogQueue::LogQueue(size_t capacity_bytes) : capacity_(capacity_bytes), bytes_(new char[capacity_bytes]) {
  BV_CHECK((capacity_bytes & (capacity_bytes - 1)) == 0);
}

bool LogQueue::Push(std::string_view record) {
  const auto length = static_cast<uint32_t>(record.size());
  const uint64_t needed = sizeof(length) + record.size();
  const uint64_t written = written_.load(std::memory_order_relaxed);
  if (written + needed - read_seen_ > capacity_) {
    read_seen_ = read_.load(std::memory_order_acquire);
    if (written + needed - read_seen_ > capacity_) {
      dropped_.store(dropped_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      return false;
    }
  }
  CopyIn(written, &length, sizeof(length));
  if (!record.empty()) CopyIn(written + sizeof(length), record.data(), record.size());
  written_.store(written + needed, std::memory_order_release);
  return true;
}

bool LogQueue::Pop(std::string& record) {
  const uint64_t read = read_.load(std::memory_order_relaxed);
  if (read == written_.load(std::memory_order_acquire)) return false;
  uint32_t length = 0;
  CopyOut(read, &length, sizeof(length));
  record.resize(length);
  CopyOut(read + sizeof(length), record.data(), length);
  read_.store(read + sizeof(length) + length, std::memory_order_release);
  return true;
}

void LogQueue::CopyIn(uint64_t position, const void* from, size_t bytes) {
  const size_t offset = position & mask();
  const size_t first = std::min(bytes, capacity_ - offset);
  std::memcpy(bytes_.get() + offset, from, first);
  std::memcpy(bytes_.get(), static_cast<const char*>(from) + first, bytes - first);
}

void LogQueue::CopyOut(uint64_t position, void* to, size_t bytes) const {
  const size_t offset = position & mask();
  const size_t first = std::min(bytes, capacity_ - offset);
  std::memcpy(to, bytes_.get() + offset, first);
  std::memcpy(static_cast<char*>(to) + first, bytes_.get(), bytes - first);
}

}  // namespace bivalve::core
