#include "tools/load/smtp_sink_worker.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>

#include "core/frame_pool.h"
#include "core/loop.h"
#include "core/ring.h"
#include "core/scope.h"
#include "core/start_thread.h"
#include "net/listener.h"

namespace bivalve::tools {

// What lives on the worker's thread only.
struct SinkWorker::Running {
  Running(SinkWorker& worker, core::Ring& ring)
      : loop(ring),
        services{.loop = loop,
                 .settings = *worker.options_.settings,
                 .ehlo_reply = *worker.options_.ehlo_reply,
                 .counters = worker.counters_,
                 .recorder = worker.options_.recorder,
                 .random = Random(worker.options_.settings->seed + worker.options_.index)},
        sessions(loop),
        tasks(loop) {}

  void Accept(int listen_fd) {
    acceptors.push_back(std::make_unique<net::Acceptor>(
        loop, listen_fd, [this](int fd) { sessions.Spawn(SinkSession::Serve(services, fd)); },
        [](int error) {
          std::fprintf(stderr, "smtp_sink: cannot accept a connection: %s\n", std::strerror(error));
        }));
    acceptors.back()->Start();
  }

  void Stop() {
    services.stopping = true;
    for (const auto& acceptor : acceptors) acceptor->Stop();
    for (SinkSession* session : services.sessions) session->Abort();
  }

  bool done() const {
    return services.stopping && sessions.running() == 0 && tasks.running() == 0 &&
           std::all_of(acceptors.begin(), acceptors.end(), [](const auto& one) { return one->stopped(); });
  }

  core::Loop loop;
  SinkServices services;
  core::Scope sessions;
  core::Scope tasks;
  std::vector<std::unique_ptr<net::Acceptor>> acceptors;
};

absl::Status SinkWorker::Start() {
  return core::StartThread(thread_, [this](auto started) { Run(std::move(started)); });
}

void SinkWorker::Stop() {
  mailbox_.Post([this] {
    running_->Stop();
    mailbox_.Close();
  });
}

void SinkWorker::Join() {
  if (thread_.joinable()) thread_.join();
}

void SinkWorker::Run(const std::function<void(absl::Status)>& started) {
  absl::StatusOr<std::unique_ptr<core::Ring>> ring = core::Ring::Open({});
  if (!ring.ok()) {
    started(ring.status());
    return;
  }
  {
    Running running(*this, **ring);
    running_ = &running;
    for (const int fd : options_.listen_fds) running.Accept(fd);
    running.tasks.Spawn(mailbox_.Run(running.loop));
    started(absl::OkStatus());
    while (!running.done()) running.loop.Turn();
    running_ = nullptr;
  }
  core::ReleaseFramePool();
}

}  // namespace bivalve::tools
