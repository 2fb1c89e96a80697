// A session uses the settings of the listener that its client has connected to.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "core/text.h"
#include "tests/sim/sim_worker.h"

namespace bivalve::sim {
namespace {

using testing::IsEmpty;

net::SocketAddress Address(const char* host, uint16_t port) {
  in_addr address = {};
  BV_CHECK(inet_pton(AF_INET, host, &address) == 1);
  return net::SocketAddress::FromIpv4(address, port);
}

class GreetingServer final : public SimPeer {
 public:
  void OnConnect(SimSocket& socket) override { socket.Send("220 server.example\r\n"); }
};

// Leaves after the greeting.
class PassingClient final : public SimPeer {
 public:
  void OnBytes(SimSocket& socket, std::string_view bytes) override {
    greeting += bytes;
    if (greeting.ends_with("\r\n")) socket.Close();
  }
  std::string greeting;
};

TEST(SessionListener, DecidesAboutTheSettings) {
  SimIo io(1);
  const net::SocketAddress server_address = Address("192.0.2.1", 25);
  GreetingServer server;
  io.Listen(server_address.raw(), server_address.raw_size(), [&server] { return &server; });
  std::vector<std::shared_ptr<appliance::SessionSettings>> settings;
  for (const std::string_view name : {"first.example", "second.example"}) {
    settings.push_back(std::make_shared<appliance::SessionSettings>());
    settings.back()->config.out_address = {server_address};
    settings.back()->config.timeout = std::chrono::seconds(30);
    settings.back()->config.host_name = name;
    Complete(*settings.back());
  }
  SimWorker worker(io, settings[0], {});
  worker.services.settings = settings;
  for (size_t listener = 0; listener < settings.size(); ++listener) {
    PassingClient client;
    worker.scope.Spawn(appliance::Session::Serve(
        worker.services,
        {.fd = io.Accept(client), .listener = listener, .address = Address("192.0.2.50", 1234)}, 1));
    ASSERT_TRUE(io.Run(worker.loop, [&worker] { return worker.scope.running() == 0; }));
    EXPECT_EQ(client.greeting, core::Cat("220 ", settings[listener]->config.host_name, "\r\n"));
  }
  worker.scope.Spawn(worker.Stop());
  ASSERT_TRUE(io.Run(worker.loop, [&worker] { return worker.scope.running() == 0; }));
  EXPECT_THAT(io.Problems(), IsEmpty());
}

}  // namespace
}  // namespace bivalve::sim
