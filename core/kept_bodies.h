// KeptBodies: freed bodies and their pages, kept for the next messages. Fresh pages cost more than copying
// bytes into them. BodyPool fills it and decides how much it may hold.
//
// Each class of sizes has a list. The body used last is taken first, so the bodies at the front of a list are
// those that nobody needs. A body that was not needed for a whole period is unused and can be given back to
// the system. So as many bodies are kept as were recently in use at once. Worker-local, never suspends.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>

#include "core/body.h"

namespace bivalve::core {

class KeptBodies {
 public:
  // A body belongs to the first class that has room for its ready bytes. A smaller message does not get a
  // body of a larger class, because its seal would give the pages back to the system.
  static constexpr size_t kClasses = 3;
  static constexpr std::array<uint64_t, kClasses> kClassBytesMax = {uint64_t{256} << 10, uint64_t{2} << 20,
                                                                    std::numeric_limits<uint64_t>::max()};
  static size_t ClassOf(uint64_t bytes);

  void Put(std::unique_ptr<Body> body);
  // The body of the class that was used last; null if there is none.
  std::unique_ptr<Body> Take(size_t size_class);
  // Any body, large ones first; null if there is none.
  std::unique_ptr<Body> TakeLargest();

  // Ends a period: from now on, a body is unused if it was not taken since the last call.
  void EndPeriod();
  // A body that is unused and still here, large ones first; null if there is none.
  std::unique_ptr<Body> TakeUnused();

  uint64_t bytes() const { return bytes_; }  // ready in the kept bodies
  size_t count() const;

 private:
  struct List {
    std::deque<std::unique_ptr<Body>> bodies;  // the last used one at the end
    size_t untouched = 0;                      // how many at the front were not taken in this period
    size_t unused = 0;                         // how many at the front were not taken in the last period
  };
  std::unique_ptr<Body> TakeLast(List& list);

  std::array<List, kClasses> lists_;
  uint64_t bytes_ = 0;
};

}  // namespace bivalve::core
