// The part of a session up to its greeting: who the client is (PROXY protocol), whether it may have a
// session, and the connection to the server.
#include <algorithm>
#include <string>
#include <string_view>

#include "appliance/worker/replies.h"
#include "appliance/worker/session.h"
#include "appliance/worker/session_limits.h"
#include "core/text.h"
#include "net/proxy_header.h"
#include "net/smtp_reply.h"

namespace bivalve::appliance {
namespace {

// If a PROXY header has begun, the line calls it malformed and shows its first bytes, so that the operator
// looks at the proxy. Otherwise the operator should look at the client that connects without one.
std::string ProxyHeaderComplaint(std::string_view input, std::string_view client) {
  static constexpr size_t kExcerptBytesMax = 120;
  if (!net::BeginsProxyHeader(input)) return core::Cat("no PROXY header from ", client);
  return core::Cat("malformed PROXY header from ", client, ": ", input.substr(0, kExcerptBytesMax));
}

}  // namespace

// A PROXY header is believed only from the networks that the operator named. Nothing is sent to anybody
// before the header is complete (haproxy, proxy-protocol.txt section 2: a receiver must not guess whether a
// header is there).
core::Task<CloseReason> Session::TakeProxyHeader() {
  const bool local = client_address_.is_loopback() || client_address_.family() == AF_UNIX;
  const std::vector<net::Network>& trusted = config().proxy_protocol_from;
  const bool may = trusted.empty() ? local
                                   : client_address_.family() == AF_UNIX ||
                                         std::ranges::any_of(trusted, [this](const net::Network& network) {
                                           return network.Contains(client_address_);
                                         });
  if (!may) {
    LogText(Severity::kWarning,
            core::Cat("connection from ", client_host_, ", which ProxyProtocolFrom does not name"));
    co_return CloseReason::kProxyHeader;
  }
  const core::MonoTime deadline =
      services_.loop.Now() + std::min<core::Duration>(config().timeout, limits::kProxyHeaderTimeout);
  for (;;) {
    const net::ProxyHeader header = net::ParseProxyHeader(client_.stream().input());
    switch (header.state) {
      case net::ProxyHeader::State::kWhole:
        client_.stream().Consume(header.bytes);
        if (header.client.family() != AF_UNSPEC) {
          client_address_ = header.client;
          client_host_ = header.client.Host();
          local_host_ = header.local.Host();
        }
        co_return CloseReason::kNone;
      case net::ProxyHeader::State::kBad:
        LogText(Severity::kWarning, ProxyHeaderComplaint(client_.stream().input(), client_host_));
        co_return CloseReason::kProxyHeader;
      case net::ProxyHeader::State::kIncomplete:
        break;
    }
    if (MayStop()) co_return CloseReason::kShutdown;
    // A health check that only connects is not worth a log line.
    if (client_.stream().ended()) co_return CloseReason::kClientGone;
    client_.stream().StartReading();
    const bool in_time = co_await wake_.Wait(deadline);
    if (!in_time) {
      LogText(Severity::kWarning, core::Cat("no PROXY header in time from ", client_host_));
      co_return CloseReason::kProxyHeader;
    }
  }
}

// MaxConnectionsPerClient. Counts the client's own address, so behind a proxy the proxy does not count.
CloseReason Session::CountClient() {
  if (services_.client_counts == nullptr || config().connections_per_client_max == 0)
    return CloseReason::kNone;
  counted_as_ = client_address_;
  const uint32_t connections = services_.client_counts->Add(*counted_as_);
  if (connections <= config().connections_per_client_max) return CloseReason::kNone;
  LogText(Severity::kWarning,
          core::Cat("client has more than ", config().connections_per_client_max, " connections"));
  return CloseReason::kTooManyConnections;
}

void Session::UncountClient() {
  if (counted_as_.has_value()) services_.client_counts->Remove(*counted_as_);
}

// Connects to the server and then greets the client with our own name (RFC 5321 section 4.3.1).
core::Task<CloseReason> Session::OpenServer() {
  const bool connected = co_await ConnectServer();
  if (!connected) co_return MayStop() ? CloseReason::kShutdown : CloseReason::kUnreachable;
  const core::MonoTime deadline = Deadline();
  while (!server_.HasSpoken() && !server_.ended()) {
    if (MayStop()) co_return CloseReason::kShutdown;
    server_.Listen();
    const bool in_time = co_await wake_.Wait(deadline);
    if (!in_time && !server_.HasSpoken()) co_return CloseReason::kServerTimeout;
  }
  const ServerReply reply = co_await server_.NextReply();
  if (reply.ok() && reply.code == net::kReady) {
    Answer(core::Cat("220 ", config().host_name, "\r\n"), reply.code);
    co_return CloseReason::kNone;
  }
  if (reply.ok() && net::IsPositive(reply.code)) co_return CloseReason::kServerNonsense;
  // The server does not want to talk now; the client gets the server's own reply.
  const CloseReason reason = Relay(reply);
  co_return reason == CloseReason::kNone ? CloseReason::kQuit : reason;
}

core::Task<bool> Session::ConnectServer() {
  const std::vector<net::SocketAddress> addresses = ServerAddresses();
  for (const net::SocketAddress& address : addresses) {
    const bool connected = co_await server_.Connect(address, OpenOutgoing(address));
    if (connected) co_return true;
    if (client_.PeerLeft() || MayStop()) co_return false;
  }
  if (addresses.empty()) LogText(Severity::kError, "no address of a mail server is known");
  co_return false;
}

}  // namespace bivalve::appliance
