// A stop of the service reaches every session: one whose client always has more commands under way than a
// session handles in one step, and one that waits for its server.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/text.h"
#include "tests/sim/sim_worker.h"

namespace bivalve::sim {
namespace {

using testing::IsEmpty;

constexpr std::string_view kShutdown = "421 4.3.2 Service is shutting down\r\n";
// Commands under way, and how many a session handles at most in one step.
constexpr size_t kAhead = 150;
constexpr size_t kStepMax = 64;

// Accepts everything and counts the commands.
class WillingServer final : public SimPeer {
 public:
  explicit WillingServer(bool pipelining) : pipelining_(pipelining) {}
  void OnConnect(SimSocket& socket) override { socket.Send("220 willing.example\r\n"); }
  void OnBytes(SimSocket& socket, std::string_view bytes) override {
    input_ += bytes;
    for (size_t end = input_.find('\n'); end != std::string::npos; end = input_.find('\n')) {
      const std::string line = input_.substr(0, end);
      input_.erase(0, end + 1);
      const bool hello = line.starts_with("EHLO");
      if (!line.starts_with("QUIT")) ++commands_;
      socket.Send(hello && pipelining_ ? "250-willing.example\r\n250 PIPELINING\r\n" : "250 yes\r\n");
    }
  }
  size_t commands() const { return commands_; }

 private:
  const bool pipelining_;
  std::string input_;
  size_t commands_ = 0;
};

// Sends the same commands again and again, and stops the service in the middle.
class RestlessClient final : public SimPeer {
 public:
  RestlessClient(std::vector<std::string_view> commands, size_t stops_after, std::function<void()> stop)
      : commands_(std::move(commands)), stops_after_(stops_after), stop_(std::move(stop)) {}

  void OnConnect(SimSocket& socket) override { socket.Send("EHLO restless.example\r\n"); }
  void OnBytes(SimSocket& socket, std::string_view bytes) override {
    input_ += bytes;
    for (size_t end = input_.find('\n'); end != std::string::npos; end = input_.find('\n')) {
      const std::string line = input_.substr(0, end + 1);
      input_.erase(0, end + 1);
      if (line.size() > 3 && line[3] == ' ') OnReply(socket, line);
    }
  }
  void OnClose(SimSocket&) override { closed_ = true; }

  const std::string& last_reply() const { return last_reply_; }
  // The last command that was answered before the 421.
  std::string_view last_served() const { return last_served_; }
  bool closed() const { return closed_; }

 private:
  void OnReply(SimSocket& socket, const std::string& reply) {
    last_reply_ = reply;
    ++replies_;
    if (replies_ <= 2) {  // the greeting and EHLO
      if (replies_ == 2) {
        for (size_t i = 0; i < kAhead; ++i) Say(socket);
      }
      return;
    }
    if (reply.starts_with("421")) return;
    last_served_ = commands_[(replies_ - 3) % commands_.size()];
    if (replies_ == stops_after_) stop_();
    Say(socket);
  }
  void Say(SimSocket& socket) { socket.Send(core::Cat(commands_[said_++ % commands_.size()], "\r\n")); }

