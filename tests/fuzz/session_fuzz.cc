// Whole sessions: the input is what one client sends, in pieces. The server and the scanner follow the rules
// unless the input says otherwise. Over tests/sim/sim_io.h, so that the seed in the input decides every cut
// and order.
//
// The input is a list of steps (one byte each, with the step's data): a line of the grammar below, raw bytes,
// a pause until the session is quiet, the client's end. Properties:
//   - the server takes no message whose exact content a scanner has not called clean, and none with the
//     virus's mark;
//   - however leniently the server reads the end of data, it sees no command inside a message (BareNewline:
//     guard);
//   - received = in_progress + outcomes, and nothing is in progress at the end; there are at most as many
//     deliveries as acceptances;
//   - the session ends, closes every descriptor once, and holds no body and no buffer.
#include <arpa/inet.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "appliance/worker/session.h"
#include "core/body.h"
#include "core/fd.h"
#include "core/text.h"
#include "tests/fuzz/fuzz.h"
#include "tests/sim/readings.h"
#include "tests/sim/sim_io.h"
#include "tests/sim/sim_worker.h"

using namespace bivalve;
using appliance::Metric;
using core::Cat;

namespace {

constexpr std::string_view kMark = "VIRUS-OF-THE-FUZZER";
constexpr std::string_view kHeader = "X-Fuzzed: yes\r\n";

struct World {
  std::set<std::string> clean;  // images that a scanner has called clean
  uint64_t accepted = 0;
  bool odd_server = false;
  bool odd_scanner = false;
};

// Takes mail and believes everything; as strict as the RFC about commands, and as lenient as possible about
// the end of data.
class Server final : public sim::SimPeer {
 public:
  Server(World& world, uint8_t abilities, std::string_view misdeeds)
      : world_(world), abilities_(abilities), misdeeds_(misdeeds) {}

  void OnConnect(sim::SimSocket& socket) override { Say(socket, "220 server\r\n"); }
  void OnBytes(sim::SimSocket& socket, std::string_view bytes) override {
    input_ += bytes;
    while (Step(socket)) {
    }
  }

 private:
  enum class Phase { kCommand, kData, kChunk, kAuth };

  void Say(sim::SimSocket& socket, std::string_view reply) {
    if (!misdeeds_.empty()) {
      const auto misdeed = static_cast<uint8_t>(misdeeds_.front());
      misdeeds_.remove_prefix(1);
      switch (misdeed % 32) {
        case 1:
          world_.odd_server = true;
          return socket.Close();
        case 2:
          world_.odd_server = true;
          return socket.Send("not a reply\r\n");
        case 3:
          world_.odd_server = true;
          return socket.Send("421 4.3.2 going\r\n");
        case 4:
          world_.odd_server = true;
          return;  // silence
        case 5:
          world_.odd_server = true;
          return socket.Send("354 what\r\n");
        case 6:
          world_.odd_server = true;
          socket.Send(reply);
          return socket.Send("250 and more\r\n");
        default:
          break;
      }
    }
    socket.Send(reply);
  }

  bool Step(sim::SimSocket& socket) {
    switch (phase_) {
      case Phase::kCommand:
      case Phase::kAuth: {
        const size_t end = input_.find('\n');
        if (end == std::string::npos) return false;
        const std::string line = input_.substr(0, end + 1);
        input_.erase(0, end + 1);
        BV_CHECK(line.ends_with("\r\n"));  // only whole lines are sent to it
        BV_CHECK(line.find_first_of(std::string_view("\r\0", 2)) == line.size() - 2);
        Command(socket, line.substr(0, line.size() - 2));
        return true;
      }
      case Phase::kData: {
        // The first bytes that any server could take for the end must be the real end, at the very end.
        for (size_t at = 0; at + 1 < input_.size(); ++at) {
          if (input_[at] != '.' || !(at == 0 || Edge(input_[at - 1])) || !Edge(input_[at + 1])) continue;
          if (at + 2 >= input_.size()) return false;
          BV_CHECK(at == 0 || (at >= 2 && input_.compare(at - 2, 2, "\r\n") == 0));
          BV_CHECK(input_.compare(at, 3, ".\r\n") == 0);
          std::string content = input_.substr(0, at);
          input_.erase(0, at + 3);
          if (content.starts_with('.')) content.erase(0, 1);
          for (size_t dot = 0; (dot = content.find("\r\n.", dot)) != std::string::npos; ++dot)
            content.erase(dot + 2, 1);
          phase_ = Phase::kCommand;
          Take(socket, content);
          return true;
        }
        return false;
      }
      case Phase::kChunk: {
        if (input_.size() < chunk_) return false;
        chunks_ += input_.substr(0, chunk_);
        input_.erase(0, chunk_);
        phase_ = Phase::kCommand;
        if (!last_) {
          Say(socket, "250 chunk\r\n");
        } else {
          Take(socket, std::exchange(chunks_, {}));
        }
        return true;
      }
    }
    return false;
  }
  static bool Edge(char c) { return c == '\r' || c == '\n' || c == '\0'; }

