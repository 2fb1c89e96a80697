// HttpServer: serves GET requests on the statistics address, on the control thread. It is small on purpose:
// one request for each connection, a bounded head, deadlines, a bounded number of connections. If all
// connections are taken, the oldest one whose answer is not being prepared gives way to a new one, so that
// clients who keep silent or do not read cannot shut others out. Never touches a worker.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/fd.h"
#include "core/linked_list.h"
#include "core/loop.h"
#include "core/scope.h"
#include "core/task.h"
#include "net/listener.h"

namespace bivalve::appliance {

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body = {};
};

// The parts of a request that matter here.
struct HttpRequest {
  std::string_view method = {};
  std::string_view path = {};                 // without the query
  std::string_view query = {};                // without the question mark; empty: none
  std::optional<std::string_view> host = {};  // value of the field Host, with the port
};
// Parses the head of a request (RFC 9112 section 3), given up to and including its blank line. Returns false
// if it is no request, or if it has several Host fields (section 3.2).
bool ParseHttpRequest(std::string_view head, HttpRequest& request);
// Whether `host`, the value of a Host field, can only mean this machine: it is an address, localhost or
// `own_name`.
bool IsOwnHost(std::string_view host, std::string_view own_name);
// The value of `name` in a query ("limit" in "a=1&limit=20"), not decoded; empty if there is none.
std::string_view FindQueryValue(std::string_view query, std::string_view name);
// The whole response, "Connection: close".
std::string RenderHttpResponse(const HttpResponse& response, bool with_body);

class HttpServer {
 public:
  // Makes the response for a path. The query outlives the task. May suspend, but must end in bounded time.
  using Handler = std::function<core::Task<HttpResponse>(std::string_view query)>;
  struct Route {
    std::string path;
    Handler handler;
  };

  static constexpr size_t kHeadBytesMax = 8192;
  static constexpr size_t kConnectionsMax = 64;
  // Includes connections that gave way and are about to close, which takes some turns of the loop.
  static constexpr size_t kDescriptorsMax = 8 * kConnectionsMax;
  // For reading the request, and again for sending the answer.
  static constexpr core::Duration kTimeout = std::chrono::seconds(5);
  // A client that has not taken its answer after this time may have to give way.
  static constexpr core::Duration kSendingUndisturbed = std::chrono::seconds(1);

  HttpServer(core::Loop& loop, core::UniqueFd listen_fd, std::vector<Route> routes);
  ~HttpServer();

  void Start();
  // From now on, answers 421 to every request that names another host than this one (see IsOwnHost). For a
  // listener that only this machine can reach: a browser here may show a page that has pointed its own host
  // name to this address (DNS rebinding). A request without a Host field does not come from a browser.
  void GuardHost(std::string own_name) { own_name_ = std::move(own_name); }
  // See net::Acceptor.
  void LookAgain() { acceptor_.LookAgain(); }
  // Stops accepting and waits for the open connections. Suspends.
  core::Task<void> Stop();
  bool stopped() const { return acceptor_.stopped(); }

 private:
  struct Connection;

  void Accepted(int fd);
  bool MakeWay();
  core::Task<void> Serve(std::unique_ptr<Connection> connection);
  core::Task<bool> ReadHead(Connection& connection);
  core::Task<HttpResponse> Answer(const HttpRequest& request);

  core::Loop& loop_;
  core::UniqueFd listen_fd_;
  const std::vector<Route> routes_;
  std::optional<std::string> own_name_;  // nullopt: any host
  core::LinkedList<Connection> open_;    // oldest first, without those that gave way
  core::Scope connections_;
  net::Acceptor acceptor_;
};

}  // namespace bivalve::appliance
