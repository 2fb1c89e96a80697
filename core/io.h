// The interface between the programs and the kernel. A worker's requests to the kernel on the mail path all
// go through Io. Tests replace Io (tests/sim/sim_io.h) and nothing else. core/ring.h is the real one.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

#include "core/check.h"
#include "core/mono_time.h"

namespace bivalve::core {

// Exactly cqe->res: a count or descriptor when >= 0, a negated errno when < 0.
class [[nodiscard]] IoResult {
 public:
  constexpr IoResult() = default;
  explicit constexpr IoResult(int32_t res) : res_(res) {}
  constexpr bool ok() const { return res_ >= 0; }
  constexpr bool eof() const { return res_ == 0; }          // meaningful for receiving only
  constexpr int error() const { return ok() ? 0 : -res_; }  // positive errno, 0 when ok
  constexpr uint32_t value() const {
    BV_CHECK(ok());
    return static_cast<uint32_t>(res_);
  }
  constexpr int32_t raw() const { return res_; }

 private:
  int32_t res_ = 0;
};

// All kinds of operations. One switch in ring.cc prepares each of them.
enum class IoCode : uint8_t {
  kAccept,      // multishot: completes once for each connection while `more`
  kConnect,     // address, bytes = its size
  kRecv,        // into address, at most bytes
  kRecvMsg,     // into the pieces of address = msghdr, in order; bytes = their sizes
  kRecvBuffer,  // into one of the ring's buffers, see Io::Buffer
  kSend,        // address, bytes; whole unless the connection fails
  kSendMsg,     // address = msghdr; whole unless the connection fails
  kRead,        // address, bytes, offset (kOwnPosition: the descriptor's)
  kWrite,       // address, bytes, offset
  kOpenAt,      // address = path, flags, mode in bytes; fd = directory
  kAllocate,    // fallocate: offset, bytes
};

// The memory of a plain value, to read into.
template <typename Value>
  requires std::is_trivially_copyable_v<Value>
std::span<char> BytesIn(Value& value) {
  return {reinterpret_cast<char*>(&value), sizeof(value)};
}

// A request for one operation. Made by the functions, one for each code; the members are for the code that
// carries it out. The memory that it points at is borrowed until the last completion.
struct IoRequest {
  static constexpr uint64_t kOwnPosition = ~uint64_t{0};

  static IoRequest Accept(int fd) { return {.code = IoCode::kAccept, .fd = fd}; }
  static IoRequest Connect(int fd, const sockaddr* address, socklen_t address_bytes) {
    return {.code = IoCode::kConnect,
            .fd = fd,
            .address = const_cast<sockaddr*>(address),
            .bytes = address_bytes};
  }
  static IoRequest Receive(int fd, std::span<char> room) {
    return {.code = IoCode::kRecv, .fd = fd, .address = room.data(), .bytes = room.size()};
  }
  static IoRequest ReceiveMessage(int fd, msghdr& message) {
    return {.code = IoCode::kRecvMsg, .fd = fd, .address = &message, .bytes = BytesOf(message)};
  }
  static IoRequest ReceiveBuffer(int fd) { return {.code = IoCode::kRecvBuffer, .fd = fd}; }
  static IoRequest Send(int fd, std::string_view bytes) {
    return {
        .code = IoCode::kSend, .fd = fd, .address = const_cast<char*>(bytes.data()), .bytes = bytes.size()};
  }
  static IoRequest SendMessage(int fd, const msghdr& message) {
    return {.code = IoCode::kSendMsg,
            .fd = fd,
            .address = const_cast<msghdr*>(&message),
            .bytes = BytesOf(message)};
  }
  static IoRequest Read(int fd, std::span<char> room, uint64_t offset = kOwnPosition) {
    return {.code = IoCode::kRead, .fd = fd, .address = room.data(), .bytes = room.size(), .offset = offset};
  }
  static IoRequest Write(int fd, std::string_view bytes, uint64_t offset = kOwnPosition) {
    return {.code = IoCode::kWrite,
            .fd = fd,
            .address = const_cast<char*>(bytes.data()),
            .bytes = bytes.size(),
            .offset = offset};
  }
  // openat(2).
  static IoRequest OpenAt(int directory, const char* path, int flags, mode_t mode = 0) {
    return {.code = IoCode::kOpenAt,
            .fd = directory,
            .flags = static_cast<uint32_t>(flags),
            .address = const_cast<char*>(path),
            .bytes = mode};
  }
  // fallocate(2).
  static IoRequest Allocate(int fd, uint64_t offset, uint64_t bytes) {
    return {.code = IoCode::kAllocate, .fd = fd, .bytes = bytes, .offset = offset};
  }
  // For receiving only: as far as we know nothing has arrived yet, so wait first instead of trying.
  IoRequest WaitFirst(bool wait) const {
    IoRequest request = *this;
    request.poll_first = wait;
    return request;
  }

