#include "tests/sim/session_sim.h"

#include <arpa/inet.h>

#include <algorithm>
#include <utility>

#include "tests/sim/sim_worker.h"

namespace bivalve::sim {
namespace {

using appliance::BareNewline;
using appliance::Metric;
using appliance::VirusPolicy;
using core::Cat;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Far more than any session can need: a few hundred waits of at most 60 s each.
constexpr core::Duration kTimeMax = std::chrono::hours(12);
constexpr uint64_t kTurnsMax = 400'000;
// Longest time after which a scan that nobody waits for has freed its place: half a minute, or six PING
// intervals without an answer.
constexpr core::Duration kPlaceTimeMax = seconds(240);
// Longest time until mail is scanned after the scanner answers new scans. It is longer with a single
// connection, which waits for a canary for up to 24 s.
constexpr core::Duration kWellTimeMax = seconds(5);
constexpr core::Duration kWellTimeMaxOfOne = seconds(30);

net::SocketAddress Address(const char* host, uint16_t port) {
  in_addr address = {};
  BV_CHECK(inet_pton(AF_INET, host, &address) == 1);
  return net::SocketAddress::FromIpv4(address, port);
}

scan::ClamdPool::Options PoolOptions(Random& random, const std::vector<net::SocketAddress>& scanners,
                                     scan::CanaryMode canary) {
  scan::ClamdPool::Options options;
  options.canary = canary;
  options.connections = 1 + static_cast<uint32_t>(random.Below(2));
  options.outstanding_max = 1 + static_cast<uint32_t>(random.Below(4));
  for (const net::SocketAddress& address : scanners) options.scanners.push_back(ScannerAt(address));
  return options;
}

core::BodyPool::Options BodyOptions(Random& random) {
  core::BodyPool::Options options;
  // In some runs there is no memory for a second body, which then goes to a file.
  if (random.Chance(0.05)) options.memory_bytes_max = 100'000;
  options.kept_bodies_max = static_cast<uint32_t>(random.Below(3));
  return options;
}

std::vector<net::SocketAddress> Scanners(Random& random) {
  std::vector<net::SocketAddress> addresses;
  const auto local = net::SocketAddress::FromPath("/run/clamd.sock");
  BV_CHECK(local.ok());
  const uint64_t kind = random.Below(4);
  if (kind != 1) addresses.push_back(*local);
  if (kind != 0 && kind != 3) addresses.push_back(Address("192.0.2.3", 3310));
  return addresses;
}

}  // namespace

struct SessionSim::World {
  // The seed is used in this order: bodies, addresses, pool.
  World(uint64_t seed, const SessionChances& chances, Random& random, Ledger& ledger,
        std::shared_ptr<appliance::SessionSettings> settings)
      : io(seed, chances.io),
        body_options(BodyOptions(random)),
        scanner_addresses(Scanners(random)),
        pool_options(PoolOptions(random, scanner_addresses, chances.canary)),
        worker(io, std::move(settings), pool_options, body_options),
        server(seed ^ 1, chances.server, ledger),
        clamd(seed ^ 2, chances.scanner, ledger) {}

