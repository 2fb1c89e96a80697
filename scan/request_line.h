// RequestLine: the queue of messages that wait for a scanner. Part of clamd_pool.
#pragma once

#include <cstddef>
#include <functional>

#include "scan/clamd_pool.h"

namespace bivalve::scan {

// The waiting messages, in the order of Submit(). Holds no memory: the requests themselves are linked.
class RequestLine {
 public:
  explicit RequestLine(const std::function<void(size_t)>& changed) : changed_(changed) {}

  Request* first() const { return first_; }
  static Request* After(const Request& request) { return request.next_; }
  size_t size() const { return size_; }

  // Inserts behind every request that was submitted earlier. A request that comes back from a broken
  // connection is among the oldest, so its place is searched from the front; that of a new one from the back.
  void Insert(Request& request) {
    Request* next = nullptr;
    if (last_ != nullptr && last_->number_ > request.number_) {
      next = first_;
      while (next->number_ < request.number_) next = next->next_;
    }
    request.next_ = next;
    request.previous_ = next != nullptr ? next->previous_ : last_;
    (request.previous_ != nullptr ? request.previous_->next_ : first_) = &request;
    (next != nullptr ? next->previous_ : last_) = &request;
    request.waiting_ = true;
    SetSize(size_ + 1);
  }

  void Remove(Request& request) {
    (request.previous_ != nullptr ? request.previous_->next_ : first_) = request.next_;
    (request.next_ != nullptr ? request.next_->previous_ : last_) = request.previous_;
    request.next_ = request.previous_ = nullptr;
    request.waiting_ = false;
    SetSize(size_ - 1);
  }

 private:
  void SetSize(size_t size) {
    size_ = size;
    if (changed_) changed_(size);
  }

  const std::function<void(size_t)>& changed_;
  Request* first_ = nullptr;
  Request* last_ = nullptr;
  size_t size_ = 0;
};

}  // namespace bivalve::scan
