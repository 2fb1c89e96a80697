// stats and ready: the counters as they stand, and whether mail is accepted.
#include <cstdio>
#include <string>

#include "core/text.h"
#include "tools/bivalvectl/command.h"
#include "tools/bivalvectl/daemon_client.h"
#include "tools/bivalvectl/output.h"

namespace bivalve::ctl {
namespace {

// A column of names, which are cut on a terminal only: elsewhere a program may read them.
std::string Name(const std::string& name) {
  constexpr size_t kColumns = 24;
  std::string text = Printable(name);
  return OutputWidth() == 0 && Columns(text) > kColumns ? text : Fitted(text, kColumns);
}

void AppendRow(std::string& out, const std::string& name, const Json& value) {
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  core::Append(out, "  ", Name(name), ' ',
               Fitted(Printable(text), std::max<size_t>(14, Columns(Printable(text))), true), '\n');
}

void AppendLatency(std::string& out, const std::string& name, const Json& h) {
  char line[200];
  std::snprintf(line, sizeof(line), "%14lu  p50 %8lu us  p90 %8lu us  p99 %8lu us  max %8lu us\n",
                CountOf(h, "count"), CountOf(h, "p50"), CountOf(h, "p90"), CountOf(h, "p99"),
                CountOf(h, "max"));
  core::Append(out, "  ", Name(name), ' ', std::string_view(line));
}

void AppendMembers(std::string& out, const Json& members) {
  for (const auto& [name, value] : members.items()) {
    if (value.is_object()) {
      AppendLatency(out, name, value);
    } else if (!value.is_array() && name != "address") {
      AppendRow(out, name, value);
    }
  }
}

// Groups of numbers as they come, so that a counter that is added to the daemon's table shows here too.
std::string StatsText(const Json& stats) {
  std::string out =
      core::Cat(Printable(TextOf(stats, "program")), ' ', Printable(TextOf(stats, "version")), ", pid ",
                CountOf(stats, "pid"), ", up ", ShortTime(NumberOf(stats, "uptime_seconds")), ", ",
                CountOf(stats, "workers"), " workers\n");
  for (const auto& [group, members] : stats.items()) {
    if (!members.is_object() || members.empty()) continue;
    core::Append(out, '\n', Printable(group), '\n');
    AppendMembers(out, members);
  }
  for (const Json& scanner : MemberOf(stats, "scanners")) {
    core::Append(out, "\nscanner ", Printable(TextOf(scanner, "address")), '\n');
    AppendMembers(out, scanner);
  }
  return out;
}

}  // namespace

int RunStats(const Invocation& invocation) {
  const auto address = StatsAddress(invocation);
  if (!address.ok()) return Fail(kExitUsage, std::string(address.status().message()));
  const absl::StatusOr<Json> stats = GetJson(*address, "/stats");
  if (!stats.ok()) return Fail(kExitFailed, std::string(stats.status().message()));
  std::fputs((invocation.Has("--json") ? JsonText(*stats) : StatsText(*stats)).c_str(), stdout);
  return kExitOk;
}

int RunReady(const Invocation& invocation) {
  const auto address = StatsAddress(invocation);
  if (!address.ok()) return Fail(kExitUsage, std::string(address.status().message()));
  const absl::StatusOr<Answer> answer = Get(*address, "/readyz");
  if (!answer.ok()) return Fail(kExitFailed, std::string(answer.status().message()));
  std::fputs(PrintableLines(answer->body).c_str(), stdout);
  return answer->status == 200 ? kExitOk : kExitFailed;
}

}  // namespace bivalve::ctl
