// LinkedList: items in the order in which they were added. The links are in the items, so adding and removing
// cost only a few stores, whatever the length. Holds no memory and owns nothing. Worker-local.
//
//   class Session : public core::Linked<Session> { … };
//   core::LinkedList<Session> sessions;  // Session may be incomplete here
#pragma once

#include <cstddef>

#include "core/check.h"

namespace bivalve::core {

template <typename T>
class LinkedList;

// The base class of an item. An item can be in one LinkedList at a time.
template <typename T>
class Linked {
 public:
  Linked() = default;
  Linked(const Linked&) = delete;

 private:
  friend class LinkedList<T>;
  T* previous_ = nullptr;
  T* next_ = nullptr;
};

template <typename T>
class LinkedList {
 public:
  class Iterator {
   public:
    explicit Iterator(T* item) : item_(item) {}
    T* operator*() const { return item_; }
    Iterator& operator++() {
      item_ = Link(*item_).next_;
      return *this;
    }
    bool operator==(const Iterator&) const = default;

   private:
    T* item_;
  };

  LinkedList() = default;
  LinkedList(const LinkedList&) = delete;

  // The item must not be in a list.
  void Append(T& item) {
    Link(item).previous_ = last_;
    Link(item).next_ = nullptr;
    (last_ != nullptr ? Link(*last_).next_ : first_) = &item;
    last_ = &item;
    ++size_;
  }
  // The item must be in this list.
  void Remove(T& item) {
    BV_CHECK(size_ > 0);
    Linked<T>& link = Link(item);
    (link.previous_ != nullptr ? Link(*link.previous_).next_ : first_) = link.next_;
    (link.next_ != nullptr ? Link(*link.next_).previous_ : last_) = link.previous_;
    link.previous_ = link.next_ = nullptr;
    --size_;
  }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // Oldest first. Removing an item invalidates only the iterators to that item.
  Iterator begin() const { return Iterator(first_); }
  Iterator end() const { return Iterator(nullptr); }

 private:
  static Linked<T>& Link(T& item) { return item; }

  T* first_ = nullptr;
  T* last_ = nullptr;
  size_t size_ = 0;
};

}  // namespace bivalve::core
