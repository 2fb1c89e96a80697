#include "core/plain_transport.h"

#include <cerrno>
#include <cstddef>

namespace bivalve::core {

void PlainTransport::Use(int fd) {
  fd_ = fd;
  more_waiting_ = false;
}

void PlainTransport::Submit(Operation& operation, const IoRequest& request) {
  operation.request = request;
  io_.Submit(operation);
}

void PlainTransport::ReceiveAny() {
  Submit(receive_, IoRequest::ReceiveBuffer(fd_).WaitFirst(!more_waiting_));
}

void PlainTransport::Receive(std::span<char> room) {
  Submit(receive_, IoRequest::Receive(fd_, room).WaitFirst(!more_waiting_));
}

void PlainTransport::ReceiveMessage(msghdr& message) {
  Submit(receive_, IoRequest::ReceiveMessage(fd_, message).WaitFirst(!more_waiting_));
}

void PlainTransport::Send(std::string_view bytes) { Submit(send_, IoRequest::Send(fd_, bytes)); }

void PlainTransport::SendMessage(const msghdr& message) {
  Submit(send_, IoRequest::SendMessage(fd_, message));
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
    // All buffers were filled in this turn and have been returned by now.
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
