#include "tools/load/smtp_source_worker.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "core/frame_pool.h"
#include "core/loop.h"
#include "core/ring.h"
#include "core/scope.h"
#include "core/start_thread.h"
#include "core/text.h"

namespace bivalve::tools {
namespace {

using Result = SendOutcome::Result;

// After a failed connect, so that a server that is down is not asked a hundred thousand times a second.
constexpr core::Duration kPause = std::chrono::milliseconds(100);
// Failed connects in a row, beyond one for each session, after which the run is given up.
constexpr uint64_t kConnectFailuresMax = 10;

}  // namespace

// What lives on the worker's thread only.
struct SourceWorker::Running {
  struct Job {
    core::MonoTime due;    // open loop only
    bool counted = false;  // not part of the warm-up
  };
  struct Session {
    Session(core::Loop& loop, const SourceScript& script) : client(loop, script) {}
    SourceClient client;
    SourceMessage message;
    uint64_t sent = 0;  // over this connection
    bool idle = false;  // is in `idle`
  };

  Running(SourceWorker& owner, core::Ring& ring)
      : worker(owner),
        options(owner.options_),
        settings(*owner.options_.settings),
        loop(ring),
        sessions_scope(loop),
        tasks(loop),
        random(settings.seed * 0x1000003 + options.index) {}

  void Begin(core::MonoTime start) {
    count_from = start + settings.warmup;
    if (settings.duration > core::Duration::zero()) stop_at = count_from + settings.duration;
    arrivals_over = !settings.open_loop();
    if (settings.open_loop()) {
      // With equal distances the workers take turns.
      const double turn = static_cast<double>(options.index) / static_cast<double>(settings.threads);
      next_arrival = start + (settings.fixed ? Seconds(turn / options.rate) : Gap());
    }
    for (uint64_t i = 0; i < options.sessions; ++i) {
      sessions.push_back(std::make_unique<Session>(loop, *options.script));
      sessions_scope.Spawn(RunSession(*sessions.back()));
    }
    tasks.Spawn(CloseMailboxAtEnd());
  }

  void Stop() {
    stopping = true;
    DropBacklog(/*record=*/false);
    EndArrivals();
    if (sessions.empty()) worker.mailbox_.Close();  // was never begun
  }

  core::Task<void> CloseMailboxAtEnd() {
    co_await sessions_scope.Join();
    worker.mailbox_.Close();
  }

  // --- The schedule. Never suspend.

  static core::Duration Seconds(double seconds) {
    return core::Duration(static_cast<int64_t>(seconds * 1e9));
  }
  core::Duration Gap() { return Seconds((settings.fixed ? 1 : -std::log(1 - random.Unit())) / options.rate); }

  // Runs before each turn of the loop: what has become due, and what has become too late.
  void Dispatch() {
    const core::MonoTime now = loop.Now();
    if (!counting && now >= count_from) {
      counting = true;
      worker.cpu_at_start_ = ProcessCpuTime();
    }
    while (!arrivals_over && next_arrival <= now) {
      if (next_arrival >= stop_at) {
        EndArrivals();
        break;
      }
      const Job job = {.due = next_arrival, .counted = next_arrival >= count_from};
      backlog.push_back(job);
      if (job.counted && ++taken == options.messages) EndArrivals();
      WakeOne();
      next_arrival += Gap();
    }
    worker.stats_.counters.Set(SourceCount::kBacklog, backlog.size());
    if (arrivals_over && !backlog.empty() && now >= drain_until) {
      DropBacklog(/*record=*/true);
      WakeAll();
    }
  }

  // When Dispatch must run next, at the latest.
  core::MonoTime NextDispatch() const {
    core::MonoTime next = counting ? core::kNever : count_from;
    if (!arrivals_over) next = std::min({next, next_arrival, stop_at});
    if (arrivals_over && !backlog.empty()) next = std::min(next, drain_until);
    return next;
  }

  void EndArrivals() {
    if (!arrivals_over) drain_until = loop.Now() + settings.drain;
    arrivals_over = true;
    WakeAll();
  }

  // A message that was never sent has waited at least until now; leaving it out would flatter the server.
  void DropBacklog(bool record) {
    for (const Job& job : backlog) {
      if (!job.counted) continue;
      worker.stats_.counters.Add(SourceCount::kUnsent);
      if (record) worker.stats_.latency_us.Record(core::Microseconds(loop.Now() - job.due));
    }
    backlog.clear();
  }

  void WakeOne() {
    if (idle.empty()) return;
    // The last to become idle, so that no more connections are made than the load needs.
    Session& session = *idle.back();
    idle.pop_back();
    session.idle = false;
    session.client.wake().Notify();
  }
  void WakeAll() {
    while (!idle.empty()) WakeOne();
  }

  std::optional<Job> TakeJob() {
    if (settings.open_loop()) {
      if (backlog.empty()) return std::nullopt;
      const Job job = backlog.front();
      backlog.pop_front();
      return job;
    }
    const core::MonoTime now = loop.Now();
    if (stopping || now >= stop_at) return std::nullopt;
    Job job;
    job.counted = now >= count_from;
    if (!job.counted) return job;
    if (options.messages != 0 && taken >= options.messages) return std::nullopt;
    ++taken;
    return job;
  }

  // --- Sessions.

  core::Task<void> RunSession(Session& session) {
    for (;;) {
      const std::optional<Job> job = TakeJob();
      if (job.has_value()) {
        SetIdle(session, false);
        co_await SendOne(session, *job);
      } else if (arrivals_over) {
        break;
      } else {
        SetIdle(session, true);
        (void)co_await session.client.wake().Wait();
      }
    }
    co_await session.client.Quit();
  }

