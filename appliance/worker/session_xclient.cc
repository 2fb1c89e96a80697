// XClient: before any command of the client goes to the server, the server is told who the client is. Without
// that, the client has the rights that the server gives to this machine.
#include <utility>

#include "appliance/worker/session.h"
#include "core/text.h"
#include "net/smtp_reply.h"

namespace bivalve::appliance {

// Only EHLO shows what the server offers, and the client may never send EHLO. After the 220 to XCLIENT the
// dialogue starts over, so the client's own greeting, if it comes, counts for both sides.
core::Task<CloseReason> Session::IntroduceClient(const net::Command& command) {
  introduced_ = true;
  const net::ClientIdentity client = Identity(command);
  ServerReply reply = co_await server_.Ask(core::Cat("EHLO ", config().host_name));
  if (!reply.ok()) co_return Relay(reply);
  if (!net::IsPositive(reply.code))
    co_return NotIntroduced(core::Cat("the mail server refused EHLO: ", core::Trim(reply.text)));
  const std::string introduction =
      net::XClientCommand(net::FindExtensionValues(reply.text, "XCLIENT").value_or(""), client);
  if (introduction.empty()) co_return NotIntroduced("the mail server does not offer XCLIENT");
  reply = co_await server_.Ask(introduction);
  if (!reply.ok()) co_return Relay(reply);
  if (reply.code == net::kReady) co_return CloseReason::kNone;
  // The greeting of a server that refuses this client (Postfix applies smtpd_client_restrictions here; RFC
  // 5321 section 3.1, RFC 7504). The client gets the server's own reply.
  if (reply.code == 521 || reply.code == 554) {
    (void)Relay(reply);
    co_return CloseReason::kQuit;
  }
  co_return NotIntroduced(core::Cat("the mail server refused XCLIENT: ", core::Trim(reply.text)));
}

CloseReason Session::NotIntroduced(std::string_view why) {
  const bool allowed = config().xclient_failure == XClientFailure::kAllow;
  LogText(allowed ? Severity::kWarning : Severity::kError,
          core::Cat(why, allowed ? "; the client passes for this filter (XClientFailure)"
                                 : "; the client is refused (XClientFailure)"));
  return allowed ? CloseReason::kNone : CloseReason::kNotIntroduced;
}

net::ClientIdentity Session::Identity(const net::Command& command) const {
  const bool greets = command.verb == net::Verb::kEhlo || command.verb == net::Verb::kHelo;
  net::ClientIdentity client;
  client.address = client_address_;
  if (greets) client.helo = command.arguments;
  client.extended = command.verb == net::Verb::kEhlo;
  client.local_address = client_.local();
  return client;
}

}  // namespace bivalve::appliance
