// One thread of smtp_sink: its own ring, listening sockets and sessions.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "core/fd.h"
#include "core/mailbox.h"
#include "tools/load/smtp_sink_session.h"

namespace bivalve::tools {

class SinkWorker {
 public:
  struct Options {
    uint64_t index = 0;
    std::vector<int> listen_fds;  // borrowed; outlive the worker
    const SinkSettings* settings = nullptr;
    const std::string* ehlo_reply = nullptr;
    SinkRecorder* recorder = nullptr;  // nullptr: nothing is recorded
  };

  explicit SinkWorker(Options options) : options_(std::move(options)) {}
  SinkWorker(const SinkWorker&) = delete;
  ~SinkWorker() { Join(); }

  // Starts the thread and waits until it accepts connections, or says why it cannot.
  absl::Status Start();
  // Any thread: stops accepting and ends the connections. Returns at once.
  void Stop();
  void Join();
  const SinkCounters& counters() const { return counters_; }

 private:
  struct Running;
  void Run(const std::function<void(absl::Status)>& started);

  Options options_;
  SinkCounters counters_;
  core::Mailbox mailbox_;
  Running* running_ = nullptr;  // worker's thread only
  std::thread thread_;
};

}  // namespace bivalve::tools
