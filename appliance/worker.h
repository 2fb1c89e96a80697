// Worker: one thread with its own ring, listening sockets, sessions, scanner connections, bodies and
// counters. Workers share nothing but the number of connections; other threads reach one through its mailbox
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
#include "appliance/event.h"
#include "appliance/session.h"
#include "appliance/worker_stats.h"
#include "core/log_queue.h"
#include "core/mailbox.h"
#include "core/ring.h"
#include "net/address.h"
#include "net/transparent.h"

namespace bivalve::appliance {

// What all workers have in common.
struct SharedState {
  EventLog::Reader log_reader;
  std::atomic<uint32_t> connections = 0;  // open now, over all workers
  uint32_t connections_max = 0;
  std::unique_ptr<ClientCounts> client_counts;         // null: MaxConnectionsPerClient is off
  std::unique_ptr<net::OutgoingPorts> outgoing_ports;  // with TransparentProxy
};

class Worker {
 public:
  struct Options {
    size_t index = 0;
    size_t workers = 1;
    SessionSettings settings;
    uint64_t body_memory_bytes = 0;                        // this worker's share
    std::vector<scan::ScannerLimits> scanner_limits = {};  // in the order of ClamAddress; may be shorter
    // What the names among OutAddress and ClamAddress mean at the start, by index; the others' entries are
    // empty.
    std::vector<std::vector<net::SocketAddress>> server_addresses = {};
    std::vector<std::vector<net::SocketAddress>> scanner_addresses = {};
    std::vector<int> listen_fds;      // borrowed; outlive the worker
    std::function<void()> finished;   // called on the worker's thread when it has stopped
    ReportOutlet* reports = nullptr;  // outlives the worker
    core::Ring::Options ring = {};
    // Called on the worker's thread when a session with this scanner was opened.
    std::function<void(size_t scanner)> scanner_opened = {};
  };

  Worker(SharedState& shared, Options options);
  Worker(const Worker&) = delete;
  ~Worker();

  // Starts the thread and waits until its ring is open and it accepts connections, or says why not.
  absl::Status Start();
  // Any thread: stops accepting, lets transactions finish, then ends the thread. Returns at once.
  void Stop();
  void Join();

  // Any thread: what the names among the settings' addresses mean now.
  void SetServerAddresses(size_t index, std::vector<net::SocketAddress> addresses);
  void SetScannerAddresses(size_t index, std::vector<net::SocketAddress> addresses);

  // Any thread: asks for the sessions that are served now, the `limit` that last longest. `answer` is called
  // on the worker's thread, and never when the worker has ended. Returns at once.
  void ListSessions(size_t limit, std::function<void(WorkerSessions)> answer);

  // The same: what a scanner's clamd.conf says now.
  void SetScannerLimits(size_t index, const scan::ScannerLimits& limits);

  const WorkerStats& stats() const { return stats_; }
  core::LogQueue& log_queue() { return log_queue_; }
  const std::string& ring_description() const { return ring_description_; }  // after Start()

 private:
  struct Running;

  void Run(std::function<void(absl::Status)> started);
  void Accepted(Running& running, int fd);
  core::Task<void> ServeAndCount(Running& running, int fd, net::SocketAddress client, uint64_t number);
  void RefuseBusy(int fd);

  SharedState& shared_;
  Options options_;
  WorkerStats stats_;
  core::LogQueue log_queue_;
  core::Mailbox mailbox_;
  std::string ring_description_;
  Running* running_ = nullptr;  // worker's thread only
  std::thread thread_;
};

}  // namespace bivalve::appliance
