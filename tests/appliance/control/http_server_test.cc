// The statistics' HTTP server over a simulated network: every status, and unwanted clients.
#include "appliance/control/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/condition.h"
#include "core/text.h"
#include "tests/core/run_task.h"
#include "tests/sim/sim_io.h"

namespace bivalve::appliance {
namespace {

using std::string_view_literals::operator""sv;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

TEST(ParseHttpRequest, TakesMethodAndPathWithoutTheQuery) {
  HttpRequest request;
  ASSERT_TRUE(ParseHttpRequest("GET /stats?since=1 HTTP/1.1\r\nHost: x", request));
  EXPECT_EQ(request.method, "GET");
  EXPECT_EQ(request.path, "/stats");
  EXPECT_EQ(request.query, "since=1");
  ASSERT_TRUE(ParseHttpRequest("POST / HTTP/1.0", request));
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.path, "/");
}

TEST(ParseHttpRequest, TakesWhatFollowsTheFirstQuestionMarkForTheQuery) {
  HttpRequest request;
  ASSERT_TRUE(ParseHttpRequest("GET /a?b?c HTTP/1.1", request));
  EXPECT_EQ(request.path, "/a");
  EXPECT_EQ(request.query, "b?c");
  ASSERT_TRUE(ParseHttpRequest("GET /a? HTTP/1.1", request));
  EXPECT_EQ(request.path, "/a");
  EXPECT_EQ(request.query, "");
}

TEST(ParseHttpRequest, FindsTheHost) {
  const auto host = [](std::string_view fields) {
    HttpRequest request{.host = "before"};
    const std::string text = core::Cat("GET / HTTP/1.1\r\n", fields, "\r\n");  // the request borrows it
    if (!ParseHttpRequest(text, request)) return std::string("none");
    return request.host.has_value() ? core::Cat("=", *request.host) : std::string();
  };
  EXPECT_EQ(host(""), "");
  EXPECT_EQ(host("Accept: Host: x\r\nX-Host: y\r\n"), "");
  EXPECT_EQ(host("A: b\r\nhOST:  a.example:1 \t\r\nC: d\r\n"), "=a.example:1");
  EXPECT_EQ(host("Host : a.example\n"), "=a.example") << "some servers would take it";
  EXPECT_EQ(host("Host:\r\n"), "=");
  EXPECT_EQ(host("Host: a\r\nHost: a\r\n"), "none");
}

TEST(IsOwnHost, IsAnAddressLocalhostOrOurName) {
  for (const char* host :
       {"127.0.0.1", "127.0.0.1:10027", "192.0.2.1", "[::1]", "[::1]:10027", "localhost", "LocalHost:80",
        "localhost.", "mx.example.org", "MX.example.org:10027", "localhost:"})
    EXPECT_TRUE(IsOwnHost(host, "mx.example.org")) << host;
  for (const char* host : {"",
                           ":10027",
                           "evil.example",
                           "evil.example:10027",
                           "localhost.evil.example",
                           "127.0.0.1.evil.example",
                           "127.0.0.1:evil",
                           "xlocalhost",
                           "mx.example.org.evil",
                           "example.org",
                           "127.1",
                           "0x7f.0.0.1",
                           "[evil]",
                           "[evil]:1",
                           "::1",
                           "[::1",
                           "localhost:80@evil.example",
                           "evil@localhost",
                           ".",
                           "127.0.0.1, evil"})
    EXPECT_FALSE(IsOwnHost(host, "mx.example.org")) << host;
  EXPECT_TRUE(IsOwnHost("[192.0.2.7]:1", "[192.0.2.7]")) << "HostName may be an address literal";
}

TEST(FindQueryValue, FindsTheValueOfAName) {
  EXPECT_EQ(FindQueryValue("limit=20", "limit"), "20");
  EXPECT_EQ(FindQueryValue("a=1&limit=20&b=3", "limit"), "20");
  EXPECT_EQ(FindQueryValue("limit=&a=1", "limit"), "");
  EXPECT_EQ(FindQueryValue("limits=1&limit", "limit"), "");
  EXPECT_EQ(FindQueryValue("&&&", "limit"), "");
  EXPECT_EQ(FindQueryValue("", "limit"), "");
}

TEST(ParseHttpRequest, RefusesWhatIsNone) {
  for (const std::string_view head :
       {""sv, " "sv, "GET"sv, "GET /"sv, "GET / "sv, "GET  HTTP/1.1"sv, " / HTTP/1.1"sv, "GET / HTTP/2"sv,
        "GET / SMTP"sv, "GET stats HTTP/1.1"sv, "GET /a b HTTP/1.1"sv, "EHLO example"sv,
        "\r\nGET / HTTP/1.1"sv, "\0\0\0"sv, "GET http://x/stats HTTP/1.1"sv}) {
    HttpRequest request;
    EXPECT_FALSE(ParseHttpRequest(head, request)) << head;
  }
}

TEST(RenderHttpResponse, WritesAResponseToTheLetter) {
  EXPECT_EQ(RenderHttpResponse({.status = 200, .content_type = "text/plain", .body = "ok\n"}, true),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n"
            "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\nok\n");
}

TEST(RenderHttpResponse, GivesHeadTheLengthAndNotTheBody) {
  EXPECT_THAT(RenderHttpResponse({.body = "ok\n"}, false),
              AllOf(HasSubstr("Content-Length: 3\r\n"), EndsWith("\r\n\r\n")));
}

class Client final : public sim::SimPeer {
 public:
  void OnConnect(sim::SimSocket& s) override {
    socket = &s;
    core::Duration when{};
    for (const std::string& part : parts) {
      s.io().After(when, [&s, &part] { s.Send(part); });
      when += pause;
    }
    if (ends) s.io().After(when, [&s] { s.EndSending(); });
    if (!reads) s.StopReading();
  }
  void OnBytes(sim::SimSocket&, std::string_view bytes) override { answer += bytes; }
  void OnClose(sim::SimSocket& s) override {
    closed = true;
    closed_at = s.io().Now();
  }