  void SetIdle(Session& session, bool value) {
    if (session.idle == value) return;
    session.idle = value;
    if (value) {
      idle.push_back(&session);
    } else {
      std::erase(idle, &session);
    }
  }

  core::Task<void> SendOne(Session& session, Job job) {
    SourceClient& client = session.client;
    SourceMessage& message = session.message;
    options.library->Fill(message, random);
    if (!client.open()) {
      const core::MonoTime before = loop.Now();
      const SendOutcome opened = co_await client.Open(options.server);
      if (opened.result != Result::kAccepted) {
        Count(job, message, opened, settings.open_loop() ? job.due : before);
        co_await PauseAfter(session, opened);
        co_return;
      }
      connect_failures = 0;
      session.sent = 0;
      if (job.counted) {
        worker.stats_.counters.Add(SourceCount::kConnections);
        worker.stats_.connect_us.Record(core::Microseconds(loop.Now() - before));
      }
    }
    const core::MonoTime start = settings.open_loop() ? job.due : loop.Now();
    if (settings.open_loop() && job.counted) {
      worker.stats_.start_delay_us.Record(core::Microseconds(loop.Now() - job.due));
    }
    const SendOutcome outcome = co_await client.Send(message);
    Count(job, message, outcome, start);
    if (settings.per_session != 0 && ++session.sent >= settings.per_session) co_await client.Quit();
  }

  core::Task<void> PauseAfter(Session& session, SendOutcome failed) {
    if (failed.result == Result::kNotOffered) {
      GiveUp(core::Cat("the server does not offer ", settings.pipelining ? "PIPELINING" : "",
                       settings.pipelining && settings.bdat ? " and " : "", settings.bdat ? "CHUNKING" : ""));
    } else if (failed.result == Result::kConnectFailed &&
               ++connect_failures >= options.sessions + kConnectFailuresMax) {
      GiveUp(core::Cat("cannot connect to ", options.server.ToString(), ": ",
                       std::string_view(std::strerror(failed.error))));
    }
    const core::MonoTime until = loop.Now() + kPause;
    while (!stopping && loop.Now() < until) (void)co_await session.client.wake().Wait(until);
  }

  void GiveUp(std::string why) {
    if (worker.given_up_.empty()) worker.given_up_ = std::move(why);
    Stop();
  }

  void Count(const Job& job, const SourceMessage& message, const SendOutcome& outcome, core::MonoTime start) {
    if (!job.counted) return;
    SourceStats& stats = worker.stats_;
    worker.last_end_ = loop.Now();
    bool timed = outcome.answered;
    {
      const core::Counters<SourceCount>::Update update(stats.counters);
      stats.counters.Add(SourceCount::kMessages);
      if (outcome.answered) stats.counters.Add(SourceCount::kBytes, message.bytes);
      stats.counters.Add(SourceCount::kRecipientsRejected, outcome.recipients_rejected);
      switch (outcome.result) {
        case Result::kAccepted:
          stats.counters.Add(message.infected ? SourceCount::kInfectedAccepted : SourceCount::kAccepted);
          break;
        case Result::kRejected: {
          stats.counters.Add(message.infected ? SourceCount::kInfectedRejected : SourceCount::kRejected);
          auto& cell =
              stats.rejected_by_code[std::min<size_t>(outcome.code, stats.rejected_by_code.size() - 1)];
          cell.store(cell.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
          break;
        }
        case Result::kConnectFailed:
          stats.connect_error.store(outcome.error, std::memory_order_relaxed);
          stats.counters.Add(SourceCount::kConnectErrors);
          break;
        case Result::kLost:
          stats.counters.Add(SourceCount::kLost);
          break;
        case Result::kTimeout:
          // It took at least that long.
          timed = true;
          stats.counters.Add(SourceCount::kTimeouts);
          break;
        case Result::kGarbage:
        case Result::kNotOffered:
          stats.counters.Add(SourceCount::kGarbage);
          break;
      }
    }
    if (timed) stats.latency_us.Record(core::Microseconds(loop.Now() - start));
  }

  SourceWorker& worker;
  const SourceWorker::Options& options;
  const SourceSettings& settings;
  core::Loop loop;
  std::vector<std::unique_ptr<Session>> sessions;
  core::Scope sessions_scope;
  core::Scope tasks;
  Random random;
  core::MonoTime count_from = core::kNever;
  core::MonoTime stop_at = core::kNever;
  core::MonoTime drain_until = core::kNever;
  core::MonoTime next_arrival = core::kNever;
  bool counting = false;
  bool stopping = false;
  bool arrivals_over = true;
  uint64_t taken = 0;             // counted messages
  uint64_t connect_failures = 0;  // in a row
  std::deque<Job> backlog;
  std::vector<Session*> idle;
};

absl::Status SourceWorker::Start() {
  return core::StartThread(thread_, [this](auto started) { Run(std::move(started)); });
}

void SourceWorker::Begin(core::MonoTime start) {
  mailbox_.Post([this, start] { running_->Begin(start); });
}

void SourceWorker::Stop() {
  mailbox_.Post([this] { running_->Stop(); });
}

void SourceWorker::Join() {
  if (thread_.joinable()) thread_.join();
}

void SourceWorker::Run(const std::function<void(absl::Status)>& started) {
  absl::StatusOr<std::unique_ptr<core::Ring>> ring = core::Ring::Open({});
  if (!ring.ok()) {
    started(ring.status());
    return;
  }
  {
    Running running(*this, **ring);
    running_ = &running;
    running.tasks.Spawn(mailbox_.Run(running.loop));
    started(absl::OkStatus());
    while (running.tasks.running() > 0) {
      running.Dispatch();
      running.loop.Turn(running.NextDispatch());
    }
    running_ = nullptr;
  }
  core::ReleaseFramePool();
  options_.finished();
}

}  // namespace bivalve::tools
