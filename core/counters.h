// Counters: one thread's counts, named by an enumeration that ends in kCount. Only the owner writes. Others
// may read at any time and may get slightly old values. No lock, no locked instruction.
//
// Counts that belong together (a message moves from one to another) change inside one Update. A Read() sees
// all of an Update or nothing of it, so sums that must agree do agree at every moment:
//
//   { Update update(counters); counters.Subtract(kInProgress); counters.Add(kDelivered); }
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace bivalve::core {

template <typename Name>
class alignas(64) Counters {
 public:
  using Values = std::array<uint64_t, static_cast<size_t>(Name::kCount)>;

  // Owner only; not nested.
  class Update {
   public:
    explicit Update(Counters& counters) : counters_(counters) {
      counters_.Step();
      std::atomic_thread_fence(std::memory_order_release);
    }
    Update(const Update&) = delete;
    ~Update() {
      std::atomic_thread_fence(std::memory_order_release);
      counters_.Step();
    }

   private:
    Counters& counters_;
  };

  // Owner only.
  void Add(Name name, uint64_t n = 1) {
    auto& cell = Cell(name);
    cell.store(cell.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  // Owner only; for gauges.
  void Subtract(Name name, uint64_t n = 1) { Add(name, ~n + 1); }
  void Set(Name name, uint64_t value) { Cell(name).store(value, std::memory_order_relaxed); }

  // Any thread.
  uint64_t Get(Name name) const { return cells_[static_cast<size_t>(name)].load(std::memory_order_relaxed); }
  // Any thread: all counts as they were at one moment between Updates.
  Values Read() const {
    Values values;
    for (;;) {
      const uint64_t before = sequence_.load(std::memory_order_acquire);
      for (size_t i = 0; i < values.size(); ++i) values[i] = cells_[i].load(std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_acquire);
      if ((before & 1) == 0 && sequence_.load(std::memory_order_relaxed) == before) return values;
    }
  }

 private:
  void Step() { sequence_.store(sequence_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }
  std::atomic<uint64_t>& Cell(Name name) { return cells_[static_cast<size_t>(name)]; }
  std::atomic<uint64_t> sequence_ = 0;  // odd: an Update is in progress
  std::array<std::atomic<uint64_t>, static_cast<size_t>(Name::kCount)> cells_ = {};
};

}  // namespace bivalve::core