  SimIo io;
  const core::BodyPool::Options body_options;
  const std::vector<net::SocketAddress> scanner_addresses;
  const scan::ClamdPool::Options pool_options;
  SimWorker worker;
  SimSmtpServer server;
  SimClamd clamd;
  std::vector<std::unique_ptr<SimClient>> clients;
  std::unique_ptr<SimClient> last_client;  // connects when the scanner is well again
};

SessionSim::SessionSim(uint64_t seed, const SessionChances& chances, Mutation mutation)
    : chances_(chances), random_(seed * 2 + 1) {
  ledger_.mutation = mutation;
  ledger_.connections_break = chances.io.reset + chances.io.hang_up + chances.io.silence > 0;
  auto settings = std::make_shared<appliance::SessionSettings>();
  appliance::SessionConfig& config = settings->config;
  config.out_address = {Address("192.0.2.1", 25)};
  if (random_.Chance(0.1))
    config.out_address.insert(config.out_address.begin(), net::Endpoint(Address("192.0.2.9", 25)));
  config.action = static_cast<VirusPolicy>(random_.Below(3));
  config.timeout = seconds(30);
  config.clam_timeout = seconds(chances.calm ? 1200 : 1 + random_.Below(60));
  for (auto& policy : config.scan_failure) policy = static_cast<appliance::FailurePolicy>(random_.Below(3));
  if (random_.Chance(0.5)) config.scan_failure = {};
  config.message_bytes_max = random_.Chance(0.3) ? 20'000 : 0;
  config.bare_newline = static_cast<BareNewline>(random_.Below(3));
  config.host_name = "sim.passthru";
  config.header = "X-Virus-Scanned: by simulation";
  Complete(*settings);
  ledger_.action = config.action;
  ledger_.scan_failure = config.scan_failure;
  ledger_.bare_newline = config.bare_newline;

  world_ = std::make_unique<World>(seed, chances_, random_, ledger_, std::move(settings));
  World& w = *world_;
  w.worker.log_reader.severity_max = static_cast<int>(appliance::Severity::kDebug);
  const net::SocketAddress server = Address("192.0.2.1", 25);
  w.io.Listen(server.raw(), server.raw_size(), [&w] { return &w.server; });
  for (const net::SocketAddress& address : w.scanner_addresses) {
    w.io.Listen(address.raw(), address.raw_size(), [&w] { return &w.clamd; });
  }
  MakeMessages();
}

SessionSim::~SessionSim() = default;

void SessionSim::MakeMessages() {
  World& w = *world_;
  const appliance::SessionConfig& config = w.worker.services.settings[0]->config;
  const uint64_t clients = 1 + random_.Below(3);
  for (uint64_t c = 0; c < clients; ++c) {
    w.clients.push_back(
        std::make_unique<SimClient>(random_.Next(), chances_.client, ledger_, config.message_bytes_max));
    const uint64_t messages = random_.Below(4);
    for (uint64_t i = 0; i < messages; ++i) w.clients.back()->Add(MakeMessage());
  }
  if (!chances_.well_again) return;
  w.last_client =
      std::make_unique<SimClient>(random_.Next(), ClientChances{}, ledger_, config.message_bytes_max);
  w.last_client->Add(MakeMessage());
}

Message& SessionSim::MakeMessage() {
  Message& message = ledger_.messages.emplace_back();
  message.number = static_cast<int>(ledger_.messages.size()) - 1;
  message.content = MakeContent(message.number);
  const std::string_view content = message.content;
  message.infected = content.find(kVirusMark) != std::string_view::npos;
  for (const std::string_view dot_line : {"\n.\n", "\r.\r", "\n.\r\n"}) {
    for (size_t at = content.find(dot_line); at != std::string_view::npos;
         at = content.find(dot_line, at + 1)) {
      const bool proper = dot_line == "\n.\r\n" && at > 0 && content[at - 1] == '\r';
      message.smuggles = message.smuggles || !proper;
    }
  }
  for (size_t at = 0; at < content.size(); ++at) {
    const bool bare_cr = content[at] == '\r' && !content.substr(at + 1).starts_with('\n');
    const bool bare_lf = content[at] == '\n' && (at == 0 || content[at - 1] != '\r');
    message.bare_newline = message.bare_newline || bare_cr || bare_lf;
  }
  return message;
}

std::string SessionSim::MakeContent(int number) {
  if (random_.Chance(0.02)) return {};
  std::string content;
  const bool has_header = random_.Chance(0.85);
  if (has_header) core::Append(content, "Subject: message ", number, "\r\nX-Number: <", number, ">\r\n");
  if (has_header && random_.Chance(0.3)) core::Append(content, "X-Folded: a\r\n b\r\n");
  if (random_.Chance(0.9)) content += "\r\n";
  const bool binary = random_.Chance(0.1);
  const uint64_t lines = random_.Chance(0.02) ? 6000 : random_.Below(random_.Chance(0.2) ? 300 : 12);
  for (uint64_t i = 0; i < lines; ++i) {
    switch (random_.Below(binary ? 14 : 10)) {
      case 0:
        content += ".";
        break;
      case 1:
        content += "..";
        break;
      case 2:
        content += ".a line that begins with a dot";
        break;
      case 3:
        break;
      case 4:
        content += random_.Chance(0.8) ? "--boundary" : "--boundary\r\nX: y\r\n\r\npart";
        break;
      case 10:
        content += "a bare\nLF";
        break;
      case 11:
        content += "a bare\rCR";
        break;
      case 12:
        content += random_.Chance(0.3) ? "two\n.\r\nMAIL FROM:<m0@sim.example>\r\nmessages" : "\n\n";
        break;
      default:
        core::Append(content, "line ", i, " of message ", number);
        content.append(random_.Below(60), 'x');
        break;
    }
    content += "\r\n";
  }
  if (random_.Chance(0.25))
    content.insert(content.find('\n', content.size() / 2) + 1, Cat(kVirusMark, "\r\n"));
  if (random_.Chance(0.1)) content += "without a line end";
  return content;
}

void SessionSim::Run() {
  World& w = *world_;
  w.worker.pool.Start();
  // Most sessions begin when the scanners are connected.
  if (random_.Chance(0.8)) w.io.Run(w.worker.loop, [&w] { return w.worker.pool.up(); }, 500);
  uint64_t number = 1;
  for (const auto& client : w.clients) {
    const int fd = w.io.Accept(*client);
    w.worker.scope.Spawn(w.worker.Serve(fd, Address("192.0.2.50", 1234), number++));
  }
  if (chances_.stops) {
    w.io.After(milliseconds(random_.Below(random_.Chance(0.5) ? 5 : 3000)), [this, &w] {
      ledger_.stopped_at = w.io.Now();
      w.worker.services.stopping = true;
      for (appliance::Session* session : w.worker.services.sessions) session->OnStopping();
    });
  }
  const core::MonoTime began = w.io.Now();
  const bool ended = w.io.Run(
      w.worker.loop,
      [&] {
        CheckTurn();
        return w.worker.scope.running() == 0 || w.io.Now() > began + kTimeMax;
      },
      kTurnsMax);
  if (!ended || w.worker.scope.running() > 0) {
    ledger_.Problem("a session does not end: ", w.worker.scope.running(), " of ", w.clients.size(),
                    " are left after ", std::chrono::duration_cast<seconds>(w.io.Now() - began).count(),
                    " s");
    (void)world_.release();  // nothing in it can be destroyed
    return;
  }
  if (w.last_client != nullptr) CheckWellAgain();
  CheckPlaces();
  w.worker.scope.Spawn(w.worker.Stop());
  if (!w.io.Run(w.worker.loop, [&w] { return w.worker.scope.running() == 0; }, kTurnsMax)) {
    ledger_.Problem("the scanner pool does not stop");
    (void)world_.release();
    return;
  }
  // Bytes on their way still arrive: time passes only if nothing else can happen.
  bool settled = false;
  w.io.After(seconds(10), [&settled] { settled = true; });
  w.io.Run(w.worker.loop, [&settled] { return settled; }, kTurnsMax);
  CheckEnd();
}

// Called when all sessions have ended. From now on the scanner answers everything.
void SessionSim::CheckWellAgain() {
  World& w = *world_;
  w.clamd.BecomeWell();
  bool over = false;
  w.io.After(w.pool_options.connections > 1 ? kWellTimeMax : kWellTimeMaxOfOne, [&over] { over = true; });
  w.io.Run(w.worker.loop, [&over] { return over; }, kTurnsMax);
  w.worker.scope.Spawn(
      w.worker.Serve(w.io.Accept(*w.last_client), Address("192.0.2.50", 1234), w.clients.size() + 1));
  w.io.Run(w.worker.loop, [&w] { return w.worker.scope.running() == 0; }, kTurnsMax);
}

// Called when no session is left that could wait for a scan.
void SessionSim::CheckPlaces() {
  World& w = *world_;
  const auto count = [&w](scan::ScannerCount name) {
    uint64_t sum = 0;
    for (const auto& scanner : w.worker.stats.scanners) sum += scanner->counts.Get(name);
    return sum;
  };
  places_kept_ = count(scan::ScannerCount::kInFlight);
  const core::MonoTime began = w.io.Now();
  bool over = false;
  w.io.After(kPlaceTimeMax, [&over] { over = true; });
  w.io.Run(w.worker.loop, [&] { return over || count(scan::ScannerCount::kInFlight) == 0; }, kTurnsMax);
  if (const uint64_t held = count(scan::ScannerCount::kInFlight); held > 0) {
    ledger_.Problem(held, " places of scans that nobody waits for are still held after ",
                    std::chrono::duration_cast<seconds>(w.io.Now() - began).count(), " s");
  }
  sessions_closed_ = count(scan::ScannerCount::kGivenUpSessions);
  w.io.Run(w.worker.loop, [&] { return over; }, kTurnsMax);
}

void SessionSim::CheckTurn() {
  if (identity_broken_) return;
  const auto counts = world_->worker.stats.counters.Read();
  const auto of = [&counts](Metric metric) { return counts[static_cast<size_t>(metric)]; };
  const uint64_t ends = of(Metric::kDelivered) + of(Metric::kRefused) + of(Metric::kDropped) +
                        of(Metric::kBounced) + of(Metric::kTempfailed) + of(Metric::kRejected) +
                        of(Metric::kLost);
  if (of(Metric::kReceived) == of(Metric::kInProgress) + ends &&
      of(Metric::kInProgress) <= world_->clients.size())
    return;
  identity_broken_ = true;
  ledger_.Problem("received ", of(Metric::kReceived), " is not in_progress ", of(Metric::kInProgress),
                  " and the outcomes ", ends);
}

void SessionSim::CheckEnd() {
  World& w = *world_;
  for (const std::string& problem : w.io.Problems()) ledger_.Problem("io: ", problem);
  if (w.worker.bodies.bodies_out() > 0)
    ledger_.Problem(w.worker.bodies.bodies_out(), " bodies are still out");
  if (!w.worker.services.sessions.empty()) ledger_.Problem("a session is still listed");
  const auto counts = w.worker.stats.counters.Read();
  const auto of = [&counts](Metric metric) { return counts[static_cast<size_t>(metric)]; };
  if (of(Metric::kInProgress) != 0) ledger_.Problem("messages are still in progress");
  if (of(Metric::kActive) != 0) ledger_.Problem("sessions are still active");
  if (of(Metric::kInfected) < of(Metric::kDropped) + of(Metric::kBounced) + of(Metric::kPassed)) {
    ledger_.Problem("fewer infected messages than dropped, bounced and passed ones");
  }
  const uint64_t causes = of(Metric::kFailedDown) + of(Metric::kFailedTimeout) + of(Metric::kFailedError) +
                          of(Metric::kFailedSize) + of(Metric::kFailedLimits);
  if (of(Metric::kScanFailed) != causes) ledger_.Problem("a message without a verdict has no cause");

  uint64_t lines = 0;
  std::string record;
  appliance::Event event;
  while (w.worker.queue.Pop(record)) {
    if (!appliance::DecodeEvent(record, event)) ledger_.Problem("log: not an event");
    if (event.kind == appliance::EventKind::kMessage) ++lines;
    if (appliance::FormatEvent(event).find_first_of("\r\n") != std::string::npos)
      ledger_.Problem("log: a broken line");
  }
  if (w.worker.queue.dropped() == 0 && lines != of(Metric::kReceived)) {
    ledger_.Problem("log: ", lines, " lines for ", of(Metric::kReceived), " messages");
  }

  uint64_t accepted = 0;
  uint64_t answered = 0;
  for (const Message& message : ledger_.messages) {
    CheckMessage(message);
    accepted += message.accepted > 0 ? 1 : 0;
    answered += message.answer >= 200 && message.answer < 300 ? 1 : 0;
  }
  if (of(Metric::kDelivered) > accepted)
    ledger_.Problem("more messages count as delivered than the server has taken");
  if (of(Metric::kReceived) < answered) ledger_.Problem("more messages were answered than received");
  if (chances_.calm) {
    for (const auto& client : w.clients) {
      if (!client->satisfied()) ledger_.Problem("a client was not answered in full");
    }
  }
  if (w.last_client != nullptr) {
    const Message& last = ledger_.messages.back();
    if (last.answer != Deserved(last))
      ledger_.Problem("the scanner is well, but a message was answered '", last.answer_text, "'");
  }
  const auto shut_down = std::ranges::count_if(w.clients, [](const auto& c) { return c->shut_down(); });
  seen_ = {.messages = ledger_.messages.size(),
           .delivered = of(Metric::kDelivered),
           .dropped = of(Metric::kDropped),
           .bounced = of(Metric::kBounced),
           .passed = of(Metric::kPassed),
           .refused = of(Metric::kRefused),
           .tempfailed = of(Metric::kTempfailed),
           .rejected = of(Metric::kRejected),
           .lost = of(Metric::kLost),
           .aborted = of(Metric::kAborted),
           .places_kept = places_kept_,
           .sessions_closed = sessions_closed_,
           .shut_down = static_cast<uint64_t>(shut_down)};
}

void SessionSim::CheckMessage(const Message& message) {
  if (message.accepted > 1)
    ledger_.Problem("message ", message.number, " was taken ", message.accepted, " times");
  const bool positive = message.answer >= 200 && message.answer < 300;
  const bool dropped = message.answer_text == "250 Virus Detected; Discarded Email\r\n";
  if (dropped && (!message.infected || ledger_.action != VirusPolicy::kDrop || message.accepted > 0)) {
    ledger_.Problem("message ", message.number, " was dropped");
  }
  if (positive && !dropped && message.accepted != 1) {
    ledger_.Problem("message ", message.number, " was answered ", message.answer_text, " but taken ",
                    message.accepted, " times");
  }
  if (chances_.calm && message.answer != Deserved(message)) {
    ledger_.Problem("message ", message.number, " was answered '", message.answer_text, "' instead of ",
                    Deserved(message));
  }
}

// The answer to the message if nothing goes wrong.
uint16_t SessionSim::Deserved(const Message& message) const {
  const appliance::SessionConfig& config = world_->worker.services.settings[0]->config;
  if (config.message_bytes_max != 0 && message.content.size() > config.message_bytes_max) return 552;
  if (!message.by_bdat) {
    if (message.smuggles && config.bare_newline != BareNewline::kPass) return 550;
    if (message.bare_newline && config.bare_newline == BareNewline::kReject) return 550;
  }
  return message.infected && config.action == VirusPolicy::kBounce ? 550 : 250;
}

}  // namespace bivalve::sim
