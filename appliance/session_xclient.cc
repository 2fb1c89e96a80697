// XClient: before the client's own HELO or EHLO goes to the server, the server is told who the client is.
#include <utility>

#include "appliance/session.h"
#include "core/text.h"
#include "net/smtp_reply.h"

namespace bivalve::appliance {

// What the server offers only an EHLO of ours can tell (the client's HELO would not), and after the 220 to
// XCLIENT the dialogue starts over: so the client's greeting, which follows, is the one that counts for the
// server and for the client.
core::Task<Session::CloseReason> Session::IntroduceClient(net::Verb verb, std::string_view name) {
  server_.stream().Write(core::Cat("EHLO ", name, "\r\n"));
  server_.stream().Flush();
  std::string text;
  net::Reply reply = co_await ServerReply(text);
  if (!reply.ok()) co_return ReasonOf(reply.status);
  if (!net::IsPositive(reply.code)) {
    if (reply.code != 421) co_return CloseReason::kNone;  // the client's own greeting will be refused too
    Answer(text);
    co_return CloseReason::kQuit;
  }
  introduced_ = true;
  const net::ClientIdentity client = Identity(verb, name);
  const std::string command =
      net::XClientCommand(net::FindExtensionValues(text, "XCLIENT").value_or(""), client);
  if (command.empty()) {
    LogText(Severity::kDebug, "the mail server does not offer XCLIENT for this client");
    co_return CloseReason::kNone;
  }
  server_.stream().Write(command);
  server_.stream().Write("\r\n");
  server_.stream().Flush();
  text.clear();
  reply = co_await ServerReply(text);
  if (!reply.ok()) co_return ReasonOf(reply.status);
  if (reply.code == 220) co_return CloseReason::kNone;
  if (net::IsIntermediate(reply.code)) co_return CloseReason::kServerNonsense;
  LogText(Severity::kWarning, core::Cat("the mail server refused XCLIENT: ", core::Trim(text)));
  // A server that closes, or that refuses this client (Postfix applies smtpd_client_restrictions here), does
  // so in its words.
  if (reply.code != 421) co_return CloseReason::kNone;
  Answer(text);
  co_return CloseReason::kQuit;
}

net::ClientIdentity Session::Identity(net::Verb verb, std::string_view name) const {
  net::ClientIdentity client;
  client.address = client_address_;
  client.helo = name;
  client.extended = verb == net::Verb::kEhlo;
  client.local_address = LocalAddress();
  return client;
}

net::SocketAddress Session::LocalAddress() const { return net::SocketName(client_.stream().fd()); }

}  // namespace bivalve::appliance
