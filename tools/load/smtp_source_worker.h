// One thread of smtp_source: its own ring, its share of the sessions and of the messages.
//
// Closed loop: every session sends its next message as soon as the last one was answered. Open loop: messages
// become due by a schedule that knows nothing of the server. One that is due goes to an idle session or, with
// all sessions busy, waits; its latency counts from when it was due, so that a server that stalls is charged
// for every message that it kept from being sent, and not only for the few that were on their way.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "core/counters.h"
#include "core/histogram.h"
#include "core/mailbox.h"
#include "core/mono_time.h"
#include "net/address.h"
#include "tools/load/smtp_source_client.h"
#include "tools/load/smtp_source_message.h"
#include "tools/load/smtp_source_settings.h"

namespace bivalve::tools {

// Warm-up aside.
enum class SourceCount : uint8_t {
  kMessages,  // begun: each ends as one of the following eight lines says
  kAccepted,
  kRejected,
  kInfectedAccepted,
  kInfectedRejected,
  kConnectErrors,
  kLost,
  kTimeouts,
  kGarbage,
  kUnsent,  // open loop: were due and could not be sent in time; not among kMessages
  kBytes,   // of content, of the messages that were answered after it
  kRecipientsRejected,
  kConnections,
  kBacklog,  // open loop, now: due and not yet sent
  kCount,
};

// One worker's figures. The worker writes; any thread may read.
struct SourceStats {
  core::Counters<SourceCount> counters;
  core::Histogram latency_us;      // MAIL, or due, to the final reply
  core::Histogram connect_us;      // connect to the reply to EHLO
  core::Histogram start_delay_us;  // open loop: due to MAIL
  std::array<std::atomic<uint64_t>, 600> rejected_by_code = {};
  std::atomic<int> connect_error = 0;  // the last one's errno
};

class SourceWorker {
 public:
  struct Options {
    uint64_t index = 0;
    uint64_t sessions = 1;
    uint64_t messages = 0;  // this worker's share; 0: no limit
    double rate = 0;        // this worker's share
    net::SocketAddress server;
    const SourceSettings* settings = nullptr;
    const SourceScript* script = nullptr;
    const MessageLibrary* library = nullptr;
    std::function<void()> finished;  // called on the worker's thread when it has ended
  };

  explicit SourceWorker(Options options) : options_(std::move(options)) {}
  SourceWorker(const SourceWorker&) = delete;
  ~SourceWorker() { Join(); }

  // Starts the thread and waits until its ring is open, or says why it cannot be.
  absl::Status Start();
  // Any thread: begins to send; all times of the run count from `start`.
  void Begin(core::MonoTime start);
  // Any thread: lets the messages on their way end and starts no others. Returns at once.
  void Stop();
  void Join();

  const SourceStats& stats() const { return stats_; }
  // After Join(). When the last counted message ended, the process's CPU time when counting began, and why
  // the run was given up, if it was.
  core::MonoTime last_end() const { return last_end_; }
  core::Duration cpu_at_start() const { return cpu_at_start_; }
  const std::string& given_up() const { return given_up_; }

 private:
  struct Running;
  void Run(const std::function<void(absl::Status)>& started);

  Options options_;
  SourceStats stats_;
  core::MonoTime last_end_{};
  core::Duration cpu_at_start_{};
  std::string given_up_;
  core::Mailbox mailbox_;
  Running* running_ = nullptr;  // worker's thread only
  std::thread thread_;
};

}  // namespace bivalve::tools
