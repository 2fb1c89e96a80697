// Ring: the Io of a real worker, on io_uring. Made on the thread that uses it and bound to it
// (SINGLE_ISSUER), after the process has gone to the background and dropped its privileges. Needs kernel 6.1.
#pragma once

#include <liburing.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/io.h"

namespace bivalve::core {

class Ring final : public Io {
 public:
  struct Options {
    uint32_t submissions = 1024;   // slots; more in one turn cost one more system call
    uint32_t completions = 8192;   // slots; the kernel keeps those that do not fit
    uint32_t buffers = 512;        // provided buffers; a power of two
    uint32_t buffer_bytes = 4096;  // commands and replies; mail data is received in place
  };

  // The error is a sentence for the operator: what is missing or forbidden, and what to change.
  static absl::StatusOr<std::unique_ptr<Ring>> Open(const Options& options);
  ~Ring() override;

  MonoTime Now() const override { return now_; }
  void Wait(MonoTime deadline) override;
  int OpenSocket(int family) override;
  std::optional<uid_t> PeerUser(int fd) const override;
  void Shutdown(int fd) override;
  void ShutdownOutput(int fd) override;
  void Close(int fd) override;
  std::span<char> Buffer(int buffer_id) override;
  void ReturnBuffer(int buffer_id) override;

  // What the ring has done since it was opened, for the counts of perf/.
  struct Counts {
    uint64_t enters = 0;       // system calls
    uint64_t submissions = 0;  // operations handed over
    uint64_t completions = 0;
    uint64_t flushes = 0;    // submission queue was full during a turn
    uint64_t overflows = 0;  // turns with a full completion queue and more kept by the kernel
  };
  const Counts& counts() const { return counts_; }
  // Kernel release and the optional features found, for one log line.
  const std::string& description() const { return description_; }

 private:
  explicit Ring(const Options& options);
  absl::Status Setup();
  io_uring_sqe* GetSqe();
  void DoSubmit(IoOp& op) override;
  void DoCancel(IoOp& op) override;
  void PublishBuffers();
  void RunCompletions();

  Options options_;
  io_uring ring_ = {};
  bool open_ = false;
  io_uring_buf_ring* buffer_ring_ = nullptr;
  std::unique_ptr<char[]> buffers_;
  uint32_t returned_ = 0;  // buffers added to the buffer ring but not published yet
  MonoTime now_;
  Counts counts_;
  std::string description_;
};

}  // namespace bivalve::core
