// ServerLink: a session's connection to the mail server, as one that asks and is answered. Knows the server's
// extensions, and keeps it from giving up while a message is received and scanned. Knows nothing of the
// client. Worker-local.
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

// What the server has said, or why it has said nothing of use.
struct ServerReply {
  // Other than kNone, the session ends for this reason: kQuit after a 421 (RFC 5321 section 3.8).
  CloseReason failure = CloseReason::kNone;
  uint16_t code = 0;
  // Whole lines with CRLF, which the client may get. Valid until the link's next reply. Empty where there is
  // none that it should see.
  std::string_view text = {};

  bool ok() const { return failure == CloseReason::kNone; }
};

class ServerLink {
 public:
  // `wake` is notified of whatever happens to the connection; `session` is the number for the log. Both
  // services and config outlive the link.
  ServerLink(SessionServices& services, const SessionConfig& config, core::Condition& wake, uint64_t session);
  ServerLink(const ServerLink&) = delete;

  // Connects to `address` and is silent so far; false when it could not, which is logged and counted. With
  // `socket_fd` it takes that socket, and ownership of it. Suspends.
  core::Task<bool> Connect(const net::SocketAddress& address, int socket_fd);
  // Makes a Connect() that is under way fail soon. Never suspends.
  void Interrupt() {
    if (!open()) connection_.stream().Shutdown();
  }
  bool open() const { return connection_.stream().open(); }
  const std::string& host() const { return host_; }

  // --- Commands and replies.
  // Sends a command, given without its line end, and waits for the reply. A code from 300 to 399 is a failure
  // except for `intermediate`. Suspends.
  core::Task<ServerReply> Ask(std::string_view command, uint16_t intermediate = 0);
  // The two halves of Ask, for several commands in one send (RFC 2920). Write never suspends.
  void Write(std::string_view bytes) { connection_.stream().Write(bytes); }
  void Flush() { connection_.stream().Flush(); }
  core::Task<ServerReply> NextReply(uint16_t intermediate = 0);

  // Sends a client's HELO or EHLO (RFC 5321 section 4.1.1.1). The text of a positive reply is not the
  // server's own: it has our name, and those extensions that a filter can let a client use. Suspends.
  core::Task<ServerReply> Hello(net::Verb verb, std::string_view line);
  // Of the server, from its last positive reply to Hello.
  const net::ServerExtensions& extensions() const { return extensions_; }

  // Ends the server's mail transaction (RFC 5321 section 4.1.1.5). Suspends.
  core::Task<ServerReply> Reset();

  // --- Between commands. Never suspend.
  // It has said something that nobody asked for.
  bool HasSpoken() const { return !connection_.stream().input().empty(); }
  bool ended() const { return connection_.stream().ended(); }
  // Notices what the server says or that it closes; both notify `wake`.
  void Listen() { connection_.stream().StartReading(); }

  // --- A message.
  // From now on NOOPs keep the server from giving up (KeepAlives), and only the four calls below may be made.
  void StartKeepAlive() { keep_alive_.Start(config_.keep_alives); }
  // Ends that. False when the server is lost. Suspends.
  core::Task<bool> SettleKeepAlive() { return keep_alive_.Settle(config_.timeout); }
  // Ends that, and delivers a message in the form that this server takes: what is to be known of the server
  // and the timeout are filled in in `options`. See net::Deliver; kLost when the server was lost before.
  // Suspends.
  core::Task<net::DeliveryResult> Deliver(net::WholeMessage message, net::DeliveryOptions options,
                                          std::string& reply_text);

  // --- The end.
  // Says QUIT where the server listens, without waiting for the reply. Suspends.
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
