// top: a daemon's figures as they change, on a terminal or line by line.
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <thread>

#include "core/text.h"
#include "tools/bivalvectl/command.h"
#include "tools/bivalvectl/daemon_client.h"
#include "tools/bivalvectl/output.h"
#include "tools/bivalvectl/terminal.h"
#include "tools/bivalvectl/top_view.h"

namespace bivalve::ctl {
namespace {

// As many sessions as are asked for and counted by phase.
constexpr std::string_view kSessionsPath = "/sessions?limit=1000";

// With histograms, for the percentiles between two looks.
constexpr std::string_view kStatsPath = "/stats?buckets=1";

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

absl::StatusOr<TopSample> Look(const net::SocketAddress& address, bool with_sessions) {
  absl::StatusOr<Json> stats = GetJson(address, kStatsPath);
  if (!stats.ok()) return stats.status();
  TopSample sample;
  sample.time = Now();
  sample.unix_time =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  sample.stats = *std::move(stats);
  if (!with_sessions) return sample;
  // An older daemon has no such list.
  absl::StatusOr<Json> sessions = GetJson(address, kSessionsPath);
  if (sessions.ok()) sample.sessions = *std::move(sessions);
  return sample;
}

int LogLines(const net::SocketAddress& address, double interval, uint64_t count) {
  std::optional<TopSample> before;
  int status = kExitOk;
  double next = Now();
  for (uint64_t shown = 0; count == 0 || shown < count; ++shown) {
    absl::StatusOr<TopSample> sample = Look(address, false);
    if (sample.ok()) {
      std::printf("%s\n", TopLogLine(before, *sample).c_str());
      before = *std::move(sample);
      status = kExitOk;
    } else {
      status = Fail(kExitFailed, std::string(sample.status().message()));
      before.reset();
      if (shown == 0) return status;
    }
    // Whoever reads it wants it now, or is gone.
    if (std::fflush(stdout) != 0) return kExitFailed;
    next += interval;
    const double wait = next - Now();
    if (wait > 0 && shown + 1 != count) std::this_thread::sleep_for(std::chrono::duration<double>(wait));
    if (wait < 0) next = Now();
  }
  return status;
}

// What a key changes; false: nothing that is known.
bool Choose(char key, TopChoices& choices) {
  if (key == 's') {
    choices.order = Next(choices.order);
  } else if (key == 'r') {
    choices.reverse = !choices.reverse;
  } else if (key == 'v') {
    choices.viruses_by_time = !choices.viruses_by_time;
  } else {
    return false;
  }
  return true;
}

int OnTerminal(const net::SocketAddress& address, double interval, uint64_t count) {
  absl::StatusOr<TopSample> first = Look(address, true);
  if (!first.ok()) return Fail(kExitFailed, std::string(first.status().message()));
  std::optional<TopSample> before;
  TopSample now = *std::move(first);
  TopChoices choices;
  std::string trouble;
  Terminal terminal;
  double next = Now() + interval;
  for (uint64_t shown = 1;;) {
    const Terminal::Size size = Terminal::CurrentSize();
    terminal.Draw(TopScreen(before, now, choices, trouble, size.columns, size.rows));
    char key = '\0';
    bool look = false;
    switch (terminal.Wait(next - Now(), key)) {
      case Terminal::Event::kResize:
        continue;
      case Terminal::Event::kKey:
        if (key == 'q' || key == 'Q') return kExitOk;
        (void)Choose(key, choices);
        look = key == ' ';
        break;
      case Terminal::Event::kTime:
        look = Now() >= next;
        break;
    }
    if (!look) continue;
    if (shown++ == count) return trouble.empty() ? kExitOk : kExitFailed;
    absl::StatusOr<TopSample> sample = Look(address, true);
    if (sample.ok()) {
      before = std::move(now);
      now = *std::move(sample);
      trouble.clear();
    } else {
      trouble = std::string(sample.status().message());
    }
    next = Now() + interval;
  }
}

}  // namespace

int RunTop(const Invocation& invocation) {
  const absl::StatusOr<double> interval = invocation.Number("--interval", 1, 0.1, 86400);
  if (!interval.ok()) return Fail(kExitUsage, std::string(interval.status().message()));
  const absl::StatusOr<double> count = invocation.Number("--count", 0, 1, 1e9);
  if (!count.ok()) return Fail(kExitUsage, std::string(count.status().message()));
  const auto address = StatsAddress(invocation);
  if (!address.ok()) return Fail(kExitUsage, std::string(address.status().message()));
  const auto times = static_cast<uint64_t>(*count);
  return Terminal::Usable() ? OnTerminal(*address, *interval, times) : LogLines(*address, *interval, times);
}

}  // namespace bivalve::ctl
