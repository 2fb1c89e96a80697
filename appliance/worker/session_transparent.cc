// TransparentProxy: the server is the address that the client wanted to connect to.
#include "appliance/worker/session.h"
#include "core/text.h"
#include "net/transparent.h"

namespace bivalve::appliance {

std::vector<net::SocketAddress> Session::ServerAddresses() {
  if (!config().transparent_proxy) return settings_->servers.For(client_address_);
  const net::SocketAddress destination = client_.original_destination();
  // If a rule sends our own connection back to us, it would go round until no connections are left.
  const bool our_own = services_.outgoing_ports != nullptr &&
                       services_.outgoing_ports->Has(client_address_.port()) &&
                       net::IsLocalAddress(client_address_);
  if (our_own || net::ReachesListener(destination, services_.listening)) {
    LogText(Severity::kError, core::Cat("refused: the connection to ", destination.ToString(),
                                        " would come back to this program (TransparentProxy)"));
    return {};
  }
  if (destination.family() == AF_UNSPEC) return {};
  LogText(Severity::kDebug, core::Cat("original destination: ", destination.ToString()));
  return {destination};
}

// With TPROXY the connection to the server has the client's own address, if that is permitted; the gateway's
// rules bring the server's packets back. With REDIRECT there are no such rules, and the connection has our
// address.
int Session::OpenOutgoing(const net::SocketAddress& server) {
  if (!config().transparent_proxy) return -1;
  const int fd = services_.loop.io().OpenSocket(server.family());
  if (fd < 0) return -1;
  const bool by_tproxy = client_.local() == server;
  ReleaseOutgoingPort();
  outgoing_port_ = net::BindOutgoing(fd, server.family(), by_tproxy ? &client_address_ : nullptr);
  if (outgoing_port_ != 0 && services_.outgoing_ports != nullptr)
    services_.outgoing_ports->Add(outgoing_port_);
  return fd;
}

void Session::ReleaseOutgoingPort() {
  if (outgoing_port_ != 0 && services_.outgoing_ports != nullptr)
    services_.outgoing_ports->Remove(outgoing_port_);
  outgoing_port_ = 0;
}

}  // namespace bivalve::appliance
