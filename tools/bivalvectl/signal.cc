// reload and restart: a signal to the daemon on this machine, and what came of it.
#include <signal.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include "core/text.h"
#include "tools/bivalvectl/command.h"
#include "tools/bivalvectl/daemon_client.h"
#include "tools/bivalvectl/output.h"

namespace bivalve::ctl {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLookInterval{50};

std::string Message(const absl::Status& status) { return std::string(status.message()); }

// The process of the daemon that answers at `address`: its own word, which is worth something only on this
// machine, and only when the process of that number is one.
absl::StatusOr<pid_t> DaemonPid(const net::SocketAddress& address, const Json& stats) {
  if (!address.is_loopback()) {
    return absl::FailedPreconditionError(core::Cat(
        "the daemon at ", address.ToString(), " may be on another machine; signals reach only this one"));
  }
  const auto pid = static_cast<pid_t>(CountOf(stats, "pid"));
  std::ifstream file(core::Cat("/proc/", pid, "/comm"));
  std::string name;
  std::getline(file, name);
  if (pid <= 1 || (name != "bivalved" && name != "clamsmtpd")) {
    return absl::FailedPreconditionError(core::Cat("the daemon says that it is process ", pid,
                                                   ", and there is no bivalved of that number here"));
  }
  return pid;
}

// What the statistics say, while a process may be on its way out and the next one on its way in.
struct Outcome {
  enum class Kind : uint8_t { kPending, kDone, kFailed };
  Kind kind = Kind::kPending;
  std::string text = {};
};

Outcome ReloadOutcome(const Json& before, const Json& now) {
  const Json& was = MemberOf(before, "reload");
  const Json& is = MemberOf(now, "reload");
  if (CountOf(is, "failed") > CountOf(was, "failed"))
    return {.kind = Outcome::Kind::kFailed, .text = TextOf(is, "last_error")};
  if (CountOf(is, "count") > CountOf(was, "count"))
    return {.kind = Outcome::Kind::kDone, .text = "the configuration was read again"};
  if (CountOf(now, "pid") != CountOf(before, "pid"))
    return {.kind = Outcome::Kind::kFailed, .text = "the daemon was replaced by another one meanwhile"};
  return {};
}

Outcome RestartOutcome(const Json& before, const Json& now) {
  if (const uint64_t pid = CountOf(now, "pid"); pid != CountOf(before, "pid")) {
    return {.kind = Outcome::Kind::kDone,
            .text = core::Cat("process ", pid, " has taken over from ", CountOf(before, "pid"))};
  }
  const Json& was = MemberOf(before, "restart");
  const Json& is = MemberOf(now, "restart");
  if (CountOf(is, "failed") > CountOf(was, "failed"))
    return {.kind = Outcome::Kind::kFailed, .text = TextOf(is, "last_error")};
  return {};
}

int SignalAndWait(const Invocation& invocation, int number, const char* member,
                  Outcome (*outcome_of)(const Json& before, const Json& now)) {
  const absl::StatusOr<double> wait = invocation.Number("--wait", 60, 0.1, 86400);
  if (!wait.ok()) return Fail(kExitUsage, Message(wait.status()));
  const auto address = StatsAddress(invocation);
  if (!address.ok()) return Fail(kExitUsage, Message(address.status()));
  const absl::StatusOr<Json> before = GetJson(*address, "/stats");
  if (!before.ok()) return Fail(kExitFailed, Message(before.status()));
  if (!MemberOf(*before, member).is_object())
    return Fail(kExitFailed,
                core::Cat("this daemon is too old to tell what came of a ", std::string_view(member)));
  const absl::StatusOr<pid_t> pid = DaemonPid(*address, *before);
  if (!pid.ok()) return Fail(kExitFailed, Message(pid.status()));
  if (kill(*pid, number) != 0) {
    return Fail(kExitFailed,
                core::Cat("cannot signal process ", *pid, ": ", std::string_view(std::strerror(errno))));
  }
  const Clock::time_point deadline =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(*wait));
  std::string silence;
  while (Clock::now() < deadline) {
    const absl::StatusOr<Json> now = GetJson(*address, "/stats");
    // Between two processes nobody may answer for a moment.
    silence = now.ok() ? "" : Message(now.status());
    const Outcome outcome = now.ok() ? outcome_of(*before, *now) : Outcome{};
    if (outcome.kind == Outcome::Kind::kDone) {
      std::printf("%s\n", outcome.text.c_str());
      return kExitOk;
    }
    if (outcome.kind == Outcome::Kind::kFailed)
      return Fail(kExitFailed, core::Cat("the ", std::string_view(member), " has failed: ", outcome.text));
    std::this_thread::sleep_for(kLookInterval);
  }
  return Fail(kExitFailed, silence.empty()
                               ? core::Cat("nothing has come of the ", std::string_view(member), " yet")
                               : silence);
}

}  // namespace

int RunReload(const Invocation& invocation) {
  return SignalAndWait(invocation, SIGHUP, "reload", ReloadOutcome);
}
int RunRestart(const Invocation& invocation) {
  return SignalAndWait(invocation, SIGUSR2, "restart", RestartOutcome);
}

}  // namespace bivalve::ctl
