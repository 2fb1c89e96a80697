#include <benchmark/benchmark.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "core/fd.h"
#include "core/loop.h"
#include "core/ring.h"
#include "net/delivery.h"
#include "net/smtp_reply.h"
#include "tests/core/run_task.h"

namespace {

using namespace bivalve;

constexpr size_t kWireBytes = size_t{20} << 20;

void Say(int fd, std::string_view text) {
  if (send(fd, text.data(), text.size(), MSG_NOSIGNAL) < 0) std::abort();
}

// A server that takes `deliveries` messages by DATA. It has its own thread, so its CPU time is not counted.
void Serve(int fd, size_t deliveries) {
  std::string room(size_t{1} << 20, '\0');
  for (; deliveries > 0; --deliveries) {
    if (recv(fd, room.data(), room.size(), 0) <= 0) return;
    Say(fd, "354 go ahead\r\n");
    std::string end;
    while (!end.ends_with("\r\n.\r\n")) {
      const ssize_t got = recv(fd, room.data(), room.size(), 0);
      if (got <= 0) return;
      end.append(room.data(), static_cast<size_t>(got));
      if (end.size() > 5) end.erase(0, end.size() - 5);
    }
    Say(fd, "250 taken\r\n");
  }
}

// What does a worker spend on 20 MB for a server without CHUNKING if all lines are `line`? Lines that begin
// with a dot may cost three times as much as plain ones.
void Deliver(benchmark::State& state, const std::string& line) {
  std::string content;
  while (content.size() < kWireBytes) content += line;
  int fds[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) std::abort();
  auto ring = core::Ring::Open({}).value();
  core::Loop loop(*ring);
  core::Condition wake(loop);
  net::Connection connection(loop, wake, net::kReplyLineBytesMax);
  connection.stream().Adopt(fds[0]);
  const core::UniqueFd peer(fds[1]);
  std::thread server([&peer] { Serve(peer.get(), ~size_t{0}); });
  const net::WholeMessage message{.content = content};
  const net::DeliveryOptions options{.may_need_stuffing = true, .timeout = std::chrono::seconds(60)};
  for (auto _ : state) {
    std::string text;
    const net::DeliveryResult result =
        core::RunTask(loop, net::Deliver(connection, wake, message, options, text));
    if (result.code != 250) std::abort();
  }
  core::RunTask(loop, connection.stream().Close());
  server.join();
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(content.size()));
}
BENCHMARK_CAPTURE(Deliver, plain_lines, std::string(70, 'x') + "\r\n");
BENCHMARK_CAPTURE(Deliver, dots_alone, "..\r\n");
BENCHMARK_CAPTURE(Deliver, dots_behind_bare_lf, ".\n");
BENCHMARK_CAPTURE(Deliver, dotted_lines, "." + std::string(70, 'x') + "\r\n");
// Lines of a length at which they are just copied, and lines that are sent in place.
BENCHMARK_CAPTURE(Deliver, dotted_lines_of_500, "." + std::string(500, 'x') + "\r\n");
BENCHMARK_CAPTURE(Deliver, dotted_lines_of_600, "." + std::string(600, 'x') + "\r\n");

}  // namespace
