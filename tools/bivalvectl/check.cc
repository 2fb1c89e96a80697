// check: the configuration, and whether it fits its neighbours.
#include <algorithm>
#include <cstdio>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "appliance/process/config_check.h"
#include "appliance/settings/command_line.h"
#include "appliance/settings/config_file.h"
#include "core/text.h"
#include "scan/clamd_conf.h"
#include "tools/bivalvectl/command.h"
#include "tools/bivalvectl/daemon_client.h"
#include "tools/bivalvectl/lint.h"
#include "tools/bivalvectl/output.h"
#include "tools/bivalvectl/postfix_conf.h"

namespace bivalve::ctl {
namespace {

using appliance::Problem;

constexpr std::string_view kMainCf = "/etc/postfix/main.cf";

// Problems, and what else there is to say.
struct Findings {
  std::vector<Problem> problems;
  std::vector<std::string> notes;

  void Add(std::vector<Problem> more) { std::ranges::move(more, std::back_inserter(problems)); }
};

// The clamd.conf of the scanner at `address`; a note when there is none.
std::optional<scan::FoundClamdConf> ClamdConfOf(const net::SocketAddress* address, const std::string& shown,
                                                Findings& findings) {
  std::optional<scan::FoundClamdConf> found;
  if (address != nullptr && address->family() == AF_UNIX) found = scan::FindClamdConf(address->ToString(), 0);
  if (address != nullptr && address->family() != AF_UNIX && address->is_loopback())
    found = scan::FindClamdConf("", address->port());
  if (!found.has_value()) {
    const bool local = address != nullptr && address->is_loopback();
    findings.notes.push_back(
        core::Cat("the scanner ", shown, " was not looked at: ",
                  local ? "no clamd.conf says that it listens there" : "it is on another machine",
                  "; --clamd-conf names its file. bivalved does not know its limits either, and believes its "
                  "OK for a large message once it has found a test message of that size"));
  }
  return found;
}

void CheckScanners(const Invocation& invocation, const appliance::Config& config, Findings& findings) {
  std::optional<scan::FoundClamdConf> given;
  if (invocation.Has("--clamd-conf")) {
    const std::string path = invocation.Value("--clamd-conf");
    const std::optional<std::string> text = scan::ReadClamdConf(path);
    if (!text.has_value()) {
      findings.problems.push_back({.file = path, .setting = "--clamd-conf", .text = "cannot be read"});
      return;
    }
    given = {.path = path, .conf = scan::ParseClamdConf(*text)};
  }
  std::map<std::string, bool> seen;  // a file that two scanners share is judged once for each way
  for (const net::Endpoint& endpoint : config.clam_address) {
    const auto* address = std::get_if<net::SocketAddress>(&endpoint);
    const std::string shown = net::ToString(endpoint);
    const auto conf = given.has_value() ? given : ClamdConfOf(address, shown, findings);
    if (!conf.has_value()) continue;
    const bool local = address != nullptr && address->family() == AF_UNIX;
    const ScannerNeighbour scanner{
        .address = shown,
        .by_stream = !local || config.clam_method == appliance::ClamMethod::kInstream,
        .path = conf->path,
        .conf = conf->conf};
    if (!seen.emplace(core::Cat(conf->path, scanner.by_stream ? " stream" : ""), true).second) continue;
    findings.Add(LintClamd(config, appliance::WorkersOf(config), scanner));
    findings.notes.push_back(core::Cat("compared with ", Printable(conf->path), " for ", shown));
  }
}

void CheckPostfix(const Invocation& invocation, const appliance::Config& config, Findings& findings) {
  const bool given = invocation.Has("--postfix-main-cf");
  const std::string path = given ? invocation.Value("--postfix-main-cf") : std::string(kMainCf);
  const absl::StatusOr<std::string> main_cf = appliance::ReadConfigFile(path);
  if (!main_cf.ok()) {
    if (given)
      findings.problems.push_back({.file = path, .setting = "--postfix-main-cf", .text = "cannot be read"});
    return;
  }
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash);
  const absl::StatusOr<std::string> master_cf = appliance::ReadConfigFile(core::Cat(directory, "/master.cf"));
  const PostfixConf postfix = PostfixConf::Parse(*main_cf, master_cf.ok() ? *master_cf : std::string());
  findings.Add(LintPostfix(config, postfix, directory));
  findings.notes.push_back(core::Cat("compared with ", Printable(path),
                                     master_cf.ok() ? " and its master.cf" : ", without a master.cf"));
}

Json ProblemJson(const Problem& problem) {
  return {{"kind", problem.kind == Problem::Kind::kError ? "error" : "warning"},
          {"file", problem.file},
          {"line", problem.line},
          {"setting", problem.setting},
          {"text", problem.text}};
}

}  // namespace

int RunCheck(const Invocation& invocation) {
  const std::string file = ConfigFile(invocation);
  const absl::StatusOr<std::string> text = appliance::ReadConfigFile(file);
  if (!text.ok()) return Fail(kExitUsage, std::string(text.status().message()));
  appliance::Parsed parsed = appliance::ParseConfig(*text, file, appliance::ProgramName::kBivalved);
  Findings findings;
  if (parsed.ok()) {
    findings.Add(appliance::CheckSurroundings(parsed, file));
    CheckScanners(invocation, parsed.config, findings);
    CheckPostfix(invocation, parsed.config, findings);
  }
  findings.problems.insert(findings.problems.begin(), parsed.problems.begin(), parsed.problems.end());
  const auto errors =
      static_cast<size_t>(std::ranges::count(findings.problems, Problem::Kind::kError, &Problem::kind));
  const size_t warnings = findings.problems.size() - errors;
  if (invocation.Has("--json")) {
    Json json = {
        {"errors", errors}, {"warnings", warnings}, {"problems", Json::array()}, {"notes", findings.notes}};
    for (const Problem& problem : findings.problems) json["problems"].push_back(ProblemJson(problem));
    std::fputs(JsonText(json).c_str(), stdout);
  } else {
    std::string out;
    for (const Problem& problem : findings.problems) {
      core::Append(out, problem.kind == Problem::Kind::kError ? "error: " : "warning: ", ToString(problem),
                   '\n');
    }
    for (const std::string& note : findings.notes) core::Append(out, "note: ", note, '\n');
    core::Append(out, errors, errors == 1 ? " error, " : " errors, ", warnings,
                 warnings == 1 ? " warning\n" : " warnings\n");
    std::fputs(PrintableLines(out).c_str(), stdout);
  }
  if (errors > 0) return kExitUsage;
  return warnings > 0 ? kExitFailed : kExitOk;
}

}  // namespace bivalve::ctl
