#include "appliance/worker/worker.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "appliance/worker/replies.h"
#include "core/body_pool.h"
#include "core/loop.h"
#include "core/ring.h"
#include "core/scope.h"
#include "core/start_thread.h"
#include "core/text.h"
#include "net/socket_name.h"
#include "scan/clamd_pool.h"
#include "scan/scan_image.h"

namespace bivalve::appliance {
namespace {

// The number of the first session, as in clamsmtpd. Each worker takes every n-th number from there.
constexpr uint64_t kFirstSession = 0x100000;

// Interval between two checks whether the last accept has come back.
constexpr core::Duration kAcceptorLook = std::chrono::milliseconds(1);

// How soon a changed signature database is noticed.
constexpr core::Duration kVersionInterval = std::chrono::seconds(5);

scan::Method MethodOf(ClamMethod method) {
  switch (method) {
    case ClamMethod::kAuto:
      return scan::Method::kAuto;
    case ClamMethod::kFildes:
      return scan::Method::kFildes;
    case ClamMethod::kInstream:
      return scan::Method::kInstream;
  }
  BV_CHECK(false);
}

// A worker that is woken up does not push aside the process that runs on its CPU (server, scanner, client).
// It finds more to do when its turn comes: fewer and larger turns of the loop. On an idle CPU nothing
// changes. perf/README.md has the figures. If the system forbids the call, the worker runs without it.
void LetOthersFinish() {
  const sched_param parameters = {};
  pthread_setschedparam(pthread_self(), SCHED_BATCH, &parameters);
}

// Bodies that wait for the next message may use an eighth of the descriptors, two for each body. Sixteen
// bodies may wait in any case.
uint32_t KeptBodiesMax(size_t workers) {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<uint32_t>(std::clamp<rlim_t>(limit.rlim_cur / 16 / workers, 16, 4096));
}

}  // namespace

// Objects that only the worker's thread uses.
struct Worker::Running {
  Running(Worker& worker, core::Ring& ring)
      : loop(ring),
        bodies(loop, BodyOptions(worker)),
        scanners(loop, bodies, PoolOptions(worker, worker.options_.settings), worker.first_scanners_),
        log(worker.log_queue_, worker.shared_.log_reader),
        services{.loop = loop,
                 .bodies = bodies,
                 .scanners = scanners,
                 .stats = worker.stats_,
                 .log = log,
                 .settings = worker.options_.settings.sessions,
                 .client_counts = worker.shared_.client_counts.get(),
                 .reports = worker.options_.reports,
                 .listening = ListeningAddresses(worker),
                 .outgoing_ports = worker.shared_.outgoing_ports.get()},
        stop_requested(loop),
        sessions(loop),
        tasks(loop),
        next_session(kFirstSession + worker.options_.index) {}

