// Transport: moves the bytes of a Stream to the kernel and back. Stream has the buffers and the waiting; a
// transport has the operations. PlainTransport passes the bytes on unchanged; an encrypting one could take
// its place. Worker-local; nothing suspends.
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

  // Learns how an operation ended. Called from the loop, never from inside the call that began the operation.
  class Owner {
   public:
    // `result`: the bytes received, 0 at the end of the stream, or a negated errno. `bytes`: what
    // ReceiveAny() has received, valid until this returns; empty for the other operations.
    virtual void OnReceived(IoResult result, std::string_view bytes) = 0;
    // `result`: the bytes sent, or a negated errno.
    virtual void OnSent(IoResult result) = 0;

   protected:
    ~Owner() = default;
  };

  virtual ~Transport() = default;

  // --- One operation in each direction at a time; each ends with one call of the owner. The memory that the
  // arguments point at, and a message itself, must live until then.
  // Receives into the transport's own memory. Holds no memory until bytes arrive.
  virtual void ReceiveAny() = 0;
  virtual void Receive(std::span<char> room) = 0;
  // Into the pieces of `message`, the first one first.
  virtual void ReceiveMessage(msghdr& message) = 0;
  // Sends all bytes unless the connection fails.
  virtual void Send(std::string_view bytes) = 0;
  // The same for the pieces of `message`. With a descriptor in it: plain local sockets only.
  virtual void SendMessage(const msghdr& message) = 0;

  virtual bool in_flight(Way way) const = 0;
  // Requests an early end, which the owner still learns by its call (Io::Cancel). Harmless if nothing is in
  // flight.
  virtual void Cancel(Way way) = 0;

  // Ends our direction: the peer reads what was sent and then the end.
  virtual void ShutdownOutput() = 0;
};

}  // namespace bivalve::core
