// PoolFixture: a pool with scanners under the test's control, over real sockets, with a real ring in the
// test's thread.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/ring.h"
#include "core/scope.h"
#include "core/text.h"
#include "scan/clamd_pool.h"
#include "scan/scan_image.h"
#include "tests/scan/fake_clamd.h"

namespace bivalve::scan {

// A mail transaction as the pool sees it.
struct Message {
  explicit Message(core::Loop& loop) : wake(loop), request(wake) {}
  core::Condition wake;
  Request request;
  std::unique_ptr<core::Body> body;
};

inline core::Task<void> FillBody(core::BodyPool& bodies, std::string_view content,
                                 std::unique_ptr<core::Body>& out) {
  out = co_await bodies.Acquire(content.size());
  while (!content.empty()) {
    if (out->room().empty()) {
      const bool grown = co_await bodies.Grow(*out);
      BV_CHECK(grown);
    }
    const size_t bytes = std::min(out->room().size(), content.size());
    std::memcpy(out->room().data(), content.data(), bytes);
    out->Extend(bytes);
    content.remove_prefix(bytes);
  }
}

inline core::Task<void> StopPool(ClamdPool& pool, bool& stopped) {
  co_await pool.Stop();
  stopped = true;
}

inline std::string ReadAll(int fd) {
  std::string content;
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t bytes = pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(content.size()));
    if (bytes <= 0) return content;
    content.append(buffer.data(), static_cast<size_t>(bytes));
  }
}

inline std::string Image(std::string_view content) { return core::Cat(Front(), content); }

class PoolFixture : public testing::Test {
 protected:
  PoolFixture() {
    std::string pattern = (std::filesystem::temp_directory_path() / "clamd_pool_test.XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    auto ring = core::Ring::Open({});
    BV_CHECK(ring.ok());
    ring_ = *std::move(ring);
    loop_ = std::make_unique<core::Loop>(*ring_);
    core::BodyPool::Options options;
    options.front = Front();
    bodies_ = std::make_unique<core::BodyPool>(*loop_, options);
    options_.connections = 1;
    options_.connect_timeout = std::chrono::seconds(5);
    options_.retry_min = std::chrono::milliseconds(8);
    options_.retry_max = std::chrono::milliseconds(64);
  }

  void TearDown() override {
    Forget();
    bodies_.reset();
    loop_.reset();
    ring_.reset();
    std::filesystem::remove_all(directory_);
  }

  // Adds a scanner; local unless `tcp`.
  FakeClamd& AddScanner(Method method = Method::kFildes, bool tcp = false) {
    const std::string path = tcp ? "" : core::Cat(directory_, "/", fakes_.size());
    fakes_.push_back(std::make_unique<FakeClamd>(path));
    AddAddress(method, fakes_.back()->address());
    return *fakes_.back();
  }
  void AddAddress(Method method, std::function<socklen_t(sockaddr_storage&)> address) {
    ScannerOptions scanner;
    scanner.name = core::Cat("scanner-", options_.scanners.size());
    scanner.method = method;
    scanner.address = std::move(address);
    options_.scanners.push_back(std::move(scanner));
    stats_.push_back(std::make_unique<ScannerStats>());
  }

  // Makes and starts the pool.
  void Start() {
    std::vector<ScannerStats*> stats;
    for (auto& s : stats_) stats.push_back(s.get());
    pool_ = std::make_unique<ClamdPool>(*loop_, *bodies_, options_, stats);
    pool_->Start();
  }
  // The same, and waits for all connections.
  void StartAndConnect() {
    Start();
    for (size_t i = 0; i < stats_.size(); ++i) {
      ASSERT_TRUE(Until([&] { return Count(i, ScannerCount::kConnections) == options_.connections; }));
    }
  }
  void StopThePool() {
    if (pool_ == nullptr || stopped_) return;
    scope_ = std::make_unique<core::Scope>(*loop_);
    scope_->Spawn(StopPool(*pool_, stopped_));
    ASSERT_TRUE(Until([&] { return stopped_; }));
    scope_.reset();
  }

  // Ends the pool, the messages and the scanners, so that the test can begin again.
  void Forget() {
    StopThePool();
    pool_.reset();
    stopped_ = false;
    for (auto& message : messages_) Finish(*message);
    EXPECT_EQ(bodies_->bodies_out(), 0u);
    messages_.clear();
    fakes_.clear();
    stats_.clear();
    options_.scanners.clear();
  }

  uint64_t Count(size_t scanner, ScannerCount count) { return stats_[scanner]->counts.Get(count); }

  void Turn() {
    for (auto& fake : fakes_) fake->Poll();
    loop_->Turn(loop_->Now() + std::chrono::milliseconds(1));
  }
  // Turns the loop until the condition holds; false if it never does.
  bool Until(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      Turn();
    }
    return true;
  }
  // Gives events some time to happen.
  void Settle(core::Duration time = std::chrono::milliseconds(30)) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) Turn();
  }

  Message& NewMessage(std::string_view content = "Subject: x\r\n\r\nx\r\n") {
    messages_.push_back(std::make_unique<Message>(*loop_));
    Message& message = *messages_.back();
    core::Scope scope(*loop_);
    scope.Spawn(FillBody(*bodies_, content, message.body));
    BV_CHECK(Until([&] { return scope.running() == 0; }));
    return message;
  }
  Message& Submit(std::string_view content = "Subject: x\r\n\r\nx\r\n") {
    Message& message = NewMessage(content);
    pool_->Submit(message.request, *message.body);
    return message;
  }
  void Finish(Message& message) {
    if (message.body != nullptr) bodies_->Release(std::move(message.body));
  }
  bool Done(const Message& message) {
    return Until([&] { return message.request.done(); });
  }
  bool Clean(const Message& message) {
    return Done(message) && message.request.verdict().kind == VerdictKind::kClean;
  }
  // Whether the message is done without a verdict, for this cause.
  testing::AssertionResult None(const Message& message, NoVerdict cause) {
    if (!Done(message)) return testing::AssertionFailure() << "not done";
    const Verdict& verdict = message.request.verdict();
    if (verdict.kind != VerdictKind::kNone) return testing::AssertionFailure() << "a verdict";
    if (verdict.text.empty()) return testing::AssertionFailure() << "no text";
    if (verdict.cause == cause) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "cause " << static_cast<int>(verdict.cause) << ": " << verdict.text;
  }
  bool Scans(FakeClamd& fake, size_t count) {
    return Until([&] { return fake.scans.size() >= count; });
  }

  std::string directory_;
  std::unique_ptr<core::Ring> ring_;
  std::unique_ptr<core::Loop> loop_;
  std::unique_ptr<core::BodyPool> bodies_;
  std::vector<std::unique_ptr<FakeClamd>> fakes_;
  std::vector<std::unique_ptr<ScannerStats>> stats_;
  ClamdPool::Options options_;
  std::unique_ptr<ClamdPool> pool_;
  std::unique_ptr<core::Scope> scope_;
  std::vector<std::unique_ptr<Message>> messages_;
  bool stopped_ = false;
};

}  // namespace bivalve::scan
