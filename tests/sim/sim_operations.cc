// The steps of operations in progress: the other half of SimIo.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/text.h"
#include "tests/sim/sim_io.h"
#include "tests/sim/sim_requests.h"

namespace bivalve::sim {

using core::Cat;
using core::IoCode;
using core::IoRequest;

void SimIo::Step(size_t index) {
  Pending& pending = pending_[index];
  const IoRequest& request = pending.op->request;
  if (request.fd >= kFirstDescriptor && closes(request.fd) > 0) {
    Finish(index, {.result = -EBADF});
    return;
  }
  if (pending.cancelled && (!CanComplete(pending) || random_.Chance(0.5))) {
    Finish(index, {.result = pending.sent > 0 ? static_cast<int32_t>(pending.sent) : -ECANCELED});
    return;
  }
  switch (request.code) {
    case IoCode::kAccept:
      StepAccept(index);
      return;
    case IoCode::kConnect:
      StepConnect(index);
      return;
    case IoCode::kRecv:
    case IoCode::kRecvMsg:
    case IoCode::kRecvBuffer:
      StepReceive(index);
      return;
    case IoCode::kSend:
    case IoCode::kSendMsg:
      StepSend(index);
      return;
    case IoCode::kRead:
    case IoCode::kWrite:
    case IoCode::kOpenAt:
    case IoCode::kAllocate:
      StepReal(index);
      return;
  }
}

// The operation's last completion unless `more`.
void SimIo::Finish(size_t index, const Completion& completion) {
  const Pending pending = pending_[index];
  core::IoOp& op = *pending.op;
  if (IsSend(op.request.code) && HashOfSend(op.request) != pending.memory_hash) {
    Fail(Cat("the memory of a send on descriptor ", op.request.fd, " changed in flight"));
  }
  constexpr const char* kNames[] = {"accept",  "connect", "recv",  "recvmsg", "recvbuf", "send",
                                    "sendmsg", "read",    "write", "open",    "allocate"};
  Trace(kNames[static_cast<size_t>(op.request.code)], op.request.fd, completion.result);
  if (completion.more) {
    pending_[index].turn = turn_;  // the next connection completes in a later turn
  } else {
    pending_.erase(pending_.begin() + static_cast<ptrdiff_t>(index));
  }
  ++completions_;
  Complete(op, completion);
}

void SimIo::StepAccept(size_t index) {
  Descriptor* descriptor = Find(pending_[index].op->request.fd);
  if (descriptor == nullptr || !descriptor->listening) {
    Finish(index, {.result = -EINVAL});
    return;
  }
  SimPeer& peer = *descriptor->callers.front();
  descriptor->callers.pop_front();
  const int fd = Accept(peer);
  Finish(index, {.result = fd, .more = !pending_[index].cancelled && !random_.Chance(0.1)});
}

void SimIo::StepConnect(size_t index) {
  const IoRequest& request = pending_[index].op->request;
  const auto listener = listeners_.find(
      AddressKey(static_cast<const sockaddr*>(request.address), static_cast<socklen_t>(request.bytes)));
  Descriptor* descriptor = Find(request.fd);
  if (descriptor == nullptr || descriptor->socket != nullptr) {
    Finish(index, {.result = descriptor == nullptr ? -ENOTSOCK : -EISCONN});
    return;
  }
  SimPeer* peer = nullptr;
  if (listener != listeners_.end() && !random_.Chance(options_.refuse)) peer = listener->second();
  if (peer == nullptr) {
    Finish(index, {.result = random_.Chance(0.8) ? -ECONNREFUSED : -EHOSTUNREACH});
    return;
  }
  NewSocket(request.fd, *peer);
  Finish(index, {.result = 0});
}

void SimIo::StepReceive(size_t index) {
  const IoRequest& request = pending_[index].op->request;
  SimSocket* socket = SocketOf(request.fd);
  if (socket == nullptr) {
    Finish(index, {.result = -ENOTCONN});
    return;
  }
  Completion completion;
  if (socket->arrived_.empty()) {
    if (socket->reset_ && !socket->reset_seen_ && !socket->shut_down_) {
      socket->reset_seen_ = true;
      completion.result = -ECONNRESET;
    }
    Finish(index, completion);
    return;
  }
  std::span<char> room(static_cast<char*>(request.address), request.bytes);
  if (request.code == IoCode::kRecvBuffer) {
    if (free_buffers_.empty() || random_.Chance(options_.no_buffers)) {
      Finish(index, {.result = -ENOBUFS});
      return;
    }
    const uint64_t pick = random_.Below(free_buffers_.size());
    completion.buffer_id = free_buffers_[pick];
    free_buffers_.erase(free_buffers_.begin() + static_cast<ptrdiff_t>(pick));
    leased_[static_cast<size_t>(completion.buffer_id)] = true;
    ++buffers_used_;
    room = Buffer(completion.buffer_id);
  }
  iovec whole = {.iov_base = room.data(), .iov_len = room.size()};
  std::span<const iovec> pieces(&whole, 1);
  if (request.code == IoCode::kRecvMsg) {
    const auto& message = *static_cast<const msghdr*>(request.address);
    pieces = {message.msg_iov, message.msg_iovlen};
  }
  const size_t bytes = Cut(std::min<size_t>(request.code == IoCode::kRecvMsg ? request.bytes : room.size(),
                                            socket->arrived_.size()));
  for (size_t done = 0; const iovec& piece : pieces) {
    const size_t part = std::min(piece.iov_len, bytes - done);
    if (part > 0) std::memcpy(piece.iov_base, socket->arrived_.data() + done, part);
    done += part;
  }
  socket->arrived_.erase(0, bytes);
  completion.result = static_cast<int32_t>(bytes);
  completion.nonempty = !socket->arrived_.empty();
  Finish(index, completion);
}

// Puts as many bytes into the send buffer as fit. Completes if these were the last ones.
void SimIo::StepSend(size_t index) {
  Pending& pending = pending_[index];
  const IoRequest& request = pending.op->request;
  SimSocket* socket = SocketOf(request.fd);
  if (socket == nullptr) {
    Finish(index, {.result = -ENOTCONN});
    return;
  }
  const auto fail = [&](int error) {
    Finish(index, {.result = pending.sent > 0 ? static_cast<int32_t>(pending.sent) : -error});
  };
  if (socket->shut_down_ || socket->output_ended_) return fail(EPIPE);
  if (socket->reset_) {
    const bool seen = std::exchange(socket->reset_seen_, true);
    return fail(seen || random_.Chance(0.5) ? EPIPE : ECONNRESET);
  }
  if (pending.sent == 0 && request.code == IoCode::kSendMsg) {
    TakeDescriptors(*socket, *static_cast<const msghdr*>(request.address));
  }
  const size_t space = options_.send_buffer_bytes - socket->send_buffer_.size();
  const std::string part = SendBytes(request, pending.sent, space);
  socket->send_buffer_ += part;
  pending.sent += part.size();
  if (pending.sent == SizeOfSend(request)) Finish(index, {.result = static_cast<int32_t>(pending.sent)});
}

void SimIo::TakeDescriptors(SimSocket& socket, const msghdr& message) {
  msghdr copy = message;  // CMSG_NXTHDR does not accept const
  for (cmsghdr* header = CMSG_FIRSTHDR(&copy); header != nullptr; header = CMSG_NXTHDR(&copy, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    for (size_t offset = 0; CMSG_LEN(offset) < header->cmsg_len; offset += sizeof(int)) {
      int descriptor = -1;
      std::memcpy(&descriptor, CMSG_DATA(header) + offset, sizeof(descriptor));
      const int duplicate = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
      if (duplicate < 0) Fail(Cat("descriptor ", descriptor, " was sent to a peer when it was not open"));
      if (duplicate >= 0) {
        socket.descriptors_.emplace_back(socket.delivered_ + socket.send_buffer_.size(), duplicate);
      }
    }
  }
}

void SimIo::StepReal(size_t index) {
  const IoRequest& request = pending_[index].op->request;
  ssize_t result = -1;
  switch (request.code) {
    case IoCode::kRead:
      result = request.offset == IoRequest::kOwnPosition
                   ? read(request.fd, request.address, request.bytes)
                   : pread(request.fd, request.address, request.bytes, static_cast<off_t>(request.offset));
      if (result < 0 && errno == ESPIPE) result = read(request.fd, request.address, request.bytes);
      break;
    case IoCode::kWrite:
      result = request.offset == IoRequest::kOwnPosition
                   ? write(request.fd, request.address, request.bytes)
                   : pwrite(request.fd, request.address, request.bytes, static_cast<off_t>(request.offset));
      if (result < 0 && errno == ESPIPE) result = write(request.fd, request.address, request.bytes);
      break;
    case IoCode::kOpenAt:
      result = openat(request.fd, static_cast<const char*>(request.address), static_cast<int>(request.flags),
                      static_cast<mode_t>(request.bytes));
      break;
    case IoCode::kAllocate:
      result =
          fallocate(request.fd, 0, static_cast<off_t>(request.offset), static_cast<off_t>(request.bytes));
      break;
    default:
      BV_CHECK(false);
  }
  Finish(index, {.result = result < 0 ? -errno : static_cast<int32_t>(result)});
}

}  // namespace bivalve::sim
