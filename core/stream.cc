#include "core/stream.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace bivalve::core {
namespace {

constexpr size_t kPiecesMax = 64;  // in one sendmsg

}  // namespace

class Stream::ConnectOp final : public IoOp {
 public:
  ConnectOp(Io& io, Condition& wake) : io_(io), wake_(wake) {}
  void Begin(const IoRequest& what) {
    request = what;
    io_.Submit(*this);
  }
  // The result from now on, even if the operation succeeds.
  void Abort(int error) {
    if (error_ != 0 || !in_flight()) return;
    error_ = error;
    io_.Cancel(*this);
  }
  IoResult result() const { return error_ != 0 ? IoResult(-error_) : result_; }

 private:
  void OnComplete(IoResult result) override {
    result_ = result;
    wake_.Notify();
  }

  Io& io_;
  Condition& wake_;
  IoResult result_;
  int error_ = 0;
};

void Stream::Adopt(int fd) {
  BV_CHECK(fd_ < 0);
  fd_ = fd;
  plain_.Use(fd);
  eof_ = false;
  error_ = write_error_ = 0;
}

Task<IoResult> Stream::Connect(const sockaddr* address, socklen_t address_bytes, MonoTime deadline,
                               int socket_fd) {
  const int fd = socket_fd >= 0 ? socket_fd : loop_.io().OpenSocket(address->sa_family);
  if (fd < 0) co_return IoResult(fd);
  ConnectOp connect(loop_.io(), wake_);
  connecting_ = &connect;
  connect.Begin(IoRequest::Connect(fd, address, address_bytes));
  bool in_time = true;
  while (connect.in_flight()) {
    const bool notified = co_await wake_.Wait(in_time ? deadline : kNever);
    if (notified) continue;
    in_time = false;
    connect.Abort(ETIMEDOUT);
  }
  connecting_ = nullptr;
  const IoResult result = connect.result();
  if (result.ok()) {
    Adopt(fd);
  } else {
    loop_.io().Close(fd);
  }
  co_return result;
}

void Stream::Shutdown() {
  if (connecting_ != nullptr) connecting_->Abort(ECANCELED);
  if (open()) loop_.io().Shutdown(fd_);
}

size_t Stream::Switch(std::unique_ptr<Transport> transport) {
  BV_CHECK(!receiving() && !sending() && unsent_bytes() == 0);
  switched_ = std::move(transport);
  const size_t thrown_away = input().size();
  input_.clear();
  consumed_ = 0;
  return thrown_away;
}

Task<void> Stream::StopReading() {
  transport().Cancel(Way::kReceive);
  while (receiving()) (void)co_await wake_.Wait();
}

void Stream::Consume(size_t bytes) {
  consumed_ += bytes;
  BV_CHECK(consumed_ <= input_.size());
}

void Stream::Unread(std::string_view bytes) {
  input_.erase(0, consumed_);
  consumed_ = 0;
  input_.insert(0, bytes);
}

void Stream::StartReading() {
  if (receiving() || ended() || input().size() >= kInputBytesMax) return;
  if (consumed_ > 0) {
    if (consumed_ == input_.size()) {
      std::string().swap(input_);
    } else {
      input_.erase(0, consumed_);
    }
    consumed_ = 0;
  }
  placed_ = false;
  transport().ReceiveAny();
}

Task<IoResult> Stream::Receive(std::span<char> room, std::span<char> spill, MonoTime deadline) {
  // In this frame, which outlives the receive.
  iovec pieces[] = {{.iov_base = room.data(), .iov_len = room.size()},
                    {.iov_base = spill.data(), .iov_len = spill.size()}};
  msghdr message = {};
  if (input().empty() && !ended()) {
    // A receive that was armed earlier fills a buffer; its bytes are copied below.
    if (!receiving()) {
      placed_ = true;
      if (spill.empty()) {
        transport().Receive(room);
      } else {
        message.msg_iov = pieces;
        message.msg_iovlen = 2;
        transport().ReceiveMessage(message);
      }
    }
    const bool placed = placed_;
    const bool in_time = co_await Finish(Way::kReceive, deadline);
    placed_ = false;
    if (placed && placed_result_.ok()) co_return placed_result_;
    if (!in_time && input().empty()) co_return IoResult(-ETIMEDOUT);
  }
  if (input().empty()) co_return IoResult(-error_);
  const size_t in_room = std::min(room.size(), input().size());
  std::memcpy(room.data(), input().data(), in_room);
  const size_t in_spill = std::min(spill.size(), input().size() - in_room);
  if (in_spill > 0) std::memcpy(spill.data(), input().data() + in_room, in_spill);
  Consume(in_room + in_spill);
  co_return IoResult(static_cast<int32_t>(in_room + in_spill));
}

void Stream::OnReceived(IoResult result, std::string_view bytes) {
  input_.append(bytes);
  if (placed_) placed_result_ = result;
  if (result.ok() && result.eof()) {
    eof_ = true;
  } else if (!result.ok() && result.error() != ECANCELED) {
    error_ = result.error();
  }
  wake_.Notify();
}

void Stream::Flush() {
  if (sending() || output_.empty() || write_error_ != 0) return;
  sending_.swap(output_);
  transport().Send(sending_);
}

