#include "appliance/http_server.h"

#include <utility>

#include "core/condition.h"
#include "core/stream.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return "Error";
  }
}

}  // namespace

bool ParseHttpRequest(std::string_view head, HttpRequest& request) {
  const std::string_view line = head.substr(0, head.find_first_of("\r\n"));
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == std::string_view::npos || last <= first + 1) return false;
  if (!line.substr(last + 1).starts_with("HTTP/1.")) return false;
  request.method = line.substr(0, first);
  request.path = line.substr(first + 1, last - first - 1);
  if (request.method.empty() || request.path.front() != '/') return false;
  request.path = request.path.substr(0, request.path.find('?'));
  return request.path.find(' ') == std::string_view::npos;
}

std::string RenderHttpResponse(const HttpResponse& response, bool with_body) {
  std::string text =
      core::Cat("HTTP/1.1 ", response.status, " ", ReasonPhrase(response.status),
                "\r\nContent-Type: ", response.content_type, "\r\nContent-Length: ", response.body.size(),
                "\r\nCache-Control: no-store\r\nConnection: close\r\n");
  if (response.status == 405) text += "Allow: GET, HEAD\r\n";
  text += "\r\n";
  if (with_body) text += response.body;
  return text;
}

HttpServer::HttpServer(core::Loop& loop, core::UniqueFd listen_fd, Responder responder)
    : loop_(loop),
      listen_fd_(std::move(listen_fd)),
      responder_(std::move(responder)),
      connections_(loop),
      acceptor_(
          loop, listen_fd_.get(),
          [this](int fd) {
            if (connections_.running() >= kConnectionsMax) {
              loop_.io().Close(fd);
              return;
            }
            connections_.Spawn(Serve(fd));
          },
          [](int) {}) {}

void HttpServer::Start() { acceptor_.Start(); }

core::Task<void> HttpServer::Stop() {
  acceptor_.Stop();
  co_await connections_.Join();
}

core::Task<void> HttpServer::Serve(int fd) {
  core::Condition wake(loop_);
  core::Stream stream(loop_, wake);
  stream.Adopt(fd);
  const core::MonoTime deadline = loop_.Now() + kTimeout;
  size_t head_end = std::string_view::npos;
  bool in_time = true;
  while (in_time && !stream.ended() && stream.input().size() < kHeadBytesMax) {
    head_end = stream.input().find("\r\n\r\n");
    if (head_end != std::string_view::npos) break;
    stream.StartReading();
    in_time = co_await wake.Wait(deadline);
  }
  head_end = stream.input().find("\r\n\r\n");
  if (head_end != std::string_view::npos) {
    stream.Write(Answer(stream.input().substr(0, head_end)));
  } else if (stream.input().size() >= kHeadBytesMax) {
    stream.Write(RenderHttpResponse({.status = 431, .body = "request too long\n"}, true));
  }
  (void)co_await stream.Drain(deadline + kTimeout);
  co_await stream.Close();
}

std::string HttpServer::Answer(std::string_view head) const {
  HttpRequest request;
  if (!ParseHttpRequest(head, request)) {
    return RenderHttpResponse({.status = 400, .body = "this is no HTTP request\n"}, true);
  }
  HttpResponse response = responder_(request.path);
  const bool read = request.method == "GET" || request.method == "HEAD";
  if (response.status != 404 && !read) {
    response = {.status = 405, .body = "only GET is allowed here\n"};
  }
  return RenderHttpResponse(response, request.method != "HEAD");
}

}  // namespace bivalve::appliance
