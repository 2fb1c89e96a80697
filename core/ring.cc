#include "core/ring.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "core/text.h"

namespace bivalve::core {
namespace {

constexpr uint16_t kBufferGroup = 0;
// user_data of submissions whose completion nobody waits for. Real values are addresses, so never this one.
constexpr uint64_t kNobody = 1;
constexpr unsigned kBatch = 256;

absl::Status SetupError(int error) {
  utsname system = {};
  uname(&system);
  const std::string kernel = Cat("kernel ", std::string_view(system.release));
  switch (error) {
    case ENOSYS:
      return absl::FailedPreconditionError(
          Cat("io_uring is not there (", kernel,
              "): it needs Linux 6.1 with CONFIG_IO_URING; in a container, allow the system calls "
              "io_uring_setup, "
              "io_uring_enter and io_uring_register in its seccomp profile"));
    case EPERM:
    case EACCES:
      return absl::FailedPreconditionError(
          Cat("io_uring is forbidden (", kernel,
              "): set the sysctl kernel.io_uring_disabled to 0, or allow the system calls io_uring_setup, "
              "io_uring_enter and io_uring_register in the container's seccomp profile"));
    case EINVAL:
      return absl::FailedPreconditionError(
          Cat("io_uring is too old (", kernel, "): Linux 6.1 or newer is needed"));
    case ENOMEM:
      return absl::FailedPreconditionError(Cat("io_uring got no memory (", kernel,
                                               "): raise the memory or the locked-memory limit (ulimit -l)"));
    default:
      return absl::FailedPreconditionError(
          Cat("io_uring cannot be set up (", kernel, "): ", std::strerror(error)));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Ring>> Ring::Open(const Options& options) {
  std::unique_ptr<Ring> ring(new Ring(options));
  if (absl::Status status = ring->Setup(); !status.ok()) return status;
  return ring;
}

Ring::Ring(const Options& options) : options_(options), now_(std::chrono::steady_clock::now()) {}

absl::Status Ring::Setup() {
  io_uring_params params = {};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE |
                 IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL;
  params.cq_entries = options_.completions;
  if (int result = io_uring_queue_init_params(options_.submissions, &ring_, &params); result < 0) {
    return SetupError(-result);
  }
  open_ = true;
  // Saves looking up the descriptor in every system call. Everything works without it as well.
  const bool registered = io_uring_register_ring_fd(&ring_) == 1;

  const size_t ring_bytes = options_.buffers * sizeof(io_uring_buf);
  void* memory = mmap(nullptr, ring_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return SetupError(ENOMEM);
  buffer_ring_ = static_cast<io_uring_buf_ring*>(memory);
  io_uring_buf_reg registration = {};
  registration.ring_addr = reinterpret_cast<uint64_t>(memory);
  registration.ring_entries = options_.buffers;
  registration.bgid = kBufferGroup;
  if (int result = io_uring_register_buf_ring(&ring_, &registration, 0); result < 0)
    return SetupError(-result);
  io_uring_buf_ring_init(buffer_ring_);
  buffers_.reset(new char[size_t{options_.buffers} * options_.buffer_bytes]);
  for (uint32_t id = 0; id < options_.buffers; ++id) ReturnBuffer(static_cast<int>(id));

  utsname system = {};
  uname(&system);
  description_ =
      Cat("io_uring on kernel ", std::string_view(system.release), ", ", params.sq_entries, " submissions, ",
          params.cq_entries, " completions, ", registered ? "registered ring" : "ring not registered");
  return absl::OkStatus();
}

Ring::~Ring() {
  if (open_) io_uring_queue_exit(&ring_);
  if (buffer_ring_ != nullptr) munmap(buffer_ring_, options_.buffers * sizeof(io_uring_buf));
}

io_uring_sqe* Ring::GetSqe() {
  for (;;) {
    if (io_uring_sqe* sqe = io_uring_get_sqe(&ring_); sqe != nullptr) return sqe;
    ++counts_.flushes;
    ++counts_.enters;
    PublishBuffers();  // operations submitted now may need them
    io_uring_submit(&ring_);
  }
}

void Ring::DoSubmit(IoOp& op) {
  io_uring_sqe* sqe = GetSqe();
  const IoRequest& r = op.request;
  const auto bytes = static_cast<unsigned>(std::min<uint64_t>(r.bytes, 1u << 30));
  switch (r.code) {
    case IoCode::kAccept:
      io_uring_prep_multishot_accept(sqe, r.fd, nullptr, nullptr, SOCK_CLOEXEC);
      break;
    case IoCode::kConnect:
      io_uring_prep_connect(sqe, r.fd, static_cast<const sockaddr*>(r.address),
                            static_cast<socklen_t>(bytes));
      break;
    case IoCode::kRecv:
      io_uring_prep_recv(sqe, r.fd, r.address, bytes, static_cast<int>(r.flags));
      if (r.poll_first) sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
      break;
    case IoCode::kRecvMsg:
      io_uring_prep_recvmsg(sqe, r.fd, static_cast<msghdr*>(r.address), r.flags);
      if (r.poll_first) sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
      break;
    case IoCode::kRecvBuffer:
      io_uring_prep_recv(sqe, r.fd, nullptr, options_.buffer_bytes, static_cast<int>(r.flags));
      if (r.poll_first) sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
      io_uring_sqe_set_flags(sqe, IOSQE_BUFFER_SELECT);
      sqe->buf_group = kBufferGroup;
      break;
    case IoCode::kSend:
      io_uring_prep_send(sqe, r.fd, r.address, bytes, static_cast<int>(r.flags | MSG_NOSIGNAL | MSG_WAITALL));
      break;
    case IoCode::kSendMsg:
      io_uring_prep_sendmsg(sqe, r.fd, static_cast<const msghdr*>(r.address),
                            r.flags | MSG_NOSIGNAL | MSG_WAITALL);
      break;
    case IoCode::kRead:
      io_uring_prep_read(sqe, r.fd, r.address, bytes, r.offset);
      break;
    case IoCode::kWrite:
      io_uring_prep_write(sqe, r.fd, r.address, bytes, r.offset);
      break;
    case IoCode::kOpenAt:
      io_uring_prep_openat(sqe, r.fd, static_cast<const char*>(r.address), static_cast<int>(r.flags),
                           static_cast<mode_t>(r.bytes));
      break;
    case IoCode::kAllocate:
      io_uring_prep_fallocate(sqe, r.fd, 0, static_cast<off_t>(r.offset), static_cast<off_t>(r.bytes));
      break;
  }
  sqe->user_data = reinterpret_cast<uint64_t>(&op);
  ++counts_.submissions;
}

void Ring::DoCancel(IoOp& op) {
  io_uring_sqe* sqe = GetSqe();
  io_uring_prep_cancel64(sqe, reinterpret_cast<uint64_t>(&op), 0);
  sqe->user_data = kNobody;
}

void Ring::Wait(MonoTime deadline) {
  PublishBuffers();
  ++counts_.enters;
  if (deadline <= now_ || io_uring_cq_ready(&ring_) > 0) {
    io_uring_submit_and_get_events(&ring_);
  } else {
    __kernel_timespec timeout = {};
    if (deadline != kNever) {
      const auto left = std::max<int64_t>((deadline - std::chrono::steady_clock::now()).count(), 0);
      timeout.tv_sec = left / 1'000'000'000;
      timeout.tv_nsec = left % 1'000'000'000;
    }
    io_uring_cqe* first = nullptr;
    // EINTR, ETIME and EBUSY all mean the same: look at what has completed.
    io_uring_submit_and_wait_timeout(&ring_, &first, 1, deadline == kNever ? nullptr : &timeout, nullptr);
  }
  // The next system call brings the completions that the kernel has kept.
  if (io_uring_cq_has_overflow(&ring_)) ++counts_.overflows;
  now_ = std::chrono::steady_clock::now();
  RunCompletions();
}

void Ring::PublishBuffers() {
  if (returned_ == 0) return;
  io_uring_buf_ring_advance(buffer_ring_, static_cast<int>(returned_));
  returned_ = 0;
}

// The completions of a batch are copied and the queue is advanced before any of them runs: a completion may
// submit, a full submission queue enters the kernel, and the kernel then needs room in the completion queue.
void Ring::RunCompletions() {
  struct Done {
    IoOp* op;
    Completion completion;
  };
  std::array<Done, kBatch> batch;
  for (;;) {
    unsigned seen = 0;
    unsigned count = 0;
    unsigned head;
    io_uring_cqe* cqe;
    io_uring_for_each_cqe(&ring_, head, cqe) {
      if (seen == kBatch) break;
      ++seen;
      if (cqe->user_data == kNobody) continue;
      Done& done = batch[count++];
      done.op = reinterpret_cast<IoOp*>(cqe->user_data);
      done.completion = {
          .result = cqe->res,
          .buffer_id = (cqe->flags & IORING_CQE_F_BUFFER) != 0
                           ? static_cast<int>(cqe->flags >> IORING_CQE_BUFFER_SHIFT)
                           : -1,
          .more = (cqe->flags & IORING_CQE_F_MORE) != 0,
          .nonempty = (cqe->flags & IORING_CQE_F_SOCK_NONEMPTY) != 0,
      };
    }
    if (seen == 0) return;
    io_uring_cq_advance(&ring_, seen);
    counts_.completions += count;
    for (unsigned i = 0; i < count; ++i) Complete(*batch[i].op, batch[i].completion);
  }
}

int Ring::OpenSocket(int family) {
  const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  // SMTP and clamd are dialogues: a small write must not wait for the acknowledgement of the last one.
  const int on = 1;
  if (family != AF_UNIX) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return fd;
}

std::optional<uid_t> Ring::PeerUser(int fd) const {
  static constexpr pid_t kServiceManager = 1;  // listens for other programs
  ucred peer = {};
  socklen_t size = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return std::nullopt;
  // 0: in another PID namespace, or not a local socket.
  if (peer.pid == kServiceManager || peer.pid == 0) return std::nullopt;
  return peer.uid;
}

void Ring::Shutdown(int fd) { shutdown(fd, SHUT_RDWR); }
void Ring::ShutdownOutput(int fd) { shutdown(fd, SHUT_WR); }
void Ring::Close(int fd) { close(fd); }

std::span<char> Ring::Buffer(int buffer_id) {
  return {buffers_.get() + static_cast<size_t>(buffer_id) * options_.buffer_bytes, options_.buffer_bytes};
}

void Ring::ReturnBuffer(int buffer_id) {
  io_uring_buf_ring_add(buffer_ring_, Buffer(buffer_id).data(), options_.buffer_bytes,
                        static_cast<uint16_t>(buffer_id), io_uring_buf_ring_mask(options_.buffers),
                        static_cast<int>(returned_));
  ++returned_;
}

}  // namespace bivalve::core
