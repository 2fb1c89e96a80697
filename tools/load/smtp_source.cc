// smtp_source: sends mail as fast as a server takes it, or at a given rate, and says how long that took.
// tools/README.md has examples and the definition of latency.
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/fd.h"
#include "core/text.h"
#include "net/address.h"
#include "net/listener.h"
#include "tools/load/shared.h"
#include "tools/load/smtp_source_client.h"
#include "tools/load/smtp_source_message.h"
#include "tools/load/smtp_source_report.h"
#include "tools/load/smtp_source_settings.h"
#include "tools/load/smtp_source_worker.h"

namespace bivalve::tools {
namespace {

constexpr std::string_view kUsage =
    R"(Usage: smtp_source [OPTION]... SERVER

A load generator for SMTP. SERVER is HOST:PORT, PORT on this machine, or /PATH. Without --rate every session sends its
next message when the last one was answered (closed loop); latency is the time from MAIL to the final reply. With
--rate messages are due by a schedule (open loop), and latency counts from when a message was due. Exit status: 0;
1 when messages were refused or connections lost (see --tolerate); 2 for wrong usage.

)";

// Descriptors beside those of the sessions.
constexpr uint64_t kOtherDescriptors = 32;

int Fail(const absl::Status& status, int exit_status) {
  std::fprintf(stderr, "smtp_source: %s\n", std::string(status.message()).c_str());
  return exit_status;
}

absl::StatusOr<net::SocketAddress> ServerAddress(std::string_view text) {
  const absl::StatusOr<net::Endpoint> endpoint = net::ParseEndpoint(text, 25);
  if (!endpoint.ok()) return endpoint.status();
  if (const auto* port = std::get_if<net::PortOnly>(&*endpoint)) {
    return net::SocketAddress::FromIpv4({htonl(INADDR_LOOPBACK)}, port->port);
  }
  const absl::StatusOr<std::vector<net::SocketAddress>> addresses = net::ListenAddresses(*endpoint);
  if (!addresses.ok()) return addresses.status();
  return addresses->front();
}

// Which part of `whole` the `index`-th of `parts` gets.
uint64_t Share(uint64_t whole, uint64_t index, uint64_t parts) {
  return whole / parts + (index < whole % parts ? 1 : 0);
}

// Prints a line each second until `finished` is readable; a signal stops the workers once, and the process
// the second time.
bool AwaitEnd(const SourceSettings& settings, std::span<const std::unique_ptr<SourceWorker>> workers,
              int signals, int finished, core::MonoTime start) {
  SourceResult before = Collect(workers);
  core::MonoTime before_at = start;
  bool stopped = false;
  for (;;) {
    const core::MonoTime next = settings.progress ? before_at + std::chrono::seconds(1) : core::kNever;
    if (AwaitReadable(finished, signals, next)) {
      if (AwaitReadable(finished, -1, core::MonoTime::min())) return true;
      // The signal stays unread when it is the second one: nothing is waited for any more.
      if (stopped) return false;
      stopped = true;
      char one_signal[128];
      (void)!read(signals, one_signal, sizeof(one_signal));
      for (const auto& worker : workers) worker->Stop();
      continue;
    }
    const core::MonoTime now = std::chrono::steady_clock::now();
    const SourceResult so_far = Collect(workers);
    std::fputs(
        ProgressLine(std::chrono::duration<double>(now - start).count(), before, so_far, now - before_at)
            .c_str(),
        stderr);
    before = so_far;
    before_at = now;
  }
}

int Run(SourceSettings settings) {
  const core::UniqueFd signals = OpenSignals();
  const absl::StatusOr<net::SocketAddress> server = ServerAddress(settings.server);
  if (!server.ok()) return Fail(server.status(), 2);
  const uint64_t descriptors = RaiseDescriptorLimit();
  if (settings.sessions + kOtherDescriptors > descriptors) {
    return Fail(
        absl::FailedPreconditionError(core::Cat("--sessions: ", settings.sessions, " are more than the ",
                                                descriptors, " descriptors allowed; raise ulimit -n")),
        1);
  }
  if (settings.messages == 0 && settings.duration == core::Duration::zero()) settings.messages = 1;
  settings.threads = std::min(settings.threads, settings.sessions);
  if (settings.messages != 0) settings.threads = std::min(settings.threads, settings.messages);

  const SourceScript script(settings);
  const MessageLibrary library(settings);
  const core::UniqueFd finished(eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE));
  BV_CHECK(finished.valid());
  std::atomic<uint64_t> running = settings.threads;
  std::vector<std::unique_ptr<SourceWorker>> workers;
  absl::Status status;
  for (uint64_t i = 0; i < settings.threads && status.ok(); ++i) {
    SourceWorker::Options options;
    options.index = i;
    options.sessions = Share(settings.sessions, i, settings.threads);
    options.messages = Share(settings.messages, i, settings.threads);
    options.rate = settings.rate / static_cast<double>(settings.threads);
    options.server = *server;
    options.settings = &settings;
    options.script = &script;
    options.library = &library;
    options.finished = [&running, fd = finished.get()] {
      const uint64_t one = 1;
      if (running.fetch_sub(1) == 1) (void)!write(fd, &one, sizeof(one));
    };
    auto worker = std::make_unique<SourceWorker>(std::move(options));
    status = worker->Start();
    if (status.ok()) workers.push_back(std::move(worker));
  }
  if (!status.ok()) {
    for (const auto& worker : workers) worker->Stop();
    return Fail(status, 1);
  }

  const core::MonoTime start = std::chrono::steady_clock::now();
  for (const auto& worker : workers) worker->Begin(start);
  if (!AwaitEnd(settings, workers, signals.get(), finished.get(), start)) _exit(1);
  for (const auto& worker : workers) worker->Join();

  SourceResult result = Collect(workers);
  result.cpu = ProcessCpuTime() - workers.front()->cpu_at_start();
  for (const auto& worker : workers) {
    result.elapsed = std::max(result.elapsed, worker->last_end() - (start + settings.warmup));
  }
  std::fputs((settings.json ? ResultJson(settings, result) : ResultTable(settings, result)).c_str(), stdout);
  if (std::fflush(stdout) != 0) return 1;
  for (const auto& worker : workers) {
    if (!worker->given_up().empty()) return Fail(absl::UnavailableError(worker->given_up()), 1);
  }
  return result.answered() == 0 || (result.unexpected() > 0 && !settings.tolerate) ? 1 : 0;
}

int Main(const std::vector<std::string_view>& arguments) {
  SourceSettings settings;
  std::vector<std::string_view> operands;
  if (const absl::Status status = ParseArguments(kSourceOptions, std::span(arguments), settings, operands);
      !status.ok()) {
    return Fail(status, 2);
  }
  if (settings.help) {
    std::printf("%s%s", std::string(kUsage).c_str(), OptionsHelp(kSourceOptions).c_str());
    return 0;
  }
  if (operands.size() != 1) {
    return Fail(absl::InvalidArgumentError("one SERVER has to be given; see --help"), 2);
  }
  settings.server = operands.front();
  if (settings.fixed && !settings.open_loop()) {
    return Fail(absl::InvalidArgumentError("--fixed: needs --rate"), 2);
  }
  return Run(std::move(settings));
}

}  // namespace
}  // namespace bivalve::tools

int main(int argc, char** argv) {
  return bivalve::tools::Main(std::vector<std::string_view>(argv + 1, argv + argc));
}
