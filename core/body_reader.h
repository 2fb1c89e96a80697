// BodyReader: reads a body from its start while somebody else still writes behind it, for instance sends what
// has come so far. Worker-local; never suspends.
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

  // What follows what was read, as far as it has come, and at most `bytes_max`. The bytes stay where they are
  // until Done(), whatever becomes of the body's room meanwhile.
  std::string_view Take(size_t bytes_max) {
    BV_CHECK(!holds_);
    holds_ = true;
    ++body_.readers_;
    return body_.content().substr(offset_, bytes_max);
  }
  // Lets go of them. The first `bytes` of them are read.
  void Done(size_t bytes) {
    BV_CHECK(holds_);
    holds_ = false;
    --body_.readers_;
    offset_ += bytes;
  }

  // Read so far.
  size_t offset() const { return offset_; }
  // There is something behind that.
  bool HasMore() const { return body_.content_bytes() > offset_; }

 private:
  Body& body_;
  size_t offset_ = 0;
  bool holds_ = false;
};

}  // namespace bivalve::core
