// Worker: one thread with its own ring, listening sockets, sessions, scanner connections, bodies and
// counters. Workers share only the number of connections. Other threads reach a worker through its mailbox
// and read its counters.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "appliance/log/event.h"
#include "appliance/stats/worker_stats.h"
#include "appliance/worker/session.h"
#include "core/log_queue.h"
#include "core/mailbox.h"
#include "core/ring.h"
#include "net/address.h"
#include "net/listener.h"
#include "net/transparent.h"

namespace bivalve::appliance {

// State that all workers share.
struct SharedState {
  EventLog::Reader log_reader;
  std::atomic<uint32_t> connections = 0;  // open now, over all workers
  std::atomic<uint32_t> connections_max = 0;
  // Null until MaxConnectionsPerClient is on for the first time. Control thread; workers get it with their
  // settings.
  std::unique_ptr<ClientCounts> client_counts;
  std::unique_ptr<net::OutgoingPorts> outgoing_ports;  // with TransparentProxy
};

// What a worker takes from the settings, at the start and after each reading. Each worker has objects of its
// own, so that workers do not share the memory of reference counts.
struct WorkerSettings {
  Config config = {};
  std::vector<std::shared_ptr<SessionSettings>> sessions;  // one for each listener
  std::shared_ptr<AddressList> scanner_addresses;          // only the worker's thread uses it once it has it
  std::vector<scan::ScannerLimits> scanner_limits = {};    // in the order of ClamAddress; may be shorter
  std::vector<size_t> scanner_rows;  // in that order: each scanner's row of counts in WorkerStats
  uint64_t body_memory_bytes = 0;    // this worker's share
};

class Worker {
 public:
  struct Options {
    size_t index = 0;
    size_t workers = 1;
    WorkerSettings settings;
    std::vector<net::ListeningSocket> listening;  // outlive the worker
    std::function<void()> finished;               // called on the worker's thread when it has stopped
    ReportOutlet* reports = nullptr;              // outlives the worker
    core::Ring::Options ring = {};
    // Called on the worker's thread when a session with this scanner was opened. `user`: the user of the
    // scanner's process, if known.
    std::function<void(size_t scanner, std::optional<uid_t> user)> scanner_opened = {};
  };

  Worker(SharedState& shared, Options options);
  Worker(const Worker&) = delete;
  ~Worker();

  // Starts the thread and waits until its ring is open. Returns an error if that fails.
  absl::Status Start();
  // Any thread: accepts connections from now on. Returns at once.
  void Accept();
  // Any thread: another process no longer accepts from the same sockets. See net::Acceptor. Returns at once.
  void LookAgain();
  // Any thread: another process accepts from now on. `left`: listening sockets that it has not taken; their
  // queues are emptied here. The sessions continue, and the thread ends with the last one. Returns at once;
  // `accepts_no_more` is called on the worker's thread.
  void Drain(std::vector<int> left, std::function<void()> accepts_no_more);
  // Any thread: stops accepting, lets transactions finish, then ends the thread. Returns at once.
  void Stop();
  void Join();

  // Control thread: new sessions get these settings from now on; running ones keep theirs.
  void Change(WorkerSettings settings);
  // Any thread: runs `message` on the worker's thread.
  void Post(std::function<void()> message) { mailbox_.Post(std::move(message)); }

  // Any thread: asks for the `limit` oldest of the running sessions. `answer` is called on the worker's
  // thread, but never if the worker has ended. Returns at once.
  void ListSessions(size_t limit, std::function<void(WorkerSessions)> answer);

  // Any thread: new limits from a scanner's clamd.conf. Returns at once.
  void SetScannerLimits(size_t row, const scan::ScannerLimits& limits);

  const WorkerStats& stats() const { return stats_; }
  core::LogQueue& log_queue() { return log_queue_; }
  const std::string& ring_description() const { return ring_description_; }  // after Start()

 private:
  struct Running;

  void Run(std::function<void(absl::Status)> started);
  void Accepted(Running& running, size_t listener, int fd);
  void StartAccepting(Running& running);
  void Empty(Running& running, int listen_fd);
  std::vector<scan::ScannerStats*> ScannerStatsOf(const WorkerSettings& settings);
  core::Task<void> ServeAndCount(Running& running, Session::Client client, uint64_t number);
  void RefuseBusy(int fd);

  SharedState& shared_;
  Options options_;
  WorkerStats stats_;
  std::vector<scan::ScannerStats*> first_scanners_;
  core::LogQueue log_queue_;
  core::Mailbox mailbox_;
  std::string ring_description_;
  Running* running_ = nullptr;  // worker's thread only
  std::thread thread_;
};

}  // namespace bivalve::appliance