  std::vector<std::string> parts;
  core::Duration pause = milliseconds(1);
  bool ends = false;
  bool reads = true;
  sim::SimSocket* socket = nullptr;
  std::string answer;
  bool closed = false;
  core::MonoTime closed_at{};
};

class HttpServerTest : public testing::Test {
 protected:
  HttpServerTest() { Open(1); }
  ~HttpServerTest() override { Close(); }

  void Open(uint64_t seed) {
    Close();
    io_ = std::make_unique<sim::SimIo>(
        seed, sim::SimOptions{.short_recv = seed % 2 == 0 ? 0.0 : 0.7, .send_buffer_bytes = 1000});
    loop_ = std::make_unique<core::Loop>(*io_);
    listener_ = io_->OpenListener();
    // The number is not a descriptor of the system, so the owner's close(2) does nothing.
    std::vector<HttpServer::Route> routes = {
        {"/stats", [this](std::string_view query) { return Stats(query); }},
        {"/readyz", [](std::string_view) { return NotReady(); }},
        {"/slow", [this](std::string_view) { return Slow(); }},
    };
    server_ = std::make_unique<HttpServer>(*loop_, core::UniqueFd(listener_), std::move(routes));
    server_->Start();
  }
  void Close() {
    if (server_ == nullptr) return;
    core::RunTask(*loop_, server_->Stop());
    while (!server_->stopped()) loop_->Turn(io_->Now() + milliseconds(10));
    io_->Close(listener_);
    EXPECT_THAT(io_->Problems(), IsEmpty());
    server_.reset();
    loop_.reset();
    io_.reset();
  }
  core::Task<HttpResponse> Stats(std::string_view query) {
    query_ = query;
    HttpResponse response = {.content_type = "application/json", .body = body_};
    co_return response;
  }
  static core::Task<HttpResponse> NotReady() {
    HttpResponse response = {.status = 503, .body = "not ready\n"};
    co_return response;
  }
  core::Task<HttpResponse> Slow() {
    core::Condition nothing(*loop_);
    (void)co_await nothing.Wait(loop_->Now() + seconds(1));
    HttpResponse response = {.body = "at last\n"};
    co_return response;
  }
  void Connect(Client& client) { io_->Call(listener_, client); }
  void RunFor(core::Duration duration) {
    const core::MonoTime until = io_->Now() + duration;
    while (io_->Now() < until) loop_->Turn(until);
  }
  std::string Ask(std::string_view request) {
    Client client;
    client.parts = {std::string(request)};
    Connect(client);
    RunFor(seconds(30));
    EXPECT_TRUE(client.closed);
    return client.answer;
  }

