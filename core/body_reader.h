// BodyReader: reads a body from its start while somebody else still writes at its end, for instance to send
// what has arrived so far. Worker-local; never suspends.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

#include "core/body.h"
#include "core/check.h"

namespace bivalve::core {

class BodyReader {
 public:
  // `body` outlives the reader.
  explicit BodyReader(Body& body) : body_(body) {}
  BodyReader(const BodyReader&) = delete;
  ~BodyReader() { BV_CHECK(!holds_); }

  // The bytes behind those already read, as far as they have arrived, at most `bytes_max`. The bytes stay
  // where they are until Done(), even if the body is moved meanwhile.
  std::string_view Take(size_t bytes_max) {
    BV_CHECK(!holds_);
    holds_ = true;
    ++body_.readers_;
    return body_.content().substr(offset_, bytes_max);
  }
  // Releases the bytes of Take(). The first `bytes` of them count as read.
  void Done(size_t bytes) {
    BV_CHECK(holds_);
    holds_ = false;
    --body_.readers_;
    offset_ += bytes;
  }

  // The number of bytes read so far.
  size_t offset() const { return offset_; }
  // Whether the body has bytes behind those already read.
  bool HasMore() const { return body_.content_bytes() > offset_; }

 private:
  Body& body_;
  size_t offset_ = 0;
  bool holds_ = false;
};

}  // namespace bivalve::core