  static core::BodyPool::Options BodyOptions(const Worker& worker) {
    core::BodyPool::Options options;
    options.memory_bytes_max = worker.options_.settings.body_memory_bytes;
    options.kept_bytes_always = std::min(options.kept_bytes_always, options.memory_bytes_max / 4);
    options.kept_bodies_max = KeptBodiesMax(worker.options_.workers);
    options.in_memory_message_bytes_max =
        std::min(options.in_memory_message_bytes_max, options.memory_bytes_max / 2);
    options.temp_directory = worker.options_.settings.config.temp_directory;
    options.name = core::Cat("bivalve-", worker.options_.index);
    options.front = scan::Front();
    return options;
  }
  scan::ClamdPool::Options PoolOptions(Worker& worker, const WorkerSettings& settings) {
    const Config& config = settings.config;
    scan::ClamdPool::Options options;
    options.connections = config.clam_connections;
    options.canary = config.canary;
    options.version_interval = kVersionInterval;
    options.pools = worker.options_.workers;
    options.line_changed = [&worker](size_t waiting) {
      worker.stats_.counters.Set(Metric::kWaiting, waiting);
    };
    options.opened = worker.options_.scanner_opened;
    options.say = [this](bool bad, std::string text) {
      services.log.Text(bad ? Severity::kError : Severity::kNotice, 0, text);
    };
    for (size_t i = 0; i < config.clam_address.size(); ++i) {
      scan::ScannerOptions scanner;
      scanner.name = net::ToString(config.clam_address[i]);
      scanner.method = MethodOf(config.clam_method);
      if (i < settings.scanner_limits.size()) scanner.limits = settings.scanner_limits[i];
      scanner.number = settings.scanner_rows[i];
      scanner.outstanding_max = scanner.connections_max =
          scan::ShareOfQueue(scanner.limits, worker.options_.workers);
      scanner.address = [list = settings.scanner_addresses, i](sockaddr_storage& storage) -> socklen_t {
        const std::vector<net::SocketAddress> addresses = list->At(i);
        if (addresses.empty()) return 0;
        std::memcpy(&storage, addresses.front().raw(), addresses.front().raw_size());
        return addresses.front().raw_size();
      };
      options.scanners.push_back(std::move(scanner));
    }
    return options;
  }
  void Change(Worker& worker, const WorkerSettings& settings, std::vector<scan::ScannerStats*> scanner_stats,
              ClientCounts* client_counts) {
    services.settings = settings.sessions;
    services.client_counts = client_counts;
    bodies.set_memory_bytes_max(settings.body_memory_bytes);
    bodies.set_temp_directory(settings.config.temp_directory);
    scanners.Change(PoolOptions(worker, settings), std::move(scanner_stats));
  }
  static std::vector<net::SocketAddress> ListeningAddresses(const Worker& worker) {
    std::vector<net::SocketAddress> addresses;
    for (const net::ListeningSocket& one : worker.options_.listening)
      addresses.push_back(net::SocketName(one.fd));
    return addresses;
  }
  // Waits for the order to stop and carries it out.
  core::Task<void> Supervise(Worker& worker) {
    while (!services.stopping && !draining) (void)co_await stop_requested.Wait();
    for (const auto& acceptor : acceptors) acceptor->Stop();
    if (draining) {
      while (!AcceptorsStopped()) (void)co_await stop_requested.Wait(loop.Now() + kAcceptorLook);
      for (const int fd : left) worker.Empty(*this, fd);
      accepts_no_more();
    }
    while (!services.stopping && sessions.running() > 0) (void)co_await stop_requested.Wait();
    for (Session* session : services.sessions) session->OnStopping();
    co_await sessions.Join();
    co_await scanners.Stop();
    worker.mailbox_.Close();
  }

  bool AcceptorsStopped() const {
    return std::all_of(acceptors.begin(), acceptors.end(), [](const auto& one) { return one->stopped(); });
  }
  bool done() const { return tasks.running() == 0 && AcceptorsStopped(); }