  static uint64_t BytesOf(const msghdr& message) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < message.msg_iovlen; ++i) bytes += message.msg_iov[i].iov_len;
    return bytes;
  }

  IoCode code = IoCode::kRecv;
  int fd = -1;
  uint32_t flags = 0;  // MSG_… or O_…
  void* address = nullptr;
  uint64_t bytes = 0;
  uint64_t offset = 0;
  bool poll_first = false;
};

// One operation. It lives where its memory lives, in a coroutine's frame or in a connection. Its address is
// the SQE's user_data, so it is neither copied nor moved. Destroying it in flight aborts, because the kernel
// would write through a dangling pointer.
class IoOp {
 public:
  IoOp() = default;
  IoOp(const IoOp&) = delete;
  IoOp& operator=(const IoOp&) = delete;

  bool in_flight() const { return in_flight_; }
  IoRequest request;

 protected:
  virtual ~IoOp() { BV_CHECK(!in_flight_); }

  // Called once for each completion, by the loop, never from inside Submit().
  virtual void OnComplete(IoResult result) = 0;

  // For OnComplete: the buffer that a kRecvBuffer filled, or -1. The receiver returns it with ReturnBuffer.
  int buffer_id() const { return buffer_id_; }
  // For OnComplete: the socket had more bytes waiting when a receive completed.
  bool nonempty() const { return nonempty_; }

 private:
  friend class Io;
  bool in_flight_ = false;
  bool nonempty_ = false;
  int buffer_id_ = -1;
};

class Io {
 public:
  virtual ~Io() = default;

  // Hands `op` to the kernel. Exactly one completion follows (kAccept: one for each connection and a last
  // one), on a later turn of the loop. Until the last completion, the kernel owns op and every buffer that op
  // points at. Never fails: a full submission queue is flushed.
  void Submit(IoOp& op) {
    BV_CHECK(!op.in_flight_);
    op.in_flight_ = true;
    DoSubmit(op);
  }

  // Requests early completion. The op still completes once, with -ECANCELED or with its real result: the
  // kernel decides which one comes first. Harmless if `op` is not in flight.
  void Cancel(IoOp& op) {
    if (op.in_flight_) DoCancel(op);
  }

  // Monotonic time of the current loop turn; constant during a turn.
  virtual MonoTime Now() const = 0;

  // Submits what is waiting, waits until something completes or `deadline` has passed (no wait if the
  // deadline is not after Now()), and runs the completions. Updates Now().
  virtual void Wait(MonoTime deadline) = 0;

  // A new stream socket, non-blocking in effect, close-on-exec, TCP_NODELAY; a negated errno on failure.
  virtual int OpenSocket(int family) = 0;
  // The user of the process that listens at the other end of a connected local socket (SO_PEERCRED); nullopt
  // if not known.
  virtual std::optional<uid_t> PeerUser(int fd) const = 0;
  // shutdown(2) for both directions: makes pending receives complete.
  virtual void Shutdown(int fd) = 0;
  // shutdown(2) for our direction only: the peer reads what was sent and then the end.
  virtual void ShutdownOutput(int fd) = 0;
  // Closes; nothing may be in flight on it (after close, a pending receive would stay and consume bytes).
  virtual void Close(int fd) = 0;

  // The memory of the buffers that kRecvBuffer fills.
  virtual std::span<char> Buffer(int buffer_id) = 0;
  // Gives a filled buffer back to the kernel.
  virtual void ReturnBuffer(int buffer_id) = 0;

 protected:
  virtual void DoSubmit(IoOp& op) = 0;
  virtual void DoCancel(IoOp& op) = 0;

  // For implementations: runs one completion of `op`. `more`: further completions will follow.
  struct Completion {
    int32_t result = 0;
    int buffer_id = -1;
    bool more = false;
    bool nonempty = false;
  };
  static void Complete(IoOp& op, const Completion& completion) {
    op.in_flight_ = completion.more;
    op.buffer_id_ = completion.buffer_id;
    op.nonempty_ = completion.nonempty;
    op.OnComplete(IoResult(completion.result));  // may destroy op
  }
};

}  // namespace bivalve::core
