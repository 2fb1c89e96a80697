// Transport: how the bytes of a Stream cross to the kernel and back. Stream has the buffers and the waiting;
// a transport has the operations. PlainTransport hands the bytes over as they are; one that encrypts stands
// in its place. Worker-local; nothing suspends.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <span>
#include <string_view>

#include "core/io.h"

namespace bivalve::core {

class Transport {
 public:
  enum class Way : uint8_t { kReceive, kSend };

  // Is told how an operation ended: from the loop, never from inside the call that began it.
  class Owner {
   public:
    // The bytes received, 0 at the end of the stream, or a negated errno. `bytes` is what ReceiveAny() has
    // received, valid until this returns; empty for the others.
    virtual void OnReceived(IoResult result, std::string_view bytes) = 0;
    // The bytes sent, or a negated errno.
    virtual void OnSent(IoResult result) = 0;

   protected:
    ~Owner() = default;
  };

  virtual ~Transport() = default;

  // --- One operation each way at a time, with one call of the owner behind it. What the arguments point at,
  // and a message itself, must live until then.
  // Receives into memory of the transport's own. Nothing is held while nothing comes.
  virtual void ReceiveAny() = 0;
  virtual void Receive(std::span<char> room) = 0;
  // Into the pieces of `message`, the first one first.
  virtual void ReceiveMessage(msghdr& message) = 0;
  // Sends whole unless the connection fails.
  virtual void Send(std::string_view bytes) = 0;
  // The same for the pieces of `message`. With a descriptor in it: plain local sockets only.
  virtual void SendMessage(const msghdr& message) = 0;

  virtual bool in_flight(Way way) const = 0;
  // Asks for an early end, which still comes by the owner's call (Io::Cancel). Harmless when there is none.
  virtual void Cancel(Way way) = 0;

  // Ends our direction: the peer reads what was sent, and then the end.
  virtual void ShutdownOutput() = 0;
};

}  // namespace bivalve::core
