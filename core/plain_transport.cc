#include "core/plain_transport.h"

#include <cerrno>
#include <cstddef>

namespace bivalve::core {
namespace {

size_t Bytes(const msghdr& message) {
  size_t bytes = 0;
  for (size_t i = 0; i < message.msg_iovlen; ++i) bytes += message.msg_iov[i].iov_len;
  return bytes;
}

}  // namespace

void PlainTransport::Use(int fd) {
  fd_ = fd;
  more_waiting_ = false;
}

void PlainTransport::Submit(Operation& operation, const IoRequest& request) {
  operation.request = request;
  io_.Submit(operation);
}

void PlainTransport::ReceiveAny() {
  Submit(receive_, {.code = IoCode::kRecvBuffer, .fd = fd_, .poll_first = !more_waiting_});
}

void PlainTransport::Receive(std::span<char> room) {
  Submit(receive_, {.code = IoCode::kRecv,
                    .fd = fd_,
                    .address = room.data(),
                    .bytes = room.size(),
                    .poll_first = !more_waiting_});
}

void PlainTransport::ReceiveMessage(msghdr& message) {
  Submit(receive_, {.code = IoCode::kRecvMsg,
                    .fd = fd_,
                    .address = &message,
                    .bytes = Bytes(message),
                    .poll_first = !more_waiting_});
}

void PlainTransport::Send(std::string_view bytes) {
  Submit(
      send_,
      {.code = IoCode::kSend, .fd = fd_, .address = const_cast<char*>(bytes.data()), .bytes = bytes.size()});
}

void PlainTransport::SendMessage(const msghdr& message) {
  Submit(send_, {.code = IoCode::kSendMsg,
                 .fd = fd_,
                 .address = const_cast<msghdr*>(&message),
                 .bytes = Bytes(message)});
}

void PlainTransport::OnComplete(Operation& operation, IoResult result) {
  if (&operation == &send_) {
    owner_.OnSent(result);
  } else {
    OnReceived(result);
  }
}

void PlainTransport::OnReceived(IoResult result) {
  more_waiting_ = receive_.nonempty();
  if (result.error() == ENOBUFS) {
    // All buffers were filled in this turn and are back by now.
    receive_.request.poll_first = false;
    io_.Submit(receive_);
    return;
  }
  const int buffer = receive_.buffer_id();
  std::string_view bytes;
  if (buffer >= 0 && result.ok()) bytes = {io_.Buffer(buffer).data(), result.value()};
  owner_.OnReceived(result, bytes);
  if (buffer >= 0) io_.ReturnBuffer(buffer);
}

}  // namespace bivalve::core