  std::string body_ = "{}\n";
  std::string query_;
  std::unique_ptr<sim::SimIo> io_;
  std::unique_ptr<core::Loop> loop_;
  int listener_ = -1;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AnswersGet) {
  EXPECT_THAT(
      Ask("GET /stats HTTP/1.1\r\nHost: x\r\n\r\n"),
      AllOf(StartsWith("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"), EndsWith("\r\n\r\n{}\n")));
}

// RFC 9112 section 2.2; requests that somebody types into nc look like this.
TEST_F(HttpServerTest, TakesALineFeedAloneForALineEnd) {
  for (const std::string request : {"GET /stats HTTP/1.1\n\n", "GET /stats HTTP/1.1\nHost: x\n\n",
                                    "GET /stats HTTP/1.1\r\nHost: x\n\r\n", "GET /stats HTTP/1.1\n\r\n"}) {
    EXPECT_THAT(Ask(request), AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), EndsWith("\r\n\r\n{}\n"))) << request;
  }
  EXPECT_THAT(Ask("nonsense\n\n"), StartsWith("HTTP/1.1 400"));
}

// DNS rebinding: the host name of a web page is made to mean this machine, and the browser then lets the page
// read the answer.
TEST_F(HttpServerTest, AnswersToItsOwnNamesOnlyWhenGuarded) {
  const auto ask = [this](std::string_view fields, std::string_view line = "GET /stats HTTP/1.1") {
    return Ask(core::Cat(line, "\r\n", fields, "\r\n"));
  };
  EXPECT_THAT(ask("Host: evil.example\r\n"), StartsWith("HTTP/1.1 200 "));
  server_->GuardHost("mx.example.org");
  for (const std::string host : {"127.0.0.1:10027", "[::1]", "localhost:10027", "MX.example.org"})
    EXPECT_THAT(ask("Host: " + host + "\r\n"), StartsWith("HTTP/1.1 200 ")) << host;
  EXPECT_THAT(ask("", "GET /stats HTTP/1.0"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(""), StartsWith("HTTP/1.1 200 "));
  for (const std::string line : {"GET /stats HTTP/1.1", "GET /none HTTP/1.1", "POST /stats HTTP/1.0"}) {
    EXPECT_THAT(ask("Host: evil.example:10027\r\n", line),
                AllOf(StartsWith("HTTP/1.1 421 Misdirected Request\r\n"),
                      HasSubstr("must be an address, localhost or HostName (mx.example.org)\n"),
                      HasSubstr("\r\nX-Content-Type-Options: nosniff\r\n")));
  }
  server_->GuardHost("evil.example");
  EXPECT_THAT(ask("Host: evil.example\r\n"), StartsWith("HTTP/1.1 200 ")) << "HostName has changed";
}

TEST_F(HttpServerTest, GivesTheQueryToThePath) {
  EXPECT_THAT(Ask("GET /stats?limit=3&x HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_EQ(query_, "limit=3&x");
}

TEST_F(HttpServerTest, WaitsForAnAnswerThatTakesTime) {
  EXPECT_THAT(Ask("GET /slow HTTP/1.1\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), EndsWith("at last\n")));
}

// No method except GET, HEAD included; and no body in the answer to HEAD, whatever the status.
TEST_F(HttpServerTest, RefusesHeadWithoutABody) {
  EXPECT_THAT(Ask("HEAD /stats HTTP/1.1\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 405 Method Not Allowed\r\n"), EndsWith("Allow: GET\r\n\r\n")));
}

TEST_F(HttpServerTest, Gives404ForAnUnknownPath) {
  EXPECT_THAT(Ask("GET /other HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 404 Not Found\r\n"));
  EXPECT_THAT(Ask("POST /other HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 404 Not Found\r\n"));
  EXPECT_THAT(Ask("GET /statsx HTTP/1.1\r\n\r\n"), EndsWith("there is /stats /readyz /slow\n"));
}

TEST_F(HttpServerTest, Gives405ForAnotherMethod) {
  for (const std::string method : {"POST", "PUT", "DELETE", "get", "OPTIONS", "CONNECT"}) {
    EXPECT_THAT(Ask(method + " /stats HTTP/1.1\r\n\r\n"),
                AllOf(StartsWith("HTTP/1.1 405 Method Not Allowed\r\n"), HasSubstr("\r\nAllow: GET\r\n")));
  }
}

TEST_F(HttpServerTest, Passes503OfItsResponderOn) {
  EXPECT_THAT(Ask("GET /readyz HTTP/1.1\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 503 Service Unavailable\r\n"), EndsWith("not ready\n")));
}

TEST_F(HttpServerTest, Gives400ForWhatIsNoRequest) {
  for (const std::string request :
       {"EHLO example\r\n\r\n", "\r\n\r\n", "GET / HTTP/9\r\n\r\n", "GET /a b HTTP/1.1\r\n\r\n"}) {
    EXPECT_THAT(Ask(request), StartsWith("HTTP/1.1 400 Bad Request\r\n")) << request;
  }
}

TEST_F(HttpServerTest, Gives431ForAHeadThatDoesNotEnd) {
  EXPECT_THAT(Ask("GET / HTTP/1.1\r\nX: " + std::string(10'000, 'x')),
              StartsWith("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
}

TEST_F(HttpServerTest, AnswersOnceWhateverElseComes) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Open(seed);
    const std::string answer = Ask("GET /stats HTTP/1.1\r\n\r\nGET /readyz HTTP/1.1\r\n\r\n\0garbage"sv);
    EXPECT_THAT(answer, AllOf(StartsWith("HTTP/1.1 200"), EndsWith("{}\n"))) << seed;
    EXPECT_EQ(answer.rfind("HTTP/1.1"), 0u) << seed;
  }
}

TEST_F(HttpServerTest, AnswersARequestThatComesByteByByte) {
  Client client;
  for (const char byte : "GET /stats HTTP/1.1\r\n\r\n"sv) client.parts.emplace_back(1, byte);
  Connect(client);
  RunFor(seconds(1));
  EXPECT_THAT(client.answer, StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, AnswersAClientThatHasEndedItsSide) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Open(seed);
    Client client;
    client.parts = {"GET /stats HTTP/1.1\r\n\r\n"};
    client.ends = true;
    Connect(client);
    RunFor(seconds(1));
    EXPECT_THAT(client.answer, StartsWith("HTTP/1.1 200")) << seed;
  }
}

// The deadline is for the whole request: progress does not extend it.
TEST_F(HttpServerTest, LetsGoOfASlowClient) {
  Client client;
  client.parts.assign(100, "G");
  client.pause = seconds(1);
  const core::MonoTime began = io_->Now();
  Connect(client);
  RunFor(seconds(100));
  EXPECT_TRUE(client.closed);
  EXPECT_LE(client.closed_at - began, HttpServer::kTimeout + seconds(1));
  EXPECT_EQ(client.answer, "");
}

TEST_F(HttpServerTest, LetsGoOfAClientThatDoesNotReadItsAnswer) {
  body_.assign(100'000, 'x');
  Client client;
  client.parts = {"GET /stats HTTP/1.1\r\n\r\n"};
  client.reads = false;
  Connect(client);
  RunFor(2 * HttpServer::kTimeout + seconds(1));
  EXPECT_EQ(io_->closes(client.socket->fd()), 1);
}

// A reset would destroy the answer on its way, so the server keeps reading for a while.
TEST_F(HttpServerTest, ReadsOnWhenItRefusesARequestWithAContent) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Open(seed);
    Client client;
    client.parts = {"POST /stats HTTP/1.1\r\nContent-Length: 3000\r\n\r\n" + std::string(1000, 'x'),
                    std::string(2000, 'x')};
    client.pause = milliseconds(100);
    Connect(client);
    RunFor(seconds(3));
    EXPECT_THAT(client.answer, StartsWith("HTTP/1.1 405")) << seed;
    EXPECT_TRUE(client.closed) << seed;
  }
}

TEST_F(HttpServerTest, SendsALongAnswerWhole) {
  body_.assign(1'000'000, 'x');
  const std::string answer = Ask("GET /stats HTTP/1.1\r\n\r\n");
  EXPECT_EQ(answer.size() - answer.find("\r\n\r\n") - 4, body_.size());
}

TEST_F(HttpServerTest, AnswersWhileSilentClientsHoldAllConnections) {
  std::vector<Client> idle(HttpServer::kConnectionsMax);
  for (Client& client : idle) Connect(client);
  RunFor(milliseconds(100));
  EXPECT_EQ(io_->open_descriptors(), 1 + HttpServer::kConnectionsMax);
  Client client;
  client.parts = {"GET /stats HTTP/1.1\r\n\r\n"};
  Connect(client);
  RunFor(milliseconds(100));
  EXPECT_THAT(client.answer, StartsWith("HTTP/1.1 200"));
  // Only the oldest gave way.
  for (size_t i = 0; i < idle.size(); ++i) EXPECT_EQ(idle[i].closed, i == 0) << i;
  RunFor(HttpServer::kTimeout + seconds(1));
  EXPECT_EQ(io_->open_descriptors(), 1u);
}

TEST_F(HttpServerTest, HoldsOnlySoManyConnectionsWhoeverComes) {
  std::vector<Client> idle(20 * HttpServer::kConnectionsMax);
  for (Client& client : idle) {
    Connect(client);
    RunFor(milliseconds(1));
    EXPECT_LE(io_->open_descriptors(), 1 + HttpServer::kDescriptorsMax);
  }
  RunFor(HttpServer::kTimeout + seconds(1));
  EXPECT_EQ(io_->open_descriptors(), 1u);
}

TEST_F(HttpServerTest, AnswersWhileClientsThatDoNotReadHoldAllConnections) {
  body_.assign(100'000, 'x');
  std::vector<Client> stuck(HttpServer::kConnectionsMax);
  for (Client& client : stuck) {
    client.parts = {"GET /stats HTTP/1.1\r\n\r\n"};
    client.reads = false;
    Connect(client);
  }
  RunFor(HttpServer::kSendingUndisturbed + milliseconds(100));
  Client client;
  client.parts = {"GET /readyz HTTP/1.1\r\n\r\n"};
  Connect(client);
  RunFor(milliseconds(100));
  EXPECT_THAT(client.answer, StartsWith("HTTP/1.1 503"));
  RunFor(HttpServer::kTimeout + seconds(1));
  EXPECT_EQ(io_->open_descriptors(), 1u);
}

// A client that is about to be answered does not give way.
TEST_F(HttpServerTest, DoesNotBreakOffAnAnswerForANewClient) {
  std::vector<Client> asking(HttpServer::kConnectionsMax);
  for (Client& client : asking) {
    client.parts = {"GET /slow HTTP/1.1\r\n\r\n"};
    Connect(client);
  }
  RunFor(milliseconds(100));
  Client client;
  client.parts = {"GET /stats HTTP/1.1\r\n\r\n"};
  Connect(client);
  RunFor(milliseconds(100));
  EXPECT_TRUE(client.closed);
  EXPECT_EQ(client.answer, "");
  RunFor(seconds(2));
  for (const Client& one : asking) EXPECT_THAT(one.answer, EndsWith("at last\n"));
}

TEST_F(HttpServerTest, AnswersManyClientsOneAfterTheOther) {
  std::vector<Client> clients(500);
  for (Client& client : clients) {
    client.parts = {"GET /stats HTTP/1.1\r\n\r\n"};
    Connect(client);
    RunFor(milliseconds(5));
  }
  RunFor(seconds(1));
  for (const Client& client : clients) EXPECT_THAT(client.answer, StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, FinishesWhatItAnswersBeforeItStops) {
  Client client;
  client.parts = {"GET /stats HTTP", "/1.1\r\n\r\n"};
  client.pause = seconds(1);
  Connect(client);
  RunFor(milliseconds(10));
  core::RunTask(*loop_, server_->Stop());
  RunFor(milliseconds(10));
  EXPECT_THAT(client.answer, StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, SurvivesClientsThatBreakOff) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Open(seed);
    std::vector<Client> clients(5);
    for (size_t i = 0; i < clients.size(); ++i) {
      clients[i].parts = {"GET /stats HTTP/1.1\r\n", "\r\n"};
      Connect(clients[i]);
      io_->After(milliseconds(io_->random().Below(4)), [&clients, i] {
        if (clients[i].socket != nullptr) clients[i].socket->Reset();
      });
    }
    RunFor(seconds(20));
    EXPECT_EQ(io_->open_descriptors(), 1u) << seed;
  }
}

}  // namespace
}  // namespace bivalve::appliance
