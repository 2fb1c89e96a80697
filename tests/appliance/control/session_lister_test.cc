// The running sessions of several workers, listed by another thread while they are served.
#include "appliance/control/session_lister.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "appliance/settings/config_file.h"
#include "core/ring.h"
#include "core/scope.h"
#include "core/text.h"
#include "net/listener.h"
#include "net/socket_name.h"
#include "tests/core/run_task.h"

namespace bivalve::appliance {
namespace {

using core::Cat;
using Json = nlohmann::ordered_json;
using testing::ElementsAre;

TEST(SessionLimit, TakesANumberWithinBounds) {
  EXPECT_EQ(SessionLimit("limit=20"), 20u);
  EXPECT_EQ(SessionLimit("a=1&limit=1000"), 1000u);
  EXPECT_EQ(SessionLimit("limit=0"), 1u);
  EXPECT_EQ(SessionLimit("limit=1001"), kSessionsMax);
  EXPECT_EQ(SessionLimit("limit=99999999999999999999999"), kSessionsMax);
  for (const std::string_view query : {"", "limit", "limit=", "limit=x", "limit=-1", "limit=2x", "limits=5"})
    EXPECT_EQ(SessionLimit(query), kSessionsDefault) << query;
}

WorkerSessions Sessions(size_t worker, size_t total, std::initializer_list<double> ages) {
  WorkerSessions sessions = {.total = total};
  for (const double age : ages) {
    sessions.longest.push_back({.number = 0x100000 + worker, .worker = worker, .age_seconds = age});
  }
  return sessions;
}

TEST(SessionsJson, PutsTheLongestSessionsOfAllWorkersFirst) {
  const Json json =
      Json::parse(SessionsJson({Sessions(0, 30, {9, 5, 1}), Sessions(1, 10, {7, 6, 0.5})}, 4, 0));
  EXPECT_EQ(json["total"], 40);
  EXPECT_EQ(json["shown"], 4);
  EXPECT_EQ(json["silent_workers"], 0);
  std::vector<double> ages;
  for (const Json& one : json["sessions"]) ages.push_back(one["age_seconds"]);
  EXPECT_THAT(ages, ElementsAre(9, 7, 6, 5));
}

TEST(SessionsJson, HasTheShapeThatIsPromised) {
  WorkerSessions sessions = {.total = 1};
  sessions.longest.push_back({.number = 0x1000ab,
                              .worker = 3,
                              .client = "192.0.2.7",
                              .helo = "mail.example.com",
                              .phase = SessionPhase::kScan,
                              .age_seconds = 1.5,
                              .phase_seconds = 0.5,
                              .messages = 3,
                              .bytes = 12345,
                              .from = "a@example.com",
                              .scanner = "/run/clamd.ctl"});
  const Json one = Json::parse(SessionsJson({sessions}, 100, 1))["sessions"][0];
  EXPECT_EQ(one.dump(),
            R"({"id":"1000ab","worker":3,"client":"192.0.2.7","helo":"mail.example.com","phase":"scan",)"
            R"("age_seconds":1.5,"phase_seconds":0.5,"messages":3,"bytes":12345,"from":"a@example.com",)"
            R"("scanner":"/run/clamd.ctl"})");
}

TEST(SessionsJson, StaysJsonWhateverAClientSays) {
  WorkerSessions sessions = {.total = 1};
  sessions.longest.push_back({.helo = "\"\xff\x01\n", .from = "\xc3"});
  EXPECT_TRUE(Json::accept(SessionsJson({sessions}, 100, 0)));
}

TEST(SessionPhase, EachHasAName) {
  EXPECT_EQ(kSessionPhaseNames.size(), static_cast<size_t>(SessionPhase::kEnd) + 1);
}

// Two workers with a listening socket each, and a mail server that accepts connections and says nothing.
class RunningWorkersTest : public testing::Test {
 protected:
  RunningWorkersTest() {
    net::SocketAddress loopback = std::get<net::SocketAddress>(*net::ParseEndpoint("127.0.0.1:1"));
    loopback.set_port(0);
    server_ = net::OpenListener(loopback, false).value();
    const std::string text = Cat("OutAddress: ", net::SocketName(server_.get()).ToString(),
                                 "\nClamAddress: /nowhere/clamd.ctl\nTempDirectory: /tmp\n");
    const Parsed parsed = ParseConfig(text, "test", ProgramName::kBivalved, {});
    shared_.connections_max = 1000;
    for (size_t i = 0; i < 2; ++i) {
      listeners_.push_back(net::OpenListener(loopback, false).value());
      Worker::Options options;
      options.index = i;
      options.workers = 2;
      options.settings.config = parsed.config;
      options.settings.sessions = {std::make_shared<SessionSettings>()};
      options.settings.sessions[0]->config = parsed.config;
      options.settings.sessions[0]->header = HeaderTemplate::Compile("").value();
      options.settings.sessions[0]->servers = AddressList(parsed.config.out_address);
      options.settings.scanner_addresses = std::make_shared<AddressList>(parsed.config.clam_address);
      options.settings.scanner_rows = {0};
      options.settings.body_memory_bytes = 1 << 20;
      options.listening = {{.fd = listeners_.back().get()}};
      workers_.push_back(std::make_unique<Worker>(shared_, std::move(options)));
      EXPECT_TRUE(workers_.back()->Start().ok());
      workers_.back()->Accept();
      pointers_.push_back(workers_.back().get());
    }
    scope_.Spawn(mailbox_.Run(loop_));
  }
  ~RunningWorkersTest() override {
    clients_.clear();
    for (const auto& worker : workers_) worker->Stop();
    server_.Reset();  // ends sessions that wait for its greeting
    for (const auto& worker : workers_) worker->Join();
    mailbox_.Close();
    while (scope_.running() > 0) loop_.Turn();
  }