  const std::vector<std::string_view> commands_;
  const size_t stops_after_;
  const std::function<void()> stop_;
  std::string input_;
  std::string last_reply_;
  std::string_view last_served_;
  size_t said_ = 0;
  size_t replies_ = 0;
  bool closed_ = false;
};

net::SocketAddress Address(const char* host, uint16_t port) {
  in_addr address = {};
  BV_CHECK(inet_pton(AF_INET, host, &address) == 1);
  return net::SocketAddress::FromIpv4(address, port);
}

std::shared_ptr<appliance::SessionSettings> Settings(const net::SocketAddress& server) {
  auto settings = std::make_shared<appliance::SessionSettings>();
  settings->config.out_address = {server};
  settings->config.timeout = std::chrono::seconds(30);
  settings->config.host_name = "sim.passthru";
  Complete(*settings);
  return settings;
}

TEST(SessionStop, ComesToAClientThatIsNeverAtRest) {
  const net::SocketAddress server_address = Address("192.0.2.1", 25);
  const std::vector<std::vector<std::string_view>> manners = {
      {"NOOP"},
      {"RSET"},
      {"STARTTLS", "NOOP"},  // the first is answered by the session itself
      {"MAIL FROM:<a@sim.example>", "RSET"},
      {"MAIL FROM:<a@sim.example>", "RCPT TO:<b@sim.example>", "RSET"},
  };
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    SimIo io(seed, {.short_recv = random.Chance(0.5) ? 0.5 : 0.0});
    WillingServer server(random.Chance(0.7));
    io.Listen(server_address.raw(), server_address.raw_size(), [&server] { return &server; });
    SimWorker worker(io, Settings(server_address), {});
    const auto& commands = manners[seed % manners.size()];
    size_t commands_before = 0;
    RestlessClient client(commands, 3 + random.Below(40), [&] {
      commands_before = server.commands();
      worker.services.stopping = true;
      for (appliance::Session* session : worker.services.sessions) session->OnStopping();
    });
    worker.scope.Spawn(worker.Serve(io.Accept(client), Address("192.0.2.50", 1234), 1));
    ASSERT_TRUE(io.Run(worker.loop, [&worker] { return worker.scope.running() == 0; }));
    EXPECT_EQ(client.last_reply(), kShutdown);
    EXPECT_TRUE(client.closed());
    EXPECT_LE(server.commands() - commands_before, kStepMax + commands.size())
        << "the step that was under way, and the rest of a transaction";
    if (commands.front().starts_with("MAIL")) {
      EXPECT_EQ(client.last_served(), "RSET") << "not within a transaction";
    }
    worker.scope.Spawn(worker.Stop());
    ASSERT_TRUE(io.Run(worker.loop, [&worker] { return worker.scope.running() == 0; }));
    EXPECT_THAT(io.Problems(), IsEmpty());
  }
}

// Accepts connections and says nothing.
class SilentServer final : public SimPeer {};

// Reads until the end.
class PatientClient final : public SimPeer {
 public:
  void OnBytes(SimSocket&, std::string_view bytes) override { heard_ += bytes; }
  void OnClose(SimSocket&) override { closed_ = true; }
  const std::string& heard() const { return heard_; }
  bool closed() const { return closed_; }

 private:
  std::string heard_;
  bool closed_ = false;
};

// A server that does not answer would delay the stop by up to TimeOut.
TEST(SessionStop, ComesToASessionThatWaitsForItsServer) {
  enum class Wait { kConnect, kGreeting, kProxyHeader };
  const net::SocketAddress server_address = Address("192.0.2.1", 25);
  for (const Wait wait : {Wait::kConnect, Wait::kGreeting, Wait::kProxyHeader}) {
    SCOPED_TRACE(static_cast<int>(wait));
    SimIo io(1);
    SilentServer server;
    if (wait == Wait::kConnect) {
      io.Ignore(server_address.raw(), server_address.raw_size());
    } else {
      io.Listen(server_address.raw(), server_address.raw_size(), [&server] { return &server; });
    }
    const auto settings = Settings(server_address);
    settings->config.proxy_protocol = wait == Wait::kProxyHeader;
    settings->config.proxy_protocol_from = {net::Network::Parse("192.0.2.0/24").value()};
    SimWorker worker(io, settings, {});
    PatientClient client;
    io.After(std::chrono::seconds(1), [&] {
      worker.services.stopping = true;
      for (appliance::Session* session : worker.services.sessions) session->OnStopping();
    });
    const core::MonoTime began = io.Now();
    worker.scope.Spawn(worker.Serve(io.Accept(client), Address("192.0.2.50", 1234), 1));
    ASSERT_TRUE(io.Run(worker.loop, [&worker] { return worker.scope.running() == 0; }));
    EXPECT_LE(io.Now() - began, std::chrono::seconds(4));
    EXPECT_EQ(client.heard(), kShutdown);
    EXPECT_TRUE(client.closed());
    EXPECT_EQ(worker.stats.counters.Get(appliance::Metric::kServerErrors), 0u);
    worker.scope.Spawn(worker.Stop());
    ASSERT_TRUE(io.Run(worker.loop, [&worker] { return worker.scope.running() == 0; }));
    EXPECT_THAT(io.Problems(), IsEmpty());
  }
}

}  // namespace
}  // namespace bivalve::sim
