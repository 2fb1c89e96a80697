// sessions: what is going on now, longest first.
#include <cstdio>
#include <string>
#include <vector>

#include "core/text.h"
#include "tools/bivalvectl/command.h"
#include "tools/bivalvectl/daemon_client.h"
#include "tools/bivalvectl/output.h"

namespace bivalve::ctl {
namespace {

std::string SessionsText(const Json& answer, size_t width) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& one : MemberOf(answer, "sessions")) {
    rows.push_back({TextOf(one, "id"), TextOf(one, "client"), TextOf(one, "phase"),
                    ShortTime(NumberOf(one, "age_seconds")), ShortTime(NumberOf(one, "phase_seconds")),
                    core::Cat(CountOf(one, "messages")), ShortBytes(CountOf(one, "bytes")),
                    core::Cat(CountOf(one, "worker")), TextOf(one, "from"), TextOf(one, "helo"),
                    TextOf(one, "scanner")});
  }
  std::string out = Table({{"SESSION"},
                           {"CLIENT"},
                           {"PHASE"},
                           {"AGE", true},
                           {"IN PHASE", true},
                           {"MSGS", true},
                           {"BYTES", true},
                           {"WORKER", true},
                           {"FROM", false, true},
                           {"HELO", false, true},
                           {"SCANNER", false, true}},
                          rows, width);
  const uint64_t total = CountOf(answer, "total");
  if (total > rows.size()) core::Append(out, rows.size(), " of ", total, " sessions\n");
  if (const uint64_t silent = CountOf(answer, "silent_workers"); silent > 0)
    core::Append(out, silent, " workers did not answer in time\n");
  return out;
}

}  // namespace

int RunSessions(const Invocation& invocation) {
  const absl::StatusOr<double> limit = invocation.Number("--limit", 50, 1, 1000);
  if (!limit.ok()) return Fail(kExitUsage, std::string(limit.status().message()));
  const auto address = StatsAddress(invocation);
  if (!address.ok()) return Fail(kExitUsage, std::string(address.status().message()));
  const absl::StatusOr<Json> answer =
      GetJson(*address, core::Cat("/sessions?limit=", static_cast<uint64_t>(*limit)));
  if (!answer.ok()) return Fail(kExitFailed, std::string(answer.status().message()));
  if (invocation.Has("--json")) {
    std::fputs(JsonText(*answer).c_str(), stdout);
  } else {
    std::fputs(SessionsText(*answer, OutputWidth()).c_str(), stdout);
  }
  return kExitOk;
}

}  // namespace bivalve::ctl
