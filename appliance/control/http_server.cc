#include "appliance/control/http_server.h"

#include <arpa/inet.h>

#include <algorithm>
#include <utility>

#include "core/condition.h"
#include "core/stream.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

// How long a client gets to close its side if it has sent more than was read. After a close at once, TCP
// would send a reset, which can destroy the answer.
constexpr core::Duration kLinger = std::chrono::seconds(1);

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
    case 421:
      return "Misdirected Request";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return "Error";
  }
}

// The size of the head, including the empty line that ends it; npos if the head is not complete. A line may
// end with LF alone (RFC 9112 section 2.2), because no other recipient reads the request and could read it
// differently.
size_t HeadBytes(std::string_view input) {
  for (size_t end = input.find('\n'); end != std::string_view::npos; end = input.find('\n', end + 1)) {
    const std::string_view next = input.substr(end + 1);
    if (next.starts_with('\n')) return end + 2;
    if (next.starts_with("\r\n")) return end + 3;
  }
  return std::string_view::npos;
}

}  // namespace

bool ParseHttpRequest(std::string_view head, HttpRequest& request) {
  const std::string_view line = head.substr(0, head.find_first_of("\r\n"));
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == std::string_view::npos || last <= first + 1) return false;
  if (!line.substr(last + 1).starts_with("HTTP/1.")) return false;
  request.method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  if (request.method.empty() || target.front() != '/') return false;
  if (target.find(' ') != std::string_view::npos) return false;
  const size_t question = std::min(target.find('?'), target.size());
  request.path = target.substr(0, question);
  request.query = target.substr(std::min(question + 1, target.size()));
  request.host.reset();
  for (size_t end = head.find('\n'); end != std::string_view::npos; end = head.find('\n')) {
    head.remove_prefix(end + 1);
    const std::string_view field = head.substr(0, head.find('\n'));
    const size_t colon = field.find(':');
    if (colon == std::string_view::npos ||
        !core::EqualsIgnoreCase(core::Trim(field.substr(0, colon)), "host"))
      continue;
    if (request.host.has_value()) return false;
    request.host = core::Trim(field.substr(colon + 1));
  }
  return true;
}

bool IsOwnHost(std::string_view host, std::string_view own_name) {
  std::string_view port;
  if (const size_t colon = host.rfind(':'); colon != std::string_view::npos && !host.ends_with(']')) {
    port = host.substr(colon + 1);
    host = host.substr(0, colon);
  }
  if (port.find_first_not_of("0123456789") != std::string_view::npos) return false;
  if (host.starts_with('[') && host.ends_with(']')) {
    in6_addr address;
    return inet_pton(AF_INET6, std::string(host.substr(1, host.size() - 2)).c_str(), &address) == 1 ||
           core::EqualsIgnoreCase(host, own_name);
  }
  in_addr address;
  if (inet_pton(AF_INET, std::string(host).c_str(), &address) == 1) return true;
  if (host.ends_with('.')) host.remove_suffix(1);
  return !host.empty() &&
         (core::EqualsIgnoreCase(host, "localhost") || core::EqualsIgnoreCase(host, own_name));
}

std::string_view FindQueryValue(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(pair.size() + 1, query.size()));
    if (pair.starts_with(name) && pair.substr(name.size()).starts_with('='))
      return pair.substr(name.size() + 1);
  }
  return {};
}

std::string RenderHttpResponse(const HttpResponse& response, bool with_body) {
  std::string text =
      core::Cat("HTTP/1.1 ", response.status, " ", ReasonPhrase(response.status),
                "\r\nContent-Type: ", response.content_type, "\r\nContent-Length: ", response.body.size(),
                "\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n");
  if (response.status == 405) text += "Allow: GET\r\n";
  text += "\r\n";
  if (with_body) text += response.body;
  return text;
}

// One client, from accept to close. It is in open_ until it ends or gives way.
struct HttpServer::Connection : core::Linked<Connection> {
  enum class State : uint8_t { kReading, kPreparing, kSending };

  explicit Connection(core::Loop& loop)
      : wake(loop), stream(loop, wake), deadline(loop.Now() + HttpServer::kTimeout) {}

  core::Condition wake;
  core::Stream stream;
  State state = State::kReading;
  core::MonoTime deadline;            // for the request
  core::MonoTime sending_began = {};  // in kSending
  bool listed = false;                // in open_
};

