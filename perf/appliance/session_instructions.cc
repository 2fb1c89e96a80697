// How many instructions outside the kernel does Bivalve take for a message?
//
//   session_instructions MESSAGES BYTES kept|new
//
// Sends MESSAGES messages of BYTES bytes through appliance::Session and the scanner pool, one after the
// other, in one session or with a new one for each, over simulated IO with the same seed. Server and scanner
// accept everything. One thread and no clock: the same program always takes the same instructions.
// perf/load/counts runs it under callgrind, which counts while the loop, a session or a completion runs, and
// not while the simulated kernel does.
#include <arpa/inet.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <deque>
#include <memory>
#include <string>
#include <string_view>

#include "core/text.h"
#include "tests/sim/sim_io.h"
#include "tests/sim/sim_worker.h"

namespace bivalve {
namespace {

constexpr uint64_t kSeed = 1;

net::SocketAddress Address(const char* host, uint16_t port) {
  in_addr address = {};
  BV_CHECK(inet_pton(AF_INET, host, &address) == 1);
  return net::SocketAddress::FromIpv4(address, port);
}

// Takes whole lines from the bytes that have arrived.
class Lines {
 public:
  void Add(std::string_view bytes) { input_.append(bytes); }
  bool Take(std::string& line) {
    const size_t end = input_.find("\r\n");
    if (end == std::string::npos) return false;
    line = input_.substr(0, end);
    input_.erase(0, end + 2);
    return true;
  }

 private:
  std::string input_;
};

// Sends its messages one after the other, each command after the reply to the previous one.
class Client final : public sim::SimPeer {
 public:
  Client(int messages, const std::string& content) : left_(messages), content_(content) {}
  int accepted() const { return accepted_; }

  void OnBytes(sim::SimSocket& socket, std::string_view bytes) override {
    lines_.Add(bytes);
    for (std::string line; lines_.Take(line);) {
      if (line.size() < 4 || line[3] != '-') OnReply(socket, line);
    }
  }

 private:
  void OnReply(sim::SimSocket& socket, std::string_view reply) {
    switch (step_++) {
      case 0:
        return socket.Send("EHLO client.example\r\n");
      case 1:
        return socket.Send("MAIL FROM:<ada@example.com>\r\n");
      case 2:
        return socket.Send("RCPT TO:<bob@example.net>\r\n");
      case 3:
        return socket.Send("DATA\r\n");
      case 4:
        return socket.Send(content_);
      case 5:
        accepted_ += reply.starts_with("250 ") ? 1 : 0;
        step_ = --left_ > 0 ? 2 : 6;
        return socket.Send(left_ > 0 ? "MAIL FROM:<ada@example.com>\r\n" : "QUIT\r\n");
      default:
        return socket.Close();
    }
  }

  int left_;
  const std::string& content_;
  int step_ = 0;
  int accepted_ = 0;
  Lines lines_;
};

// A server that accepts everything.
class Server final : public sim::SimPeer {
 public:
  void OnConnect(sim::SimSocket& socket) override { socket.Send("220 server.example ESMTP\r\n"); }
  void OnBytes(sim::SimSocket& socket, std::string_view bytes) override {
    if (in_data_) {
      tail_.append(bytes.substr(bytes.size() - std::min<size_t>(bytes.size(), 5)));
      tail_.erase(0, tail_.size() - std::min<size_t>(tail_.size(), 5));
      if (tail_ != "\r\n.\r\n") return;
      in_data_ = false;
      return socket.Send("250 2.0.0 Ok\r\n");
    }
    lines_.Add(bytes);
    for (std::string line; lines_.Take(line);) {
      if (line.starts_with("EHLO")) {
        socket.Send("250-server.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n");
      } else if (line == "DATA") {
        in_data_ = true;
        socket.Send("354 End data with <CR><LF>.<CR><LF>\r\n");
      } else if (line == "QUIT") {
        socket.Send("221 2.0.0 Bye\r\n");
        socket.Close();
      } else {
        socket.Send("250 2.1.0 Ok\r\n");
      }
    }
  }