  void Command(sim::SimSocket& socket, const std::string& line) {
    if (phase_ == Phase::kAuth) {
      phase_ = Phase::kCommand;
      return Say(socket, "235 hello\r\n");
    }
    const net::Command command = net::ParseCommand(line);
    switch (command.verb) {
      case net::Verb::kStartTls:
      case net::Verb::kXClient:
      case net::Verb::kBurl:
      case net::Verb::kXExch50:
      case net::Verb::kTurn:
      case net::Verb::kAtrn:
      case net::Verb::kLhlo:
        BV_CHECK(false);  // never gets here
        return;
      case net::Verb::kEhlo: {
        Forget();
        std::string reply = "250-server\r\n250-STARTTLS\r\n250-XCLIENT ADDR\r\n";
        if (abilities_ & 1) reply += "250-PIPELINING\r\n";
        if (abilities_ & 2) reply += "250-CHUNKING\r\n250-BINARYMIME\r\n";
        if (abilities_ & 4) reply += "250-SIZE 3000\r\n";
        return Say(socket, reply + "250 AUTH PLAIN GSSAPI\r\n");
      }
      case net::Verb::kHelo:
        Forget();
        return Say(socket, "250 server\r\n");
      case net::Verb::kMail:
        if (mail_) return Say(socket, "503 nested MAIL\r\n");
        if (line.size() % 16 == 7) return Say(socket, "550 no such sender\r\n");
        mail_ = true;
        return Say(socket, "250 sender\r\n");
      case net::Verb::kRcpt:
        if (!mail_) return Say(socket, "503 MAIL first\r\n");
        if (line.size() % 8 == 7) return Say(socket, "550-no such user\r\n550 here\r\n");
        recipients_ = true;
        return Say(socket, "250 recipient\r\n");
      case net::Verb::kRset:
        Forget();
        return Say(socket, "250 forgotten\r\n");
      case net::Verb::kData:
        if (!recipients_) return Say(socket, "503 RCPT first\r\n");
        phase_ = Phase::kData;
        return Say(socket, "354 go\r\n");
      case net::Verb::kBdat: {
        const auto chunk = net::ParseBdat(command.arguments);
        BV_CHECK(chunk.has_value() && recipients_);
        chunk_ = chunk->chunk_bytes;
        last_ = chunk->last;
        phase_ = Phase::kChunk;
        return;
      }
      case net::Verb::kAuth:
        phase_ = Phase::kAuth;
        return Say(socket, "334 \r\n");
      case net::Verb::kQuit:
        Say(socket, "221 bye\r\n");
        return socket.Close();
      default:
        return Say(socket, "502 what\r\n");
    }
  }

  void Take(sim::SimSocket& socket, std::string content) {
    const size_t header = content.find(kHeader);
    BV_CHECK(header != std::string::npos);
    content.erase(header, kHeader.size());
    BV_CHECK(content.find(kMark) == std::string::npos);
    // DATA ends an incomplete last line, and so does the header behind one. If a dot stands behind LF, the LF
    // was alone.
    bool scanned = IsScanned(content);
    for (size_t cut = 1; !scanned && cut <= 2; ++cut) {
      if (content.ends_with("\r\n")) content.resize(content.size() - 2);
      scanned = IsScanned(content);
    }
    BV_CHECK(scanned);
    ++world_.accepted;
    Forget();
    Say(socket, "250 taken\r\n");
  }

  // Whether a scanner has said OK to all readings of the content.
  bool IsScanned(std::string_view content) const {
    const std::vector<std::string> images = sim::ImagesOf(content);
    return std::all_of(images.begin(), images.end(),
                       [this](const std::string& image) { return world_.clean.contains(image); });
  }

  void Forget() {
    mail_ = recipients_ = false;
    chunks_.clear();
  }

  World& world_;
  const uint8_t abilities_;
  std::string_view misdeeds_;
  Phase phase_ = Phase::kCommand;
  std::string input_;
  std::string chunks_;
  uint64_t chunk_ = 0;
  bool last_ = false;
  bool mail_ = false;
  bool recipients_ = false;
};

// Takes descriptors only; says FOUND about content with the mark.
class Scanner final : public sim::SimPeer {
 public:
  Scanner(World& world, std::string_view misdeeds) : world_(world), misdeeds_(misdeeds) {}

