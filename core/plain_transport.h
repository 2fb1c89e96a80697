// PlainTransport: sends and receives the bytes of a socket unchanged.
#pragma once

#include <sys/socket.h>

#include <span>
#include <string_view>

#include "core/io.h"
#include "core/transport.h"

namespace bivalve::core {

class PlainTransport final : public Transport {
 public:
  // `owner` outlives the transport.
  PlainTransport(Io& io, Owner& owner) : io_(io), owner_(owner), receive_(*this), send_(*this) {}
  PlainTransport(const PlainTransport&) = delete;

  // From now on the transport uses this socket, which is borrowed. Nothing may be in flight.
  void Use(int fd);

  void ReceiveAny() override;
  void Receive(std::span<char> room) override;
  void ReceiveMessage(msghdr& message) override;
  void Send(std::string_view bytes) override;
  void SendMessage(const msghdr& message) override;
  bool in_flight(Way way) const override { return (way == Way::kReceive ? receive_ : send_).in_flight(); }
  void Cancel(Way way) override { io_.Cancel(way == Way::kReceive ? receive_ : send_); }
  void ShutdownOutput() override { io_.ShutdownOutput(fd_); }

 private:
  class Operation final : public IoOp {
   public:
    explicit Operation(PlainTransport& transport) : transport_(transport) {}

   private:
    void OnComplete(IoResult result) override { transport_.OnComplete(*this, result); }
    friend class PlainTransport;
    PlainTransport& transport_;
  };

  void Submit(Operation& operation, const IoRequest& request);
  void OnComplete(Operation& operation, IoResult result);
  void OnReceived(IoResult result);

  Io& io_;
  Owner& owner_;
  int fd_ = -1;
  bool more_waiting_ = false;  // the last receive left bytes in the socket
  Operation receive_;
  Operation send_;
};

}  // namespace bivalve::core