  core::Loop loop;
  core::BodyPool bodies;
  scan::ClamdPool scanners;
  EventLog log;
  SessionServices services;
  core::Condition stop_requested;
  bool draining = false;
  std::function<void()> accepts_no_more;
  std::vector<int> left = {};  // listening sockets that another process has not taken over
  core::Scope sessions;
  core::Scope tasks;
  std::vector<std::unique_ptr<net::Acceptor>> acceptors;
  uint64_t next_session;
};

Worker::Worker(SharedState& shared, Options options)
    : shared_(shared), options_(std::move(options)), stats_(0) {
  first_scanners_ = ScannerStatsOf(options_.settings);
}

Worker::~Worker() { Join(); }

absl::Status Worker::Start() {
  return core::StartThread(thread_, [this](auto started) { Run(std::move(started)); });
}

void Worker::Stop() {
  mailbox_.Post([this] {
    running_->services.stopping = true;
    running_->stop_requested.Notify();
  });
}

void Worker::Accept() {
  mailbox_.Post([this] { StartAccepting(*running_); });
}

void Worker::LookAgain() {
  mailbox_.Post([this] {
    for (const auto& acceptor : running_->acceptors) acceptor->LookAgain();
  });
}

void Worker::Drain(std::vector<int> left, std::function<void()> accepts_no_more) {
  mailbox_.Post([this, left = std::move(left), accepts_no_more = std::move(accepts_no_more)] {
    running_->draining = true;
    running_->accepts_no_more = accepts_no_more;
    running_->left = left;
    running_->stop_requested.Notify();
  });
}

void Worker::Join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::Change(WorkerSettings settings) {
  mailbox_.Post([this, scanners = ScannerStatsOf(settings), settings = std::move(settings),
                 client_counts = shared_.client_counts.get()] {
    running_->Change(*this, settings, scanners, client_counts);
  });
}

std::vector<scan::ScannerStats*> Worker::ScannerStatsOf(const WorkerSettings& settings) {
  std::vector<scan::ScannerStats*> stats;
  for (const size_t row : settings.scanner_rows) stats.push_back(&stats_.ScannerRow(row));
  return stats;
}

// The list is in the order of the sessions' start, so this walks at most `limit` sessions, however many there
// are.
void Worker::ListSessions(size_t limit, std::function<void(WorkerSessions)> answer) {
  mailbox_.Post([this, limit, answer = std::move(answer)] {
    const core::LinkedList<Session>& all = running_->services.sessions;
    WorkerSessions sessions;
    sessions.total = all.size();
    sessions.longest.reserve(std::min(limit, all.size()));
    for (const Session* session : all) {
      if (sessions.longest.size() == limit) break;
      sessions.longest.push_back(session->Describe());
      sessions.longest.back().worker = options_.index;
    }
    answer(std::move(sessions));
  });
}

void Worker::SetScannerLimits(size_t row, const scan::ScannerLimits& limits) {
  mailbox_.Post([this, row, limits] {
    running_->scanners.SetLimits(row, limits, scan::ShareOfQueue(limits, options_.workers));
  });
}

void Worker::Run(std::function<void(absl::Status)> started) {
  pthread_setname_np(pthread_self(), core::Cat("worker-", options_.index).c_str());
  LetOthersFinish();
  absl::StatusOr<std::unique_ptr<core::Ring>> ring = core::Ring::Open(options_.ring);
  if (!ring.ok()) {
    started(ring.status());
    return;
  }
  ring_description_ = (*ring)->description();
  {
    Running running(*this, **ring);
    running_ = &running;
    running.scanners.Start();
    running.tasks.Spawn(mailbox_.Run(running.loop));
    running.tasks.Spawn(running.Supervise(*this));
    started(absl::OkStatus());
    while (!running.done()) {
      running.loop.Turn();
      stats_.counters.Set(Metric::kRingFlushes, (*ring)->counts().flushes);
      stats_.counters.Set(Metric::kRingOverflows, (*ring)->counts().overflows);
    }
    running_ = nullptr;
  }
  core::ReleaseFramePool();
  if (options_.finished) options_.finished();
}

void Worker::StartAccepting(Running& running) {
  if (running.services.stopping || running.draining) return;
  for (const net::ListeningSocket& one : options_.listening) {
    running.acceptors.push_back(std::make_unique<net::Acceptor>(
        running.loop, one.fd,
        [this, &running, listener = one.listener](int client) { Accepted(running, listener, client); },
        [this, &running](int error) {
          stats_.counters.Add(Metric::kAcceptErrors);
          running.log.Text(Severity::kError, 0,
                           core::Cat("cannot accept a connection: ", std::string_view(std::strerror(error))));
        }));
    running.acceptors.back()->Start();
  }
}

// Accepts what waits in the queue of a socket from which no process will accept any more. The socket may be
// set to non-blocking, because no other process uses it.
void Worker::Empty(Running& running, int listen_fd) {
  const auto one = std::ranges::find(options_.listening, listen_fd, &net::ListeningSocket::fd);
  if (one == options_.listening.end()) return;
  fcntl(listen_fd, F_SETFL, fcntl(listen_fd, F_GETFL) | O_NONBLOCK);
  for (;;) {
    const int fd = accept4(listen_fd, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    Accepted(running, one->listener, fd);
  }
}

void Worker::Accepted(Running& running, size_t listener, int fd) {
  stats_.counters.Add(Metric::kAccepted);
  if (shared_.connections.fetch_add(1, std::memory_order_relaxed) >=
      shared_.connections_max.load(std::memory_order_relaxed)) {
    shared_.connections.fetch_sub(1, std::memory_order_relaxed);
    RefuseBusy(fd);
    return;
  }
  const Session::Client client = {.fd = fd, .listener = listener, .address = net::PeerName(fd)};
  const uint64_t number = running.next_session;
  running.next_session += options_.workers;
  running.sessions.Spawn(ServeAndCount(running, client, number));
}

core::Task<void> Worker::ServeAndCount(Running& running, Session::Client client, uint64_t number) {
  co_await Session::Serve(running.services, client, number);
  shared_.connections.fetch_sub(1, std::memory_order_relaxed);
  if (running.draining) running.stop_requested.Notify();
}

// A short line fits into the buffer of a socket that was just accepted, so the send does not wait.
void Worker::RefuseBusy(int fd) {
  stats_.counters.Add(Metric::kRefusedBusy);
  const std::string_view reply = replies::kBusy.line();
  (void)send(fd, reply.data(), reply.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  shutdown(fd, SHUT_WR);
  close(fd);
}

}  // namespace bivalve::appliance