  void OnDescriptor(sim::SimSocket& socket, int fd) override {
    dialogues_[&socket].descriptors.emplace_back(fd);
  }
  void OnClose(sim::SimSocket& socket) override { dialogues_.erase(&socket); }
  void OnBytes(sim::SimSocket& socket, std::string_view bytes) override {
    Dialogue& d = dialogues_[&socket];
    d.input += bytes;
    for (;;) {
      const size_t end = d.input.find('\0');
      if (end == std::string::npos) return;
      const std::string command = d.input.substr(0, end);
      const size_t used = end + (command == "zFILDES" ? 2 : 1);
      if (d.input.size() < used) return;
      d.input.erase(0, used);
      if (command == "zIDSESSION") continue;
      ++d.commands;
      if (command == "zPING") {
        socket.Send(Cat(d.commands, ": PONG", '\0'));
        continue;
      }
      BV_CHECK(command == "zFILDES" && !d.descriptors.empty());
      const std::string content = Read(d.descriptors.front().get());
      d.descriptors.pop_front();
      uint8_t misdeed = 0;
      if (!misdeeds_.empty()) {
        misdeed = static_cast<uint8_t>(misdeeds_.front()) % 16;
        misdeeds_.remove_prefix(1);
      }
      if (misdeed == 1) {
        socket.Send(Cat(d.commands, ": fd[9]: Can't allocate memory ERROR", '\0'));
      } else if (misdeed == 2) {
        socket.Send(Cat(d.commands + 7, ": fd[9]: OK", '\0'));
      } else if (misdeed == 3) {
        continue;
      } else if (misdeed == 4) {
        socket.Send(Cat(d.commands, ": stream: OK", '\0'));
      } else if (misdeed == 5) {
        dialogues_.erase(&socket);
        return socket.Close();
      } else if (content.find(kMark) != std::string::npos) {
        socket.Send(Cat(d.commands, ": fd[9]: Mark FOUND", '\0'));
      } else {
        world_.clean.insert(content);
        socket.Send(Cat(d.commands, ": fd[9]: OK", '\0'));
      }
    }
  }

 private:
  struct Dialogue {
    std::string input;
    uint32_t commands = 0;
    std::deque<core::UniqueFd> descriptors;
  };
  static std::string Read(int fd) {
    std::string content;
    std::array<char, 8192> buffer;
    for (;;) {
      const ssize_t bytes = pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(content.size()));
      if (bytes <= 0) break;
      content.append(buffer.data(), static_cast<size_t>(bytes));
    }
    return content;
  }

  World& world_;
  std::string_view misdeeds_;
  std::map<sim::SimSocket*, Dialogue> dialogues_;
};

// Sends what the input says.
class Client final : public sim::SimPeer {
 public:
  explicit Client(fuzz::Choices choices) : choices_(choices) {}
  void OnConnect(sim::SimSocket& socket) override {
    socket_ = &socket;
    Go();
  }
  void Go() {
    static constexpr std::array<std::string_view, 28> kSayings = {"EHLO client\r\n",
                                                                  "HELO client\r\n",
                                                                  "MAIL FROM:<a@b>\r\n",
                                                                  "MAIL FROM:<a@b> SIZE=2000\r\n",
                                                                  "RCPT TO:<c@d>\r\n",
                                                                  "RCPT TO:<ccc@d>\r\n",
                                                                  "DATA\r\n",
                                                                  "Subject: x\r\n\r\nbody\r\n",
                                                                  "\r\n.\r\n",
                                                                  "..stuffed\r\n",
                                                                  "BDAT 5\r\n12345",
                                                                  "BDAT 7 LAST\r\n\r\n.\r\nMA",
                                                                  "BDAT 0 LAST\r\n",
                                                                  "RSET\r\n",
                                                                  "NOOP\r\n",
                                                                  "AUTH PLAIN\r\n",
                                                                  "STARTTLS\r\n",
                                                                  "XCLIENT ADDR=1.2.3.4\r\n",
                                                                  "VIRUS-OF-THE-FUZZER\r\n",
                                                                  "\n.\n",
                                                                  "\n..dot",
                                                                  "X : y\r\n",
                                                                  " \r\n",
                                                                  "text\r",
                                                                  "\r.\r",
                                                                  "\r\n.\n",
                                                                  "BURL imap://x\r\n",
                                                                  "QUIT\r\n"};
    while (!choices_.empty() && socket_->open()) {
      const uint8_t step = choices_.Byte();
      if (step < 200) {
        socket_->Send(kSayings[step % kSayings.size()]);
      } else if (step < 240) {
        socket_->Send(choices_.Text(step - 199));
      } else if (step < 250) {
        // Waits until everything is quiet.
        socket_->io().After(std::chrono::milliseconds(10), [this] { Go(); });
        return;
      } else if (step == 250) {
        return socket_->EndSending();
      } else if (step == 251) {
        return socket_->Close();
      } else if (step == 252) {
        return socket_->Reset();
      } else {
        const std::string many(size_t{1} << (step - 240), 'x');
        socket_->Send(many);
      }
    }
  }