 private:
  bool in_data_ = false;
  std::string tail_;
  Lines lines_;
};

// The part of clamd that FILDES needs; everything is clean.
class Scanner final : public sim::SimPeer {
 public:
  void OnDescriptor(sim::SimSocket&, int fd) override { close(fd); }
  void OnBytes(sim::SimSocket& socket, std::string_view bytes) override {
    input_.append(bytes);
    for (;;) {
      const size_t end = input_.find('\0');
      if (end == std::string::npos) return;
      const std::string command = input_.substr(0, end);
      // One byte more carries the descriptor.
      const size_t whole = end + (command == "zFILDES" ? 2 : 1);
      if (input_.size() < whole) return;
      input_.erase(0, whole);
      if (command == "zIDSESSION") continue;
      ++commands_;
      socket.Send(core::Cat(commands_, command == "zFILDES" ? ": fd[9]: OK" : ": PONG", '\0'));
    }
  }

 private:
  std::string input_;
  uint32_t commands_ = 0;
};

// Lines of 64 bytes, and the end of data.
std::string MakeContent(size_t bytes) {
  std::string content = "Subject: instructions\r\n\r\n";
  while (content.size() < bytes) content += std::string(62, 'x') + "\r\n";
  return content + ".\r\n";
}

int Run(int messages, size_t bytes, bool kept) {
  const net::SocketAddress server_address = Address("192.0.2.1", 25);
  const net::SocketAddress scanner_address = *net::SocketAddress::FromPath("/run/clamd.sock");
  auto settings = std::make_shared<appliance::SessionSettings>();
  settings->config.out_address = {server_address};
  settings->config.host_name = "bivalve.example";
  settings->config.header = "X-Virus-Scanned: Bivalve";
  sim::Complete(*settings);

  std::deque<Server> servers;
  std::deque<Scanner> scanners;
  sim::SimIo io(kSeed);
  sim::SimWorker worker(io, std::move(settings),
                        {.scanners = {sim::ScannerAt(scanner_address)}, .connections = 1});
  io.Listen(server_address.raw(), server_address.raw_size(), [&] { return &servers.emplace_back(); });
  io.Listen(scanner_address.raw(), scanner_address.raw_size(), [&] { return &scanners.emplace_back(); });
  worker.pool.Start();
  io.Run(worker.loop, [&] { return worker.pool.up(); });

  const std::string content = MakeContent(bytes);
  const int sessions = kept ? 1 : messages;
  int accepted = 0;
  std::deque<Client> clients;
  for (int i = 0; i < sessions; ++i) {
    Client& client = clients.emplace_back(messages / sessions, content);
    const int fd = io.Accept(client);
    worker.scope.Spawn(worker.Serve(fd, Address("192.0.2.50", 1234), 0x100000 + i));
    std::string line;
    io.Run(worker.loop, [&] {
      while (worker.queue.Pop(line)) {
      }
      return worker.scope.running() == 0;
    });
    accepted += client.accepted();
  }
  worker.scope.Spawn(worker.Stop());
  io.Run(worker.loop, [&] { return worker.scope.running() == 0; });
  std::printf("%d of %d messages delivered\n", accepted, messages);
  return accepted == messages ? 0 : 1;
}

// A whole number above 0; 0 for anything else.
int Number(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? number : 0;
}

}  // namespace
}  // namespace bivalve

int main(int argc, char** argv) {
  const std::string_view sessions = argc == 4 ? argv[3] : "";
  const int messages = argc == 4 ? bivalve::Number(argv[1]) : 0;
  const int bytes = argc == 4 ? bivalve::Number(argv[2]) : 0;
  if (messages <= 0 || bytes <= 0 || (sessions != "kept" && sessions != "new")) {
    std::fprintf(stderr, "usage: session_instructions MESSAGES BYTES kept|new\n");
    return 2;
  }
  return bivalve::Run(messages, static_cast<size_t>(bytes), sessions == "kept");
}
