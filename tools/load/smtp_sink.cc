// smtp_sink: a mail server for tests and benchmarks. It takes mail as a real one does and does as little with
// it as it can: counts it, and writes it to files when asked to. tools/README.md has examples.
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/fd.h"
#include "core/text.h"
#include "net/listener.h"
#include "tools/load/shared.h"
#include "tools/load/smtp_sink_recorder.h"
#include "tools/load/smtp_sink_session.h"
#include "tools/load/smtp_sink_settings.h"
#include "tools/load/smtp_sink_worker.h"

namespace bivalve::tools {
namespace {

constexpr std::string_view kUsage =
    R"(Usage: smtp_sink --listen ADDRESS [OPTION]...

A mail server for tests and benchmarks: takes mail and throws it away, or records it. Prints "listening on ..." when
it is ready. On SIGTERM or SIGINT it prints its totals as one line of JSON and exits with status 0.

)";

int Fail(const absl::Status& status, int exit_status) {
  std::fprintf(stderr, "smtp_sink: %s\n", std::string(status.message()).c_str());
  return exit_status;
}

// The listening sockets: for each thread one for each address. A local socket has one descriptor, which all
// threads use.
struct Listeners {
  std::vector<net::SocketAddress> addresses;
  std::vector<core::UniqueFd> owned;
  std::vector<std::vector<int>> of_thread;
};

absl::StatusOr<Listeners> OpenListeners(const SinkSettings& settings) {
  const absl::StatusOr<net::Endpoint> endpoint = ParseEndpointAnyPort(settings.listen);
  if (!endpoint.ok()) return endpoint.status();
  absl::StatusOr<std::vector<net::SocketAddress>> addresses = net::ListenAddresses(*endpoint);
  if (!addresses.ok()) return addresses.status();
  Listeners listeners;
  listeners.addresses = *std::move(addresses);
  listeners.of_thread.resize(settings.threads);
  uint16_t port = 0;  // what the system chose for the first one
  for (net::SocketAddress& address : listeners.addresses) {
    const bool is_path = address.family() == AF_UNIX;
    for (std::vector<int>& fds : listeners.of_thread) {
      if (is_path && &fds != &listeners.of_thread.front()) {
        fds.push_back(listeners.owned.back().get());
        continue;
      }
      if (!is_path && address.port() == 0 && port != 0) address.set_port(port);
      absl::StatusOr<core::UniqueFd> fd = net::OpenListener(address, settings.threads > 1);
      if (!fd.ok()) return fd.status();
      if (!is_path && address.port() == 0) {
        sockaddr_storage bound = {};
        socklen_t bytes = sizeof(bound);
        getsockname(fd->get(), reinterpret_cast<sockaddr*>(&bound), &bytes);
        port = net::SocketAddress::FromRaw(reinterpret_cast<sockaddr*>(&bound), bytes).port();
        address.set_port(port);
      }
      fds.push_back(fd->get());
      listeners.owned.push_back(*std::move(fd));
    }
  }
  return listeners;
}

using Workers = std::vector<std::unique_ptr<SinkWorker>>;

SinkCounters::Values Total(const Workers& workers) {
  SinkCounters::Values total = {};
  for (const auto& worker : workers) {
    const SinkCounters::Values values = worker->counters().Read();
    for (size_t i = 0; i < total.size(); ++i) total[i] += values[i];
  }
  return total;
}

std::string TotalsJson(const SinkCounters::Values& total) {
  const auto at = [&total](SinkCount name) { return total[static_cast<size_t>(name)]; };
  const auto cpu_us = std::chrono::duration_cast<std::chrono::microseconds>(ProcessCpuTime()).count();
  return core::Cat("{\"messages\": ", at(SinkCount::kMessages), ", \"bytes\": ", at(SinkCount::kBytes),
                   ", \"connections\": ", at(SinkCount::kConnections),
                   ", \"rejected\": ", at(SinkCount::kRejected),
                   ", \"rejected_recipients\": ", at(SinkCount::kRejectedRecipients),
                   ", \"lost\": ", at(SinkCount::kLost), ", \"cpu_us\": ", cpu_us, "}\n");
}

int Run(const SinkSettings& settings) {
  const core::UniqueFd signals = OpenSignals();
  RaiseDescriptorLimit();
  SinkRecorder recorder(settings.record_directory);
  const bool recording = !settings.record_directory.empty();
  if (recording) {
    if (const absl::Status status = recorder.Prepare(); !status.ok()) return Fail(status, 1);
  }
  const absl::StatusOr<Listeners> listeners = OpenListeners(settings);
  if (!listeners.ok()) return Fail(listeners.status(), 1);

  const std::string ehlo_reply = MakeEhloReply(settings);
  Workers workers;
  absl::Status status;
  for (uint64_t i = 0; i < settings.threads && status.ok(); ++i) {
    SinkWorker::Options options;
    options.index = i;
    options.listen_fds = listeners->of_thread[i];
    options.settings = &settings;
    options.ehlo_reply = &ehlo_reply;
    options.recorder = recording ? &recorder : nullptr;
    auto worker = std::make_unique<SinkWorker>(std::move(options));
    status = worker->Start();
    if (status.ok()) workers.push_back(std::move(worker));
  }
  if (status.ok()) {
    for (const net::SocketAddress& address : listeners->addresses) {
      std::printf("listening on %s\n", address.ToString().c_str());
    }
    std::fflush(stdout);
    core::MonoTime next = std::chrono::steady_clock::now();
    do {
      next = settings.count ? next + std::chrono::seconds(1) : core::kNever;
      if (settings.count) std::fputs(TotalsJson(Total(workers)).c_str(), stderr);
    } while (!AwaitReadable(signals.get(), -1, next));
  }
  for (const auto& worker : workers) worker->Stop();
  for (const auto& worker : workers) worker->Join();
  for (const net::SocketAddress& address : listeners->addresses) {
    if (address.family() == AF_UNIX) unlink(address.Host().c_str());
  }
  if (!status.ok()) return Fail(status, 1);
  std::fputs(TotalsJson(Total(workers)).c_str(), stdout);
  return std::fflush(stdout) == 0 ? 0 : 1;
}

int Main(const std::vector<std::string_view>& arguments) {
  SinkSettings settings;
  std::vector<std::string_view> operands;
  if (const absl::Status status = ParseArguments(kSinkOptions, std::span(arguments), settings, operands);
      !status.ok()) {
    return Fail(status, 2);
  }
  if (settings.help) {
    std::printf("%s%s", std::string(kUsage).c_str(), OptionsHelp(kSinkOptions).c_str());
    return 0;
  }
  if (!operands.empty()) {
    return Fail(absl::InvalidArgumentError(core::Cat("'", operands.front(), "' is no option; see --help")),
                2);
  }
  if (settings.listen.empty()) return Fail(absl::InvalidArgumentError("--listen is missing; see --help"), 2);
  return Run(settings);
}

}  // namespace
}  // namespace bivalve::tools

int main(int argc, char** argv) {
  return bivalve::tools::Main(std::vector<std::string_view>(argv + 1, argv + argc));
}
