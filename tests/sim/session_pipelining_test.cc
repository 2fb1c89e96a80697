// Replies to commands that a client has pipelined (RFC 2920): which of them go out together, and that none of
// them waits for something that may take long.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/text.h"
#include "tests/sim/sim_worker.h"

namespace bivalve::sim {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::string_view kStartMail = "354 Start mail input; end with <CRLF>.<CRLF>\r\n";

net::SocketAddress Address(const char* host, uint16_t port) {
  in_addr address = {};
  BV_CHECK(inet_pton(AF_INET, host, &address) == 1);
  return net::SocketAddress::FromIpv4(address, port);
}

// Says yes to everything, but not to recipients that begin with "no".
class Server final : public SimPeer {
 public:
  void OnConnect(SimSocket& socket) override { socket.Send("220 server.example\r\n"); }
  void OnBytes(SimSocket& socket, std::string_view bytes) override {
    input_ += bytes;
    for (size_t end = input_.find('\n'); end != std::string::npos; end = input_.find('\n')) {
      const std::string line = input_.substr(0, end);
      input_.erase(0, end + 1);
      if (line.starts_with("EHLO")) {
        socket.Send("250-server.example\r\n250 PIPELINING\r\n");
      } else if (line.starts_with("RCPT TO:<no")) {
        socket.Send("550 no\r\n");
      } else if (line.starts_with("DATA")) {
        socket.Send("503 nobody\r\n");
      } else {
        socket.Send("250 yes\r\n");
      }
    }
  }

 private:
  std::string input_;
};

// Says everything at once, behind the reply to EHLO, and records how the replies come.
class Client final : public SimPeer {
 public:
  explicit Client(std::string_view commands) : commands_(commands) {}
  void OnConnect(SimSocket& socket) override { socket.Send("EHLO client.example\r\n"); }
  void OnBytes(SimSocket& socket, std::string_view bytes) override {
    if (commands_sent_) {
      parts.emplace_back(bytes);
      return;
    }
    greeting_ += bytes;
    if (greeting_.find("\r\n250 ") == std::string::npos) return;
    commands_sent_ = true;
    socket.Send(std::string(commands_));
  }
  std::vector<std::string> parts;

 private:
  std::string_view commands_;
  std::string greeting_;
  bool commands_sent_ = false;
};

class SessionPipelining : public testing::Test {
 protected:
  SessionPipelining() {
    io_.Listen(server_address_.raw(), server_address_.raw_size(), [this] { return &server_; });
    auto settings = std::make_shared<appliance::SessionSettings>();
    settings->config.out_address = {server_address_};
    settings->config.timeout = std::chrono::seconds(30);
    settings->config.host_name = "sim.passthru";
    Complete(*settings);
    worker_ = std::make_unique<SimWorker>(io_, std::move(settings), scan::ClamdPool::Options{}, bodies_);
  }
  ~SessionPipelining() override {
    worker_->scope.Spawn(worker_->Stop());
    EXPECT_TRUE(io_.Run(worker_->loop, [this] { return worker_->scope.running() == 0; }));
    EXPECT_THAT(io_.Problems(), IsEmpty());
  }

  void Serve(Client& client) {
    worker_->scope.Spawn(worker_->Serve(io_.Accept(client), Address("192.0.2.50", 1234), 1));
  }
  void RunFor(core::Duration time) {
    bool over = false;
    io_.After(time, [&over] { over = true; });
    ASSERT_TRUE(io_.Run(worker_->loop, [&over] { return over; }));
  }
  // Ends the session by the time that a client may be silent.
  void End() {
    ASSERT_TRUE(io_.Run(worker_->loop, [this] { return worker_->scope.running() == 0; }));
  }

  SimIo io_{1};
  const net::SocketAddress server_address_ = Address("192.0.2.1", 25);
  Server server_;
  core::BodyPool::Options bodies_ = {.memory_bytes_max = 8 << 20, .temp_directory = "/nonexistent"};
  std::unique_ptr<SimWorker> worker_;
};

TEST_F(SessionPipelining, SendsTheRepliesOfATransactionTogetherWithThe354) {
  Client client(
      "MAIL FROM:<a@sim.example>\r\nRCPT TO:<b@sim.example>\r\nRCPT TO:<no@sim.example>\r\nDATA\r\n");
  Serve(client);
  RunFor(std::chrono::seconds(1));
  EXPECT_THAT(client.parts, ElementsAre(core::Cat("250 yes\r\n250 yes\r\n550 no\r\n", kStartMail)));
  End();
}

// The 354 costs no operation of its own: as many have completed as without a DATA.
TEST_F(SessionPipelining, SendsOnceForATransaction) {
  const auto completions_for = [this](std::string_view commands) {
    const uint64_t before = io_.completions();
    Client client(commands);
    Serve(client);
    RunFor(std::chrono::seconds(1));
    const uint64_t completions = io_.completions() - before;
    EXPECT_EQ(client.parts.size(), 1u);
    End();
    return completions;
  };
  const std::string envelope = "MAIL FROM:<a@sim.example>\r\nRCPT TO:<b@sim.example>\r\n";
  const uint64_t without_data = completions_for(envelope);
  EXPECT_EQ(completions_for(envelope + "DATA\r\n"), without_data);
}

TEST_F(SessionPipelining, HoldsNothingBackWithoutDATA) {
  Client client("MAIL FROM:<a@sim.example>\r\nRCPT TO:<b@sim.example>\r\nDAT");
  Serve(client);
  RunFor(std::chrono::seconds(1));
  EXPECT_THAT(client.parts, ElementsAre("250 yes\r\n250 yes\r\n"));
  End();
}

// Then the server is asked, and may take its time.
TEST_F(SessionPipelining, HoldsNothingBackWithoutRecipients) {
  Client client("MAIL FROM:<a@sim.example>\r\nRCPT TO:<no@sim.example>\r\nDATA\r\n");
  Serve(client);
  RunFor(std::chrono::seconds(1));
  EXPECT_THAT(client.parts, ElementsAre("250 yes\r\n550 no\r\n", "503 nobody\r\n"));
  End();
}

TEST_F(SessionPipelining, RepliesDoNotWaitForRoom) {
  std::vector<std::unique_ptr<core::Body>> others;
  bool full = false;
  const auto fill = [&]() -> core::Task<void> {
    while (!full) {
      std::unique_ptr<core::Body> body = co_await worker_->bodies.Acquire(0);
      full = body == nullptr;
      if (body != nullptr) others.push_back(std::move(body));
    }
  };
  worker_->scope.Spawn(fill());
  ASSERT_TRUE(io_.Run(worker_->loop, [&full] { return full; }));
  ASSERT_FALSE(others.empty());
  Client client("MAIL FROM:<a@sim.example>\r\nRCPT TO:<b@sim.example>\r\nDATA\r\n");
  Serve(client);
  RunFor(std::chrono::seconds(1));
  EXPECT_THAT(client.parts, ElementsAre("250 yes\r\n250 yes\r\n"));
  for (std::unique_ptr<core::Body>& body : others) worker_->bodies.Release(std::move(body));
  RunFor(std::chrono::seconds(1));
  EXPECT_THAT(client.parts, ElementsAre("250 yes\r\n250 yes\r\n", kStartMail));
  End();
}

}  // namespace
}  // namespace bivalve::sim
