// PublishedText: a short text that one thread sets and others read, without a lock: a scanner's version, for
// statistics.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "core/published.h"

namespace bivalve::scan {

class PublishedText {
 public:
  static constexpr size_t kBytesMax = 15 * sizeof(uint64_t);

  // Owner only. A longer text is cut.
  void Set(std::string_view text) {
    Value value;
    value.bytes = std::min(text.size(), kBytesMax);
    std::memcpy(value.text.data(), text.data(), value.bytes);
    value_.Set(value);
  }

  // Any thread.
  std::string Get() const {
    const Value value = value_.Get();
    return std::string(value.text.data(), value.bytes);
  }

 private:
  struct Value {
    uint64_t bytes = 0;
    std::array<char, kBytesMax> text = {};
  };
  core::Published<Value> value_;
};

}  // namespace bivalve::scan