  void Connect(size_t worker) {
    const net::SocketAddress address = net::SocketName(listeners_[worker].get());
    clients_.emplace_back(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(connect(clients_.back().get(), address.raw(), address.raw_size()), 0);
  }
  Json List(size_t limit) { return Json::parse(core::RunTask(loop_, lister_.List(limit))); }

  core::UniqueFd server_;
  SharedState shared_;
  std::vector<core::UniqueFd> listeners_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Worker*> pointers_;
  std::unique_ptr<core::Ring> ring_ = core::Ring::Open({}).value();
  core::Loop loop_{*ring_};
  core::Mailbox mailbox_;
  core::Scope scope_{loop_};
  SessionLister lister_{loop_, mailbox_, pointers_};
  std::vector<core::UniqueFd> clients_;
};

TEST_F(RunningWorkersTest, AreAskedWhileTheyServe) {
  for (size_t i = 0; i < 12; ++i) Connect(i % 2);
  const core::MonoTime deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  Json json;
  do {
    json = List(5);
  } while (json["total"] != 12 && std::chrono::steady_clock::now() < deadline);
  EXPECT_EQ(json["total"], 12);
  EXPECT_EQ(json["shown"], 5);
  EXPECT_EQ(json["silent_workers"], 0);
  ASSERT_EQ(json["sessions"].size(), 5u);
  double age = json["sessions"][0]["age_seconds"];
  for (const Json& one : json["sessions"]) {
    EXPECT_EQ(one["phase"], "start");
    EXPECT_EQ(one["client"], "127.0.0.1");
    EXPECT_LE(one["age_seconds"], age);
    age = one["age_seconds"];
  }
}

// A worker that has ended, or hangs, is left out; the answer arrives nevertheless.
TEST_F(RunningWorkersTest, AreLeftOutWhenTheyDoNotAnswer) {
  workers_[1]->Stop();
  workers_[1]->Join();
  EXPECT_EQ(List(5)["silent_workers"], 1);
}

}  // namespace
}  // namespace bivalve::appliance
