// Delivers a message to a server whose mail transaction is open: by BDAT (RFC 3030) if possible, otherwise by
// DATA with dot-stuffing. Before a dot behind a bare LF, DATA makes the LF a CRLF. The content is not
// changed, and it is copied only where many lines begin with a dot (into 64 KB that live as long as the
// delivery).
//
//   net::Delivery delivery(server, wake, options, text);
//   if (co_await delivery.Begin()) ...
//   while (more) co_await delivery.Feed(parts);      // by BDAT only
//   net::DeliveryResult result = co_await delivery.End(parts);
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/condition.h"
#include "core/mono_time.h"
#include "core/patience.h"
#include "core/task.h"
#include "net/connection.h"

namespace bivalve::net {

struct DeliveryOptions {
  bool chunking = false;           // the server lists CHUNKING
  bool chunking_proven = false;    // and has taken chunks before; if not, a chunk of one byte is sent first
  bool may_need_stuffing = false;  // some line of the content may begin with a dot
  uint64_t shrunken_files = 0;     // core::ShrunkenFilesMet() when the message began
  core::Duration timeout{};        // longest silence of the server; see core::Patience
};

struct DeliveryResult {
  enum class Status : uint8_t {
    kReplied,      // the server's final reply is in the text
    kRefusedData,  // refused before the message; reply in the text, transaction still open
    kLost,         // the connection ended, timed out or spoke nonsense before the final reply
  };
  Status status = Status::kLost;
  uint16_t code = 0;
  bool early = false;  // with kLost: the server took the message before it was complete
  // The server answered BDAT by 500 to 504. It may have taken the content of the chunk for commands, so
  // nothing more may be sent on this connection. With kLost, the chunk was one byte.
  bool no_chunking = false;
};

// A reply that arrives before the end of the message was sent says nothing about the message. It may be meant
// as a refusal: after a refusal the message is still sent to its end. After any other reply the end is not
// sent (kLost), so that the server cannot take the message while the client is told otherwise.
class Delivery {
 public:
  // The server's reply that counts is appended to `text`. `wake` is the server stream's Condition. All
  // arguments must outlive the delivery.
  Delivery(Connection& server, core::Condition& wake, const DeliveryOptions& options, std::string& text)
      : server_(server), wake_(wake), options_(options), text_(text), patience_(options.timeout) {}
  Delivery(const Delivery&) = delete;

  // Asks the server to take a message: sends DATA, unless chunks are possible. False: the server refuses, and
  // End() returns the reason. Suspends.
  core::Task<bool> Begin();
  // Sends the next part of the message; with chunking only (RFC 3030 section 2: BDAT without LAST). Returns
  // when the part was sent; its reply is read by the next call. False: the server does not take the message,
  // and End() returns the reason. Suspends.
  core::Task<bool> Feed(std::span<const std::string_view> parts);
  // Sends the rest of the message and its end, and waits for the final reply. If Begin() or Feed() returned
  // false, it sends nothing. The server can take the message from this call on, and not before. Suspends.
  //
  // The memory of all parts must live until End() returns. The kernel may refer to it until the reply has
  // arrived and, with kLost, until the stream is closed.
  core::Task<DeliveryResult> End(std::span<const std::string_view> parts);

  static constexpr size_t kPartsMax = 4;  // of one call

 private:
  core::Task<bool> FeedFirstByte(std::span<std::string_view> parts);
  core::Task<bool> SendChunk(std::span<const std::string_view> parts);
  core::Task<bool> TakeChunkReply();
  core::Task<DeliveryResult> EndByBdat(std::span<const std::string_view> parts);
  core::Task<DeliveryResult> EndByData(std::span<const std::string_view> parts);
  core::Task<DeliveryResult> AwaitFinalReply(core::Duration timeout);
  core::Task<DeliveryResult> AwaitReplyAfterFailure();
  bool HasTakenItEarly();

  Connection& server_;
  core::Condition& wake_;
  const DeliveryOptions options_;
  std::string& text_;
  core::Patience patience_;  // for sending to the server
  bool chunk_unanswered_ = false;
  bool chunk_sent_ = false;
  bool ended_ = false;  // result_ is final
  DeliveryResult result_;
};

// A message that is available as a whole.
struct WholeMessage {
  std::string_view content = {};
  std::string_view header = {};  // whole lines with CRLF, inserted by reference; empty: none
  size_t header_offset = 0;      // where it is inserted in the content; at the end of a line
};

// Begins, sends the message and ends. Suspends.
core::Task<DeliveryResult> Deliver(Connection& server, core::Condition& wake, const WholeMessage& message,
                                   const DeliveryOptions& options, std::string& text);

}  // namespace bivalve::net
