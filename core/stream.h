// Stream: one connected stream socket over Io, with a reader and a writer that work beside the coroutine that
// uses it. It handles bytes, not lines. One coroutine uses a stream and waits on the Condition given to the
// constructor, which every event notifies. Two streams (client and server) and a scan may share that
// Condition.
//
// A Transport moves the bytes to and from the kernel: the plain one, until another one replaces it (Switch).
//
// StartReading() arms the reader, which stops by itself once bytes have arrived. This bounds what a peer can
// make us hold. An idle stream holds no buffer. At most one receive and one send are in flight.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/condition.h"
#include "core/io.h"
#include "core/loop.h"
#include "core/patience.h"
#include "core/plain_transport.h"
#include "core/task.h"
#include "core/transport.h"

namespace bivalve::core {

class Stream final : private Transport::Owner {
 public:
  // The reader stops if the unread input is larger than this.
  static constexpr size_t kInputBytesMax = size_t{64} << 10;

  Stream(Loop& loop, Condition& wake) : loop_(loop), wake_(wake), plain_(loop.io(), *this) {}
  Stream(const Stream&) = delete;
  ~Stream() { BV_CHECK(fd_ < 0); }  // Close() must have been awaited

  // Takes ownership of a connected socket, which has TCP_NODELAY from Io::OpenSocket or from its listener.
  void Adopt(int fd);
  // Opens a socket and connects it. -ETIMEDOUT after the deadline, -ECANCELED after Shutdown(). On failure
  // the stream is as before. With `socket_fd` it takes ownership of that socket instead of opening one.
  // Suspends.
  Task<IoResult> Connect(const sockaddr* address, socklen_t address_bytes, MonoTime deadline,
                         int socket_fd = -1);
  bool open() const { return fd_ >= 0; }
  // For queries about the socket. Its bytes must go through the stream.
  int fd() const { return fd_; }
  // For an open stream: the user that the peer runs as, if the socket knows it.
  std::optional<uid_t> peer_user() const { return loop_.io().PeerUser(fd_); }
  // Makes everything in flight complete, with an end or an error, including a Connect(). Harmless if nothing
  // is open. Never suspends.
  void Shutdown();

  // From now on `transport` moves the bytes; its owner is this stream's owner() and its socket is fd().
  // Earlier input that was not taken is thrown away: bytes that a peer sends in advance must not be taken for
  // bytes sent after the switch (CVE-2011-0411). Returns the number of bytes thrown away. Nothing may be in
  // flight or unsent: Drain and StopReading first. Close() brings the plain transport back.
  size_t Switch(std::unique_ptr<Transport> transport);
  Transport::Owner& owner() { return *this; }
  // Disarms the reader and suspends until nothing is being received.
  Task<void> StopReading();

  // --- Input. Never suspend. Views into input() are valid until the next StartReading() or Receive().
  std::string_view input() const { return std::string_view(input_).substr(consumed_); }
  void Consume(size_t bytes);
  // Puts bytes back in front of the input (what a body received beyond its end).
  void Unread(std::string_view bytes);
  // Arms the reader unless it is armed, the input is full, or the peer has ended.
  void StartReading();
  // The peer has ended its side, or the connection broke. input() may still hold earlier bytes.
  bool ended() const { return eof_ || error_ != 0; }
  // The reason of ended(): 0 for an orderly end.
  int error() const { return error_; }

  // Receives the next bytes into `room`, from input() first. Returns their number, 0 at the end of the
  // stream, or a negated errno (-ETIMEDOUT after the deadline). Suspends; the room is free again when it
  // returns.
  Task<IoResult> Receive(std::span<char> room, MonoTime deadline) { return Receive(room, {}, deadline); }
  // The same; bytes that do not fit into `room` go to `spill`, in the same system call.
  Task<IoResult> Receive(std::span<char> room, std::span<char> spill, MonoTime deadline);

  // --- Output.
  // Appends a copy of the bytes to those waiting to be sent. Never suspends; sending starts with Flush().
  void Write(std::string_view bytes) { output_.append(bytes); }
  // Starts sending what was written. Never suspends. A failure sets write_error() and notifies.
  void Flush();
  size_t unsent_bytes() const { return output_.size() + sending_.size(); }
  int write_error() const { return write_error_; }
  // Suspends until everything written was handed to the kernel. False on failure or after the deadline.
  Task<bool> Drain(MonoTime deadline);
  // Sends what was written and then all of `pieces`, without copying them. Sends in steps of at most
  // kSendStepBytes, and `patience`, which must have been started, limits the peer's time for them. Returns 0
  // or a negated errno, -ETIMEDOUT if the peer is too slow. Suspends; the memory of the pieces is free again
  // when it returns.
  Task<IoResult> SendPieces(std::span<const iovec> pieces, Patience& patience);
  // The same with a Patience that starts now.
  Task<IoResult> SendPieces(std::span<const iovec> pieces, Duration silence);
  // Sends `bytes` with one descriptor attached to them (SCM_RIGHTS); local sockets only. Suspends.
  Task<IoResult> SendDescriptor(std::string_view bytes, int descriptor, MonoTime deadline);
  static constexpr size_t kSendStepBytes = size_t{1} << 20;

  // Ends our side and reads what the peer still sends, until the peer ends its side too, has sent
  // kLingerBytesMax more, or the deadline has passed. Closing a socket with unread input makes TCP send a
  // reset, which can destroy a reply that is still on its way. Drain first. Suspends.
  Task<void> Linger(MonoTime deadline);
  static constexpr size_t kLingerBytesMax = size_t{256} << 10;
  // Cancels and awaits what is in flight, then closes. Unsent bytes are lost: Drain first. Suspends.
  Task<void> Close();

 private:
  using Way = Transport::Way;
  class ConnectOp;

  void OnReceived(IoResult result, std::string_view bytes) override;
  void OnSent(IoResult result) override;
  Transport& transport() { return switched_ != nullptr ? *switched_ : plain_; }
  bool receiving() { return transport().in_flight(Way::kReceive); }
  bool sending() { return transport().in_flight(Way::kSend); }
  Task<IoResult> SendMessage(const msghdr& message, MonoTime deadline);
  // Suspends until the operation has completed. After the deadline it cancels the operation and returns
  // false.
  Task<bool> Finish(Way way, MonoTime deadline);

  Loop& loop_;
  Condition& wake_;
  int fd_ = -1;
  ConnectOp* connecting_ = nullptr;  // in Connect()'s frame
  bool eof_ = false;
  bool placed_ = false;        // the receive in flight goes to a caller's room, not to input_
  bool wake_on_sent_ = false;  // somebody waits for the end of a send
  int error_ = 0;
  int write_error_ = 0;
  IoResult placed_result_;
  IoResult sent_result_;
  size_t consumed_ = 0;
  std::string input_;
  std::string output_;   // written, not yet being sent
  std::string sending_;  // being sent by the transport
  PlainTransport plain_;
  std::unique_ptr<Transport> switched_;  // null: plain_ is used
};

}  // namespace bivalve::core
