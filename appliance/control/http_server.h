// HttpServer: answers GET on the statistics address, from the control thread. Small on purpose: one request
// for each connection, a bounded head, deadlines, a bounded number of connections. When all are taken, the
// oldest one that nothing is being prepared for gives way to a new one, so that clients who keep still or do
// not read cannot shut others out. Never touches a worker.
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

// What a request asks for, and whom.
struct HttpRequest {
  std::string_view method = {};
  std::string_view path = {};                 // without the query
  std::string_view query = {};                // without the question mark; empty: none
  std::optional<std::string_view> host = {};  // of the field Host, port and all
};
// Parses the head of a request (RFC 9112 section 3), given up to its blank line. False when it is none, or
// has several fields Host (section 3.2).
bool ParseHttpRequest(std::string_view head, HttpRequest& request);
// Whether `host`, the value of a field Host, can only mean this machine: it is an address, localhost or
// `own_name`.
bool IsOwnHost(std::string_view host, std::string_view own_name);
// The value of `name` in a query ("limit" in "a=1&limit=20"), as it stands there; empty when it has none.
std::string_view FindQueryValue(std::string_view query, std::string_view name);
// The whole response, "Connection: close".
std::string RenderHttpResponse(const HttpResponse& response, bool with_body);

class HttpServer {
 public:
  // What stands under a path. The query outlives the task, which must end in bounded time; it may suspend.
  using Handler = std::function<core::Task<HttpResponse>(std::string_view query)>;
  struct Route {
    std::string path;
    Handler handler;
  };

  static constexpr size_t kHeadBytesMax = 8192;
  static constexpr size_t kConnectionsMax = 64;
  // With those that have given way and are about to close, which takes some turns of the loop.
  static constexpr size_t kDescriptorsMax = 8 * kConnectionsMax;
  // For the request, and again for the answer.
  static constexpr core::Duration kTimeout = std::chrono::seconds(5);
  // A client that has not taken its answer after so long may have to give way.
  static constexpr core::Duration kSendingUndisturbed = std::chrono::seconds(1);

  HttpServer(core::Loop& loop, core::UniqueFd listen_fd, std::vector<Route> routes);
  ~HttpServer();

  void Start();
  // Requests that name another host than this one (see IsOwnHost) are answered 421 from now on, whatever they
  // ask. For a listener that only this machine can reach: a page in a browser here may have had its own host
  // name changed to point to it (DNS rebinding). A request that names none is not from a browser.
  void GuardHost(std::string own_name) { own_name_ = std::move(own_name); }
  // See net::Acceptor.
  void LookAgain() { acceptor_.LookAgain(); }
  // Stops accepting, waits for those that are being answered. Suspends.
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
  core::LinkedList<Connection> open_;    // oldest first, less those that give way
  core::Scope connections_;
  net::Acceptor acceptor_;
};

}  // namespace bivalve::appliance
