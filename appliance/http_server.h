// HttpServer: answers GET on the statistics address, from the control thread. Small on purpose: one request
// for each connection, a bounded head, a deadline, a bounded number of connections. Never touches a worker.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/fd.h"
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

// What a request's first line asks for.
struct HttpRequest {
  std::string_view method;
  std::string_view path;  // without the query
};
// Parses the head of a request (RFC 9112 section 3), given up to its blank line. False when it is none.
bool ParseHttpRequest(std::string_view head, HttpRequest& request);
// The whole response, "Connection: close".
std::string RenderHttpResponse(const HttpResponse& response, bool with_body);

class HttpServer {
 public:
  // Answers a path; status 404 for what it does not know.
  using Responder = std::function<HttpResponse(std::string_view path)>;

  static constexpr size_t kHeadBytesMax = 8192;
  static constexpr size_t kConnectionsMax = 64;
  static constexpr core::Duration kTimeout = std::chrono::seconds(5);

  HttpServer(core::Loop& loop, core::UniqueFd listen_fd, Responder responder);

  void Start();
  // Stops accepting, waits for those that are being answered. Suspends.
  core::Task<void> Stop();
  bool stopped() const { return acceptor_.stopped(); }

 private:
  core::Task<void> Serve(int fd);
  std::string Answer(std::string_view head) const;

  core::Loop& loop_;
  core::UniqueFd listen_fd_;
  Responder responder_;
  core::Scope connections_;
  net::Acceptor acceptor_;
};

}  // namespace bivalve::appliance