void Stream::OnSent(IoResult result) {
  sent_result_ = result;
  if (!sending_.empty()) {
    if (!result.ok() || result.value() < sending_.size()) write_error_ = result.ok() ? EPIPE : result.error();
    // Short strings keep their storage for the next line; long ones free it.
    if (sending_.capacity() > 128) {
      std::string().swap(sending_);
    } else {
      sending_.clear();
    }
    Flush();
  }
  if (wake_on_sent_ || write_error_ != 0) wake_.Notify();
}

Task<bool> Stream::Finish(Way way, MonoTime deadline) {
  bool in_time = true;
  while (transport().in_flight(way)) {
    const bool notified = co_await wake_.Wait(in_time ? deadline : kNever);
    if (!notified) in_time = false;
    // Read again after each wake-up: if a send was faster than its cancel, another one may have followed it.
    if (!in_time) transport().Cancel(way);
  }
  co_return in_time;
}

Task<bool> Stream::Drain(MonoTime deadline) {
  Flush();
  bool in_time = true;
  wake_on_sent_ = true;
  while (in_time && sending()) in_time = co_await Finish(Way::kSend, deadline);
  wake_on_sent_ = false;
  co_return in_time&& write_error_ == 0;
}

Task<IoResult> Stream::SendMessage(const msghdr& message, MonoTime deadline) {
  size_t bytes = 0;
  for (size_t i = 0; i < message.msg_iovlen; ++i) bytes += message.msg_iov[i].iov_len;
  wake_on_sent_ = true;
  transport().SendMessage(message);
  const bool in_time = co_await Finish(Way::kSend, deadline);
  wake_on_sent_ = false;
  if (sent_result_.ok() && sent_result_.value() == bytes) co_return IoResult(0);
  // A part was already sent: the connection can no longer be used.
  write_error_ = !in_time ? ETIMEDOUT : sent_result_.ok() ? EPIPE : sent_result_.error();
  co_return IoResult(-write_error_);
}

Task<IoResult> Stream::SendPieces(std::span<const iovec> pieces, Duration silence) {
  Patience patience(silence);
  patience.Start(loop_.Now());
  co_return co_await SendPieces(pieces, patience);
}

Task<IoResult> Stream::SendPieces(std::span<const iovec> pieces, Patience& patience) {
  // Bytes written before are sent first, in the same message.
  bool idle = true;
  if (sending()) idle = co_await Drain(patience.Deadline(loop_.Now()));
  if (!idle || write_error_ != 0) co_return IoResult(write_error_ != 0 ? -write_error_ : -ETIMEDOUT);
  std::string front;
  front.swap(output_);
  std::array<iovec, kPiecesMax> step;
  size_t next = 0;    // index of the piece
  size_t offset = 0;  // within the piece
  bool front_out = front.empty();
  while (!front_out || next < pieces.size()) {
    size_t count = 0;
    size_t bytes = 0;
    if (!front_out) {
      step[count++] = {front.data(), front.size()};
      bytes = front.size();
      front_out = true;
    }
    while (next < pieces.size() && count < step.size() && bytes < kSendStepBytes) {
      const size_t take = std::min(pieces[next].iov_len - offset, kSendStepBytes - bytes);
      if (take > 0) step[count++] = {static_cast<char*>(pieces[next].iov_base) + offset, take};
      bytes += take;
      offset += take;
      if (offset == pieces[next].iov_len) {
        ++next;
        offset = 0;
      }
    }
    if (count == 0) break;
    msghdr message = {};
    message.msg_iov = step.data();
    message.msg_iovlen = count;
    const IoResult result = co_await SendMessage(message, patience.Deadline(loop_.Now()));
    if (!result.ok()) co_return result;
    patience.Add(bytes);
    if (patience.Check(loop_.Now()) || next == pieces.size()) continue;
    write_error_ = ETIMEDOUT;
    co_return IoResult(-write_error_);
  }
  co_return IoResult(0);
}

Task<IoResult> Stream::SendDescriptor(std::string_view bytes, int descriptor, MonoTime deadline) {
  const bool idle = co_await Drain(deadline);
  if (!idle) co_return IoResult(write_error_ != 0 ? -write_error_ : -ETIMEDOUT);
  iovec piece = {const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
  co_return co_await SendMessage(message, deadline);
}

Task<void> Stream::Linger(MonoTime deadline) {
  if (fd_ < 0 || write_error_ != 0) co_return;
  transport().ShutdownOutput();
  bool in_time = true;
  size_t thrown_away = 0;
  while (in_time && !ended() && thrown_away < kLingerBytesMax) {
    thrown_away += input().size();
    Consume(input().size());
    StartReading();
    in_time = co_await wake_.Wait(deadline);
  }
}

Task<void> Stream::Close() {
  if (fd_ < 0) co_return;
  if (receiving() || sending()) {
    // Shutdown completes a pending receive; cancel completes the rest.
    Shutdown();
    transport().Cancel(Way::kReceive);
    transport().Cancel(Way::kSend);
    wake_on_sent_ = true;
    while (receiving() || sending()) (void)co_await wake_.Wait();
    wake_on_sent_ = false;
  }
  switched_ = nullptr;
  loop_.io().Close(std::exchange(fd_, -1));
  input_.clear();
  output_.clear();
  sending_.clear();
  consumed_ = 0;
}

}  // namespace bivalve::core
