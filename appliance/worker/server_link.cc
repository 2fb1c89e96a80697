#include "appliance/worker/server_link.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "core/text.h"
#include "net/reply_reader.h"
#include "net/smtp_reply.h"

namespace bivalve::appliance {
namespace {

// For connecting to one address of a server. Shorter than TimeOut, so that the next address is tried while
// the client still waits: RFC 5321 section 4.5.3.2.1 gives a client five minutes for the greeting.
constexpr std::chrono::seconds kConnectTimeout{30};

CloseReason ReasonOf(net::ReplyStatus status) {
  switch (status) {
    case net::ReplyStatus::kOk:
      return CloseReason::kNone;
    case net::ReplyStatus::kEnded:
      return CloseReason::kServerLost;
    case net::ReplyStatus::kTimeout:
      return CloseReason::kServerTimeout;
    case net::ReplyStatus::kGarbage:
      return CloseReason::kServerNonsense;
  }
  BV_CHECK(false);
}

// The client does not see a reply that we cannot use, because it asked for another one or for none.
ServerReply Failed(CloseReason reason) { return {.failure = reason}; }

}  // namespace

ServerLink::ServerLink(SessionServices& services, const SessionConfig& config, core::Condition& wake,
                       uint64_t session)
    : services_(services),
      config_(config),
      wake_(wake),
      session_(session),
      connection_(services.loop, wake, net::kReplyLineBytesMax),
      keep_alive_(connection_, wake) {}

core::Task<bool> ServerLink::Connect(const net::SocketAddress& address, int socket_fd) {
  const core::MonoTime began = services_.loop.Now();
  const core::IoResult result = co_await connection_.stream().Connect(
      address.raw(), address.raw_size(), began + std::min<core::Duration>(config_.timeout, kConnectTimeout),
      socket_fd);
  if (result.error() == ECANCELED) co_return false;  // Interrupt(): nothing is wrong with the server
  if (!result.ok()) {
    services_.stats.counters.Add(Metric::kServerErrors);
    services_.log.Text(Severity::kError, session_,
                       core::Cat("cannot connect to mail server ", address.ToString(), ": ",
                                 std::string_view(std::strerror(result.error()))));
    co_return false;
  }
  services_.stats.counters.Add(Metric::kServerConnects);
  services_.stats.server_connect_us.Record(core::Microseconds(services_.loop.Now() - began));
  address_ = address;
  host_ = address.Host();
  co_return true;
}

core::Task<ServerReply> ServerLink::Ask(std::string_view command, uint16_t intermediate) {
  Write(command);
  Write("\r\n");
  Flush();
  return NextReply(intermediate);
}

core::Task<ServerReply> ServerLink::NextReply(uint16_t intermediate) {
  text_.clear();
  const net::Reply reply = co_await net::ReadReply(connection_, wake_, config_.timeout, text_);
  if (!reply.ok()) co_return Failed(ReasonOf(reply.status));
  if (net::IsIntermediate(reply.code) && reply.code != intermediate)
    co_return Failed(CloseReason::kServerNonsense);
  const bool closing = reply.code == net::kClosing;
  co_return ServerReply{
      .failure = closing ? CloseReason::kQuit : CloseReason::kNone, .code = reply.code, .text = text_};
}

core::Task<ServerReply> ServerLink::Hello(net::Verb verb, std::string_view line) {
  ServerReply reply = co_await Ask(line);
  if (!reply.ok() || !net::IsPositive(reply.code)) co_return reply;
  if (verb == net::Verb::kHelo) {
    extensions_ = {};
    text_ = core::Cat("250 ", config_.host_name, "\r\n");
  } else {
    const bool chunking = !services_.chunking_proof.Refuses(address_, services_.loop.Now());
    net::EhloReply for_client(config_.host_name, {.size_bytes_max = config_.message_bytes_max,
                                                  .chunking = chunking,
                                                  .binary_mime = config_.binary_mime});
    for (std::string_view rest = reply.text; !rest.empty();) {
      const size_t end = rest.find("\r\n");
      for_client.Add(net::ParseReplyLine(rest.substr(0, end))->text);
      rest.remove_prefix(end + 2);
    }
    extensions_ = for_client.server();
    extensions_.chunking = extensions_.chunking && chunking;
    text_ = for_client.Finish();
  }
  reply.text = text_;
  co_return reply;
}

core::Task<ServerReply> ServerLink::Reset() {
  const bool lives = co_await SettleKeepAlive();
  if (!lives) co_return Failed(CloseReason::kServerLost);
  const ServerReply reply = co_await Ask("RSET");
  if (reply.ok() && !net::IsPositive(reply.code)) co_return Failed(CloseReason::kServerNonsense);
  co_return reply;
}

core::Task<net::DeliveryResult> ServerLink::Deliver(net::WholeMessage message, net::DeliveryOptions options,
                                                    std::string& reply_text) {
  net::DeliveryResult result;  // lost
  const bool lives = co_await SettleKeepAlive();
  if (!lives) co_return result;
  options.chunking = extensions_.chunking;
  options.chunking_proven = services_.chunking_proof.Has(address_);
  options.timeout = config_.timeout;
  result = co_await net::Deliver(connection_, wake_, message, options, reply_text);
  if (result.no_chunking) {
    services_.log.Text(Severity::kWarning, session_,
                       "mail server lists CHUNKING and refuses BDAT; it gets no more of it for an hour");
    services_.chunking_proof.Refuse(address_, services_.loop.Now());
  } else if (options.chunking && !options.chunking_proven &&
             result.status == net::DeliveryResult::Status::kReplied) {
    services_.chunking_proof.Accept(address_);
  }
  co_return result;
}

core::Task<void> ServerLink::Leave(bool server_listens) {
  keep_alive_.Stop();
  if (!server_listens || !open()) co_return;
  Write("QUIT\r\n");
  (void)co_await connection_.stream().Drain(Deadline());
}

}  // namespace bivalve::appliance