 private:
  fuzz::Choices choices_;
  sim::SimSocket* socket_ = nullptr;
};

net::SocketAddress Address(uint32_t host, uint16_t port) {
  return net::SocketAddress::FromIpv4({htonl(host)}, port);
}

std::shared_ptr<appliance::SessionSettings> Settings(uint8_t kind, const net::SocketAddress& server) {
  auto settings = std::make_shared<appliance::SessionSettings>();
  appliance::SessionConfig& config = settings->config;
  config.out_address = {server};
  config.action = static_cast<appliance::VirusPolicy>(kind % 2);  // drop or bounce
  config.timeout = std::chrono::seconds(30);
  config.clam_timeout = std::chrono::seconds(60);
  config.bare_newline = kind & 2 ? appliance::BareNewline::kReject : appliance::BareNewline::kGuard;
  config.message_bytes_max = kind & 4 ? 1000 : 0;
  config.proxy_protocol = (kind & 24) == 24;
  config.connections_per_client_max = 0;
  config.host_name = "filter";
  config.header = "X-Fuzzed: yes";
  sim::Complete(*settings);
  return settings;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 12) return 0;
  fuzz::Choices choices(fuzz::Text(data, size));
  const uint64_t seed = choices.Number();
  const uint8_t abilities = choices.Byte();
  const uint8_t kind = choices.Byte();
  World world;
  const std::string_view server_misdeeds = choices.Text(choices.Below(16));
  const std::string_view scanner_misdeeds = choices.Text(choices.Below(8));

  sim::SimIo io(seed, {.short_recv = 0.3});
  {
    const net::SocketAddress server_address = Address(0xc0000201, 25);
    const net::SocketAddress scanner_address = *net::SocketAddress::FromPath("/run/clamd");
    scan::ClamdPool::Options options;
    options.connections = 1;
    options.scanners.push_back(sim::ScannerAt(scanner_address));
    options.scanners[0].method = scan::Method::kFildes;
    sim::SimWorker worker(io, Settings(kind, server_address), options, {}, size_t{1} << 16);
    Server server(world, abilities, server_misdeeds);
    Scanner scanner(world, scanner_misdeeds);
    Client client(choices);
    io.Listen(server_address.raw(), server_address.raw_size(), [&] { return &server; });
    io.Listen(scanner_address.raw(), scanner_address.raw_size(), [&] { return &scanner; });
    worker.pool.Start();
    BV_CHECK(io.Run(worker.loop, [&] { return worker.pool.up(); }, 10'000));
    const int fd = io.Accept(client);
    worker.scope.Spawn(worker.Serve(fd, Address(0x7f000001, 1234), 1));
    uint64_t turns = 0;
    BV_CHECK(io.Run(
        worker.loop,
        [&] {
          const auto counts = worker.stats.counters.Read();
          const auto of = [&counts](Metric metric) { return counts[static_cast<size_t>(metric)]; };
          BV_CHECK(of(Metric::kReceived) == of(Metric::kInProgress) + of(Metric::kDelivered) +
                                                of(Metric::kRefused) + of(Metric::kDropped) +
                                                of(Metric::kBounced) + of(Metric::kTempfailed) +
                                                of(Metric::kRejected) + of(Metric::kLost));
          ++turns;
          return worker.scope.running() == 0;
        },
        400'000));
    const auto counts = worker.stats.counters.Read();
    const auto of = [&counts](Metric metric) { return counts[static_cast<size_t>(metric)]; };
    BV_CHECK(of(Metric::kInProgress) == 0 && of(Metric::kActive) == 0);
    BV_CHECK(of(Metric::kDelivered) <= world.accepted);
    if (!world.odd_server) BV_CHECK(of(Metric::kDelivered) == world.accepted || of(Metric::kLost) > 0);
    worker.scope.Spawn(worker.Stop());
    BV_CHECK(io.Run(worker.loop, [&] { return worker.scope.running() == 0; }));
    BV_CHECK(worker.bodies.bodies_out() == 0 && worker.services.sessions.empty());
  }
  BV_CHECK(io.Problems().empty());
  return 0;
}
