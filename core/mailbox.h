// Mailbox: lets other threads ask a loop's thread to do something (stop, take new settings, write the log).
// Posting takes no lock; the owner sleeps in its ring and is woken through an eventfd. For events, not for
// the mail path.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

#include "core/await_op.h"
#include "core/fd.h"
#include "core/loop.h"
#include "core/task.h"

namespace bivalve::core {

class Mailbox {
 public:
  Mailbox() : event_(eventfd(0, EFD_CLOEXEC)) { BV_CHECK(event_.valid()); }
  Mailbox(const Mailbox&) = delete;
  ~Mailbox() { Take(); }

  // Any thread. The message runs on the owner's thread, in the order of posting. A message that is posted
  // after the owner has ended is destroyed with the mailbox.
  void Post(std::function<void()> message) {
    Node* node = new Node{std::move(message), head_.load(std::memory_order_relaxed)};
    while (!head_.compare_exchange_weak(node->next, node, std::memory_order_release,
                                        std::memory_order_relaxed)) {
    }
    Wake();
  }

  // Owner's thread: runs messages until one of them calls Close(). Suspends.
  Task<void> Run(Loop& loop) {
    while (!closed_) {
      (void)co_await AwaitOp(loop, IoRequest::Read(event_.get(), BytesIn(count_)));
      for (Node* node = Take(true); node != nullptr;) {
        node->message();
        delete std::exchange(node, node->next);
      }
    }
  }
  // Owner's thread: makes Run return.
  void Close() {
    closed_ = true;
    Wake();
  }

 private:
  struct Node {
    std::function<void()> message;
    Node* next;
  };

  void Wake() {
    const uint64_t one = 1;
    (void)!write(event_.get(), &one, sizeof(one));
  }

  // The messages, oldest first. Destroys them instead unless `keep`.
  Node* Take(bool keep = false) {
    Node* newest = head_.exchange(nullptr, std::memory_order_acquire);
    Node* oldest = nullptr;
    while (newest != nullptr) {
      Node* next = newest->next;
      if (keep) {
        newest->next = oldest;
        oldest = newest;
      } else {
        delete newest;
      }
      newest = next;
    }
    return oldest;
  }

  UniqueFd event_;
  uint64_t count_ = 0;
  bool closed_ = false;
  std::atomic<Node*> head_ = nullptr;
};

}  // namespace bivalve::core
