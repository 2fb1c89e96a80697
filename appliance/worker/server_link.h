// ServerLink: a session's connection to the mail server, for sending commands and getting their replies. It
// knows the server's extensions, and it keeps the server from giving up while a message is received and
// scanned. It knows nothing about the client. Worker-local.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "appliance/worker/close_reason.h"
#include "appliance/worker/session_services.h"
#include "core/condition.h"
#include "core/mono_time.h"
#include "core/task.h"
#include "net/address.h"
#include "net/connection.h"
#include "net/delivery.h"
#include "net/ehlo.h"
#include "net/keep_alive.h"
#include "net/smtp_command.h"

namespace bivalve::appliance {

// The server's reply, or why there is no usable one.
struct ServerReply {
  // If it is not kNone, the session ends for this reason; kQuit after a 421 (RFC 5321 section 3.8).
  CloseReason failure = CloseReason::kNone;
  uint16_t code = 0;
  // Whole lines with CRLF, for the client. Valid until the link's next reply. Empty if there is no reply that
  // the client should see.
  std::string_view text = {};

  bool ok() const { return failure == CloseReason::kNone; }
};

class ServerLink {
 public:
  // `wake` is notified of all events on the connection; `session` is the number for the log. `services`,
  // `config` and `wake` outlive the link.
  ServerLink(SessionServices& services, const SessionConfig& config, core::Condition& wake, uint64_t session);
  ServerLink(const ServerLink&) = delete;

  // Connects to `address` without sending anything. Returns false if that fails, which is logged and counted.
  // With `socket_fd` it uses that socket and takes ownership of it. Suspends.
  core::Task<bool> Connect(const net::SocketAddress& address, int socket_fd);
  // Makes a Connect() that is under way fail soon. Never suspends.
  void Interrupt() {
    if (!open()) connection_.stream().Shutdown();
  }
  bool open() const { return connection_.stream().open(); }
  const std::string& host() const { return host_; }

  // --- Commands and replies.
  // Sends a command, given without its line end, and waits for the reply. A code from 300 to 399 is a
  // failure, except `intermediate`. Suspends.
  core::Task<ServerReply> Ask(std::string_view command, uint16_t intermediate = 0);
  // The two halves of Ask, for several commands in one send (RFC 2920). Write never suspends.
  void Write(std::string_view bytes) { connection_.stream().Write(bytes); }
  void Flush() { connection_.stream().Flush(); }
  core::Task<ServerReply> NextReply(uint16_t intermediate = 0);

  // Sends a client's HELO or EHLO (RFC 5321 section 4.1.1.1). The text of a positive reply is not the
  // server's own: it has our name, and only the extensions that a client can use through a filter. Suspends.
  core::Task<ServerReply> Hello(net::Verb verb, std::string_view line);
  // The server's extensions, from its last positive reply to Hello.
  const net::ServerExtensions& extensions() const { return extensions_; }

  // Ends the server's mail transaction (RFC 5321 section 4.1.1.5). Suspends.
  core::Task<ServerReply> Reset();

  // --- Between commands. Never suspend.
  // The server has sent something without being asked.
  bool HasSpoken() const { return !connection_.stream().input().empty(); }
  bool ended() const { return connection_.stream().ended(); }
  // Starts to notice what the server sends and that it closes; both notify `wake`.
  void Listen() { connection_.stream().StartReading(); }

  // --- A message.
  // From now on NOOPs keep the server from giving up (KeepAlives), and only the four calls below may be made.
  void StartKeepAlive() { keep_alive_.Start(config_.keep_alives); }
  // Ends the NOOPs. Returns false if the connection to the server is lost. Suspends.
  core::Task<bool> SettleKeepAlive() { return keep_alive_.Settle(config_.timeout); }
  // Ends the NOOPs and delivers a message in the form that this server takes. It fills in what `options` says
  // about the server, and the timeout. See net::Deliver; kLost if the connection was lost before. Suspends.
  core::Task<net::DeliveryResult> Deliver(net::WholeMessage message, net::DeliveryOptions options,
                                          std::string& reply_text);

  // --- The end.
  // Says QUIT if the server listens, without waiting for the reply. Suspends.
  core::Task<void> Leave(bool server_listens);
  // Suspends.
  core::Task<void> Close() { return connection_.stream().Close(); }

 private:
  core::MonoTime Deadline() const { return services_.loop.Now() + config_.timeout; }

  SessionServices& services_;
  const SessionConfig& config_;
  core::Condition& wake_;
  uint64_t session_;
  net::Connection connection_;
  net::KeepAlive keep_alive_;
  net::ServerExtensions extensions_ = {};
  net::SocketAddress address_ = {};
  std::string host_ = {};
  std::string text_ = {};  // of the last reply
};

}  // namespace bivalve::appliance
