// SimWorker: the contents of a worker's thread, over simulated IO, for whole sessions without a daemon.
//
//   sim::SimIo io(seed);
//   sim::SimWorker worker(io, settings, {.scanners = {sim::ScannerAt(address)}});
//   worker.pool.Start();
//   worker.scope.Spawn(worker.Serve(io.Accept(client), client_address, 1));
//   io.Run(worker.loop, [&] { return worker.scope.running() == 0; });
//   worker.scope.Spawn(worker.Stop());
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "appliance/log/event.h"
#include "appliance/worker/session.h"
#include "core/body_pool.h"
#include "core/check.h"
#include "core/log_queue.h"
#include "core/loop.h"
#include "core/scope.h"
#include "scan/clamd_pool.h"
#include "tests/sim/sim_io.h"

namespace bivalve::sim {

inline scan::ScannerOptions ScannerAt(const net::SocketAddress& address) {
  return {.name = address.ToString(), .address = [address](sockaddr_storage& out) {
            std::memcpy(&out, address.raw(), address.raw_size());
            return address.raw_size();
          }};
}

// Derives the other settings from settings.config, which must have one header.
inline void Complete(appliance::SessionSettings& settings) {
  auto header = appliance::HeaderTemplate::Compile(settings.config.header);
  BV_CHECK(header.ok());
  settings.header = *std::move(header);
  settings.servers = appliance::AddressList(settings.config.out_address);
}

inline core::BodyPool::Options WithFront(core::BodyPool::Options options) {
  options.front = scan::Front();
  return options;
}

struct SimWorker {
  SimWorker(SimIo& io, std::shared_ptr<appliance::SessionSettings> settings,
            const scan::ClamdPool::Options& pool_options, const core::BodyPool::Options& body_options = {},
            size_t log_bytes = size_t{1} << 20)
      : loop(io),
        bodies(loop, WithFront(body_options)),
        stats(pool_options.scanners.size()),
        pool(loop, bodies, pool_options, ScannerStats()),
        queue(log_bytes),
        log(queue, log_reader),
        services{.loop = loop,
                 .bodies = bodies,
                 .scanners = pool,
                 .stats = stats,
                 .log = log,
                 .settings = {std::move(settings)}},
        scope(loop) {}

  // Serves a client of the first listener. Suspends.
  core::Task<void> Serve(int fd, const net::SocketAddress& address, uint64_t number) {
    return appliance::Session::Serve(services, {.fd = fd, .address = address}, number);
  }
  // Ends the pool; must be called before the end. Suspends.
  core::Task<void> Stop() { co_await pool.Stop(); }

  core::Loop loop;
  core::BodyPool bodies;
  appliance::WorkerStats stats;
  scan::ClamdPool pool;
  core::LogQueue queue;
  appliance::EventLog::Reader log_reader;
  appliance::EventLog log;
  appliance::SessionServices services;
  core::Scope scope;

 private:
  std::vector<scan::ScannerStats*> ScannerStats() const {
    std::vector<scan::ScannerStats*> pointers;
    for (const auto& one : stats.scanners) pointers.push_back(one.get());
    return pointers;
  }
};

}  // namespace bivalve::sim
