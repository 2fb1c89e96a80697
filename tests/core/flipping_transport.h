// FlippingTransport: a test's transport on top of a plain one, like an encrypting transport.
#pragma once

#include <sys/socket.h>

#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/io.h"
#include "core/plain_transport.h"
#include "core/transport.h"

namespace bivalve::core {

// Flips all bits on the way. Uses a plain transport of its own, like an encrypting transport.
class FlippingTransport final : public Transport, private Transport::Owner {
 public:
  FlippingTransport(Io& io, int fd, Transport::Owner& owner) : owner_(owner), below_(io, *this) {
    below_.Use(fd);
  }

  void ReceiveAny() override { below_.ReceiveAny(); }
  void Receive(std::span<char> room) override {
    room_ = room;
    below_.Receive(room);
  }
  void ReceiveMessage(msghdr& message) override {
    Receive({static_cast<char*>(message.msg_iov[0].iov_base), message.msg_iov[0].iov_len});
  }
  void Send(std::string_view bytes) override {
    sending_ = Flipped(bytes);
    below_.Send(sending_);
  }
  void SendMessage(const msghdr& message) override {
    std::string bytes;
    for (size_t i = 0; i < message.msg_iovlen; ++i)
      bytes.append(static_cast<const char*>(message.msg_iov[i].iov_base), message.msg_iov[i].iov_len);
    Send(bytes);
  }
  bool in_flight(Way way) const override { return below_.in_flight(way); }
  void Cancel(Way way) override { below_.Cancel(way); }
  void ShutdownOutput() override { below_.ShutdownOutput(); }

  static std::string Flipped(std::string_view bytes) {
    std::string flipped(bytes);
    for (char& c : flipped) c = static_cast<char>(~c);
    return flipped;
  }

 private:
  void OnReceived(IoResult result, std::string_view bytes) override {
    if (result.ok()) {
      for (char& c : std::exchange(room_, {}).first(bytes.empty() ? result.value() : 0))
        c = static_cast<char>(~c);
    }
    owner_.OnReceived(result, Flipped(bytes));
  }
  void OnSent(IoResult result) override { owner_.OnSent(result); }

  Transport::Owner& owner_;
  PlainTransport below_;
  std::span<char> room_;
  std::string sending_;
};

}  // namespace bivalve::core
