// Shared by the fuzzers: a reader that takes decisions from the input, and a check that ends the run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/check.h"

namespace bivalve::fuzz {

// Takes decisions from the front of an input; zeros at its end.
class Choices {
 public:
  explicit Choices(std::string_view input) : input_(input) {}

  bool empty() const { return input_.empty(); }
  uint8_t Byte() {
    if (input_.empty()) return 0;
    const auto byte = static_cast<uint8_t>(input_.front());
    input_.remove_prefix(1);
    return byte;
  }
  // 0 … end - 1.
  size_t Below(size_t end) { return Byte() % end; }
  uint64_t Number() {
    uint64_t number = 0;
    for (int i = 0; i < 4; ++i) number = number << 8 | Byte();
    return number;
  }
  std::string_view Text(size_t bytes) {
    const std::string_view text = input_.substr(0, bytes);
    input_.remove_prefix(text.size());
    return text;
  }
  std::string_view rest() const { return input_; }

 private:
  std::string_view input_;
};

inline std::string_view Text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Checks that `inner` lies within `outer`: a parser's result must borrow from its input.
inline void CheckBorrows(std::string_view outer, std::string_view inner) {
  if (inner.empty()) return;
  BV_CHECK(inner.data() >= outer.data() && inner.data() + inner.size() <= outer.data() + outer.size());
}

}  // namespace bivalve::fuzz
