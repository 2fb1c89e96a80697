// For tests: an operation that keeps its results.
#pragma once

#include <string>
#include <vector>

#include "core/io.h"

namespace bivalve::core {

class TestOp final : public IoOp {
 public:
  explicit TestOp(Io& io) : io_(io) {}

  void Submit(const IoRequest& what) {
    request = what;
    io_.Submit(*this);
  }
  void Cancel() { io_.Cancel(*this); }

  std::vector<int32_t> results;
  std::string bytes;         // of receives into the ring's buffers
  int buffer = -1;           // the last one
  bool keep_buffer = false;  // the test itself returns it
  bool nonempty_seen = false;

 private:
  void OnComplete(IoResult result) override {
    results.push_back(result.raw());
    nonempty_seen = nonempty();
    if (buffer_id() < 0) return;
    buffer = buffer_id();
    if (result.ok()) bytes.append(io_.Buffer(buffer).data(), result.value());
    if (!keep_buffer) io_.ReturnBuffer(buffer);
  }

  Io& io_;
};

}  // namespace bivalve::core