HttpServer::HttpServer(core::Loop& loop, core::UniqueFd listen_fd, std::vector<Route> routes)
    : loop_(loop),
      listen_fd_(std::move(listen_fd)),
      routes_(std::move(routes)),
      connections_(loop),
      acceptor_(loop, listen_fd_.get(), [this](int fd) { Accepted(fd); }, [](int) {}) {}

HttpServer::~HttpServer() = default;

void HttpServer::Start() { acceptor_.Start(); }

core::Task<void> HttpServer::Stop() {
  acceptor_.Stop();
  co_await connections_.Join();
}

void HttpServer::Accepted(int fd) {
  const bool room = open_.size() < kConnectionsMax || MakeWay();
  if (!room || connections_.running() >= kDescriptorsMax) {
    loop_.io().Close(fd);
    return;
  }
  auto connection = std::make_unique<Connection>(loop_);
  connection->stream.Adopt(fd);
  connection->listed = true;
  open_.Append(*connection);
  connections_.Spawn(Serve(std::move(connection)));
}

// Ends the oldest connection that has not sent its request, or else the oldest one that does not take its
// answer. Returns false if there is neither.
bool HttpServer::MakeWay() {
  Connection* oldest = nullptr;
  for (Connection* one : open_) {
    if (one->state == Connection::State::kReading) {
      oldest = one;
      break;
    }
    const bool stuck =
        one->state == Connection::State::kSending && loop_.Now() >= one->sending_began + kSendingUndisturbed;
    if (stuck && oldest == nullptr) oldest = one;
  }
  if (oldest == nullptr) return false;
  oldest->listed = false;
  open_.Remove(*oldest);
  // The connection's reads and sends fail from now on, so its coroutine closes it.
  oldest->stream.Shutdown();
  return true;
}

core::Task<void> HttpServer::Serve(std::unique_ptr<Connection> connection) {
  Connection& c = *connection;
  const bool has_head = co_await ReadHead(c);
  bool linger = false;
  if (has_head) {
    // The stream's input may move while the answer is prepared.
    const std::string head(c.stream.input().substr(0, HeadBytes(c.stream.input())));
    linger = c.stream.input().size() > head.size();
    HttpRequest request;
    c.state = Connection::State::kPreparing;
    HttpResponse response = {.status = 400, .body = "this is no HTTP request\n"};
    if (ParseHttpRequest(head, request)) response = co_await Answer(request);
    c.stream.Write(RenderHttpResponse(response, request.method != "HEAD"));
  } else if (c.stream.input().size() >= kHeadBytesMax) {
    linger = true;
    const HttpResponse response = {.status = 431, .body = "request too long\n"};
    c.stream.Write(RenderHttpResponse(response, true));
  }
  c.state = Connection::State::kSending;
  c.sending_began = loop_.Now();
  const bool sent = co_await c.stream.Drain(loop_.Now() + kTimeout);
  if (sent && linger) co_await c.stream.Linger(loop_.Now() + kLinger);
  if (c.listed) open_.Remove(c);
  c.listed = false;
  co_await c.stream.Close();
}

// Reads until the head is complete. One deadline holds for all of it: progress does not move it.
core::Task<bool> HttpServer::ReadHead(Connection& c) {
  for (bool in_time = true;;) {
    if (HeadBytes(c.stream.input()) != std::string_view::npos) co_return c.listed;
    const bool more = in_time && c.listed && !c.stream.ended() && c.stream.input().size() < kHeadBytesMax;
    if (!more) co_return false;
    c.stream.StartReading();
    in_time = co_await c.wake.Wait(c.deadline);
  }
}

core::Task<HttpResponse> HttpServer::Answer(const HttpRequest& request) {
  const auto route =
      std::ranges::find_if(routes_, [&request](const Route& one) { return one.path == request.path; });
  HttpResponse response;
  if (own_name_.has_value() && request.host.has_value() && !IsOwnHost(*request.host, *own_name_)) {
    response = {.status = 421,
                .body = core::Cat("this address is for this machine only: the Host of a request "
                                  "must be an address, localhost or HostName (",
                                  *own_name_, ")\n")};
  } else if (route == routes_.end()) {
    response = {.status = 404, .body = "there is"};
    for (const Route& one : routes_) core::Append(response.body, " ", one.path);
    response.body += "\n";
  } else if (request.method != "GET") {
    response = {.status = 405, .body = "only GET is allowed here\n"};
  } else {
    response = co_await route->handler(request.query);
  }
  co_return response;
}

}  // namespace bivalve::appliance
