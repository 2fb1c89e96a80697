#include "core/kept_bodies.h"

#include <algorithm>
#include <utility>

namespace bivalve::core {

size_t KeptBodies::ClassOf(uint64_t bytes) {
  size_t size_class = 0;
  while (bytes > kClassBytesMax[size_class]) ++size_class;
  return size_class;
}

void KeptBodies::Put(std::unique_ptr<Body> body) {
  const uint64_t ready_bytes = body->storage_.ready_bytes;
  bytes_ += ready_bytes;
  lists_[ClassOf(ready_bytes)].bodies.push_back(std::move(body));
}

std::unique_ptr<Body> KeptBodies::TakeLast(List& list) {
  if (list.bodies.empty()) return nullptr;
  std::unique_ptr<Body> body = std::move(list.bodies.back());
  list.bodies.pop_back();
  bytes_ -= body->storage_.ready_bytes;
  list.untouched = std::min(list.untouched, list.bodies.size());
  list.unused = std::min(list.unused, list.bodies.size());
  return body;
}

std::unique_ptr<Body> KeptBodies::Take(size_t size_class) { return TakeLast(lists_[size_class]); }

std::unique_ptr<Body> KeptBodies::TakeLargest() {
  std::unique_ptr<Body> body;
  for (size_t i = kClasses; i-- > 0 && body == nullptr;) body = TakeLast(lists_[i]);
  return body;
}

void KeptBodies::EndPeriod() {
  for (List& list : lists_) list.unused = std::exchange(list.untouched, list.bodies.size());
}

std::unique_ptr<Body> KeptBodies::TakeUnused() {
  for (size_t i = kClasses; i-- > 0;) {
    List& list = lists_[i];
    if (list.unused == 0) continue;
    std::unique_ptr<Body> body = std::move(list.bodies.front());
    list.bodies.pop_front();
    bytes_ -= body->storage_.ready_bytes;
    --list.unused;
    list.untouched -= std::min<size_t>(list.untouched, 1);
    return body;
  }
  return nullptr;
}

size_t KeptBodies::count() const {
  size_t count = 0;
  for (const List& list : lists_) count += list.bodies.size();
  return count;
}

}  // namespace bivalve::core
