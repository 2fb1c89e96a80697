// KeptBodies: bodies that messages have left, with their pages, for the messages that come. Fresh pages cost
// more than the bytes that are copied into them. BodyPool fills it and says what it may hold.
//
// There is a list for each class of sizes, and the body used last is taken first, so that the first ones of a
// list are those that nobody needs: what was not needed for a whole period is unused, and can be given back
// to the system. So as many bodies are kept as were in use at once lately. Worker-local, never suspends.
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
  // A body belongs to the first class that has room for its ready bytes. One of a larger class is not given
  // to a smaller message, whose seal would give its pages back to the system.
  static constexpr size_t kClasses = 3;
  static constexpr std::array<uint64_t, kClasses> kClassBytesMax = {uint64_t{256} << 10, uint64_t{2} << 20,
                                                                    std::numeric_limits<uint64_t>::max()};
  static size_t ClassOf(uint64_t bytes);

  void Put(std::unique_ptr<Body> body);
  // The body of the class that was used last; null when there is none.
  std::unique_ptr<Body> Take(size_t size_class);
  // Any one, a large one first; null when there is none.
  std::unique_ptr<Body> TakeLargest();

  // From now on unused is what was not taken since the last call.
  void EndPeriod();
  // One that is unused and still there, a large one first; null when there is none.
  std::unique_ptr<Body> TakeUnused();

  uint64_t bytes() const { return bytes_; }  // ready in them
  size_t count() const;

 private:
  struct List {
    std::deque<std::unique_ptr<Body>> bodies;  // the one used last at the end
    size_t untouched = 0;                      // of the first ones, in this period
    size_t unused = 0;                         // of the first ones, in the period that ended
  };
  std::unique_ptr<Body> TakeLast(List& list);

  std::array<List, kClasses> lists_;
  uint64_t bytes_ = 0;
};

}  // namespace bivalve::core
