#include "tools/docs/stats_schema.h"

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "appliance/stats/metrics.h"
#include "appliance/stats/recent_viruses.h"
#include "appliance/worker/session_info.h"

namespace bivalve::appliance {
namespace {

using Json = nlohmann::ordered_json;

Json Of(std::string_view type, std::string_view description) {
  Json schema = {{"type", type}};
  if (type == "integer" || type == "number") schema["minimum"] = 0;
  schema["description"] = description;
  return schema;
}
Json Count(std::string_view description) { return Of("integer", description); }
Json Number(std::string_view description) { return Of("number", description); }
Json Text(std::string_view description) { return Of("string", description); }
Json OneOf(Json values, std::string_view description) {
  Json schema = Of("string", description);
  schema["enum"] = std::move(values);
  return schema;
}
Json Ref(std::string_view name) { return {{"$ref", "#/$defs/" + std::string(name)}}; }

// An object in which every member is required and no others are allowed.
Json Object(Json properties) {
  Json required = Json::array();
  for (const auto& [name, schema] : properties.items()) required.push_back(name);
  return {{"type", "object"},
          {"properties", std::move(properties)},
          {"required", std::move(required)},
          {"additionalProperties", false}};
}
Json ListOf(Json items, std::string_view description) {
  return {{"type", "array"}, {"description", description}, {"items", std::move(items)}};
}

Json Head(std::string_view path, std::string_view description) {
  return {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
          {"title", "GET " + std::string(path) + " of bivalved"},
          {"description", description}};
}

// The rows of the table, as members of their groups.
Json Groups() {
  Json groups = Json::object();
  for (const MetricInfo& metric : kMetrics) {
    groups[std::string(metric.group)][std::string(metric.name)] =
        Count(std::string(metric.help) + (metric.kind == MetricKind::kGauge ? " May fall." : ""));
  }
  return groups;
}

Json Scanner() {
  Json members = {
      {"address", Text("As configured.")},
      {"up", Of("boolean", "Whether the scanner answers at least one worker.")},
      {"circuit", OneOf({"open", "half-open", "closed"}, families::kScannerCircuit.help)},
      {"canary", OneOf({"off", "pending", "found", "missed", "error"}, families::kScannerCanary.help)},
      {"version", Text("Its last answer to VERSION; empty: not known.")},
      {"own_user",
       Of("boolean", "Whether the scanner runs as this program's own user, and so can change messages.")},
      {"limits",
       Object({{"known", Of("boolean",
                            "Whether they are known from its clamd.conf; otherwise its OK for a large "
                            "message is trusted only after it has found a test message of that size.")},
               {"file_bytes", Count("MaxFileSize; 0: not known, or none.")},
               {"scan_bytes", Count("MaxScanSize; 0: not known, or none.")},
               {"stream_bytes", Count("StreamMaxLength; 0: not known, or none.")},
               {"scan_seconds", Number("MaxScanTime; 0: not known, or none.")},
               {"queue", Count("MaxQueue; 0: not known.")}})},
  };
  for (const ScannerMetricInfo& metric : kScannerMetrics) {
    members[std::string(metric.name)] =
        Count(std::string(metric.help) + (metric.kind == MetricKind::kGauge ? " May fall." : ""));
  }
  members["limits"]["description"] = "The scanner's own limits.";
  members["latency_us"] = Ref("durations");
  return Object(std::move(members));
}

Json RecentVirusSchema() {
  return Object({{"name", Text("The signature's name.")},
                 {"time", Number("Seconds since 1970.")},
                 {"session", Text("The session's number, as in the log.")},
                 {"client", Text("The client's address.")}});
}

std::string Print(const Json& json) { return json.dump(2) + "\n"; }

}  // namespace

std::string StatsSchema() {
  Json members = {
      {"program", OneOf({"bivalved", "clamsmtpd"}, "The name that the program was started with.")},
      {"version", Text("Its version.")},
      {"pid", Count("Its process number.")},
      {"started", Number(families::kStartTime.help)},
      {"uptime_seconds", Number("Seconds since `started`.")},
      {"workers", Count(families::kWorkers.help)},
      {"accounting_violations", Count(families::kViolations.help)},
      {"reload",
       Object({{"count", Count(families::kReloads.help)},
               {"failed", Count(families::kReloadsFailed.help)},
               {"last_error", Text("Why the last reading was not accepted; empty: it was accepted.")},
               {"time", Count(families::kReloadTime.help)}})},
      {"restart",
       Object({{"generation", Count(families::kGeneration.help)},
               {"failed", Count(families::kRestartsFailed.help)},
               {"last_error",
                Text("Why the last process that should have taken over did not; empty: none failed.")}})},
  };
  const Json groups = Groups();
  for (const auto& [name, group] : groups.items()) {
    Json all = group;
    if (name == "errors") all["not_kept"] = Count(families::kNotKept.help);
    if (name == "server") all["latency_us"] = Ref("durations");
    members[name] = Object(std::move(all));
  }
  members["scanners"] = ListOf(Scanner(), "In the order of ClamAddress.");
  Json phases = Json::object();
  for (const std::string_view phase : kPhaseNames) phases[std::string(phase)] = Ref("durations");
  members["phases_us"] = Object(std::move(phases));
  members["viruses"] = {{"type", "object"},
                        {"description", families::kViruses.help},
                        {"additionalProperties", Count("How often this signature was found.")}};
  members["viruses_recent"] = ListOf(RecentVirusSchema(), "The last infected messages, newest first.");
  members["viruses_recent"]["maxItems"] = RecentViruses::kKept;
  members["process"] = Object({{"start_time_seconds", Number(families::kProcessStart.help)},
                               {"cpu_seconds", Number(families::kProcessCpu.help)},
                               {"resident_memory_bytes", Count(families::kProcessResident.help)},
                               {"virtual_memory_bytes", Count(families::kProcessVirtual.help)},
                               {"open_fds", Count(families::kProcessFds.help)},
                               {"max_fds", Count(families::kProcessFdsMax.help)}});
  Json worker = Json::object();
  for (const auto& [name, group] : groups.items()) worker[name] = Object(group);
  members["per_worker"] =
      ListOf(Object(std::move(worker)), "The counts of each worker, in the order of the workers' numbers.");

  Json schema = Head(
      "/stats",
      "The counters since the start. While the process lives they only grow, except the percentiles "
      "and those whose description says that they may fall. received = in_progress + delivered + refused + "
      "dropped + bounced + tempfailed + rejected + lost, at every moment.");
  schema.update(Object(std::move(members)));
  schema["$defs"]["durations"] = Object({{"count", Count("The number of durations.")},
                                         {"sum", Count("Microseconds; the sum of all durations.")},
                                         {"mean", Count("Microseconds; the mean.")},
                                         {"p50", Count("Microseconds that half of them do not exceed.")},
                                         {"p90", Count("Microseconds that 90 % of them do not exceed.")},
                                         {"p99", Count("Microseconds that 99 % of them do not exceed.")},
                                         {"max", Count("Microseconds; the longest.")}});
  // Optional.
  schema["$defs"]["durations"]["properties"]["buckets"] = ListOf(
      ListOf(Of("integer", "The lower bound in microseconds, and the number of durations."), "One bucket."),
      "With ?buckets=1: the buckets that are not empty. Each of the 464 buckets ends where the next one "
      "begins.");
  return Print(schema);
}

std::string SessionsSchema() {
  Json session = Object({
      {"id", Text("The session's number, as in the log.")},
      {"worker", Count("The number of its worker.")},
      {"client", Text("The client's address.")},
      {"helo", Text("The client's HELO or EHLO name; empty: not sent yet.")},
      {"phase",
       OneOf(kSessionPhaseNames,
             "What the session does: start (before the greeting), command (waits for the client), server "
             "(waits for the server's replies to commands), room (waits for memory), receive (mail data), "
             "wait (waits for a free scanner), scan, deliver, end.")},
      {"age_seconds", Number("Seconds since the connection was accepted.")},
      {"phase_seconds", Number("Seconds since the phase began.")},
      {"messages", Count("Complete messages received in the session.")},
      {"bytes", Count("Content of these, and of the one that is being received.")},
      {"from", Text("The reverse-path of the open transaction, <> for the null one; empty: none is open.")},
      {"scanner", Text("The scanner, in the phase scan; otherwise empty.")},
  });
  Json schema =
      Head("/sessions",
           "The sessions that are open now. The query limit=N asks for another number of them than 100.");
  schema.update(Object(
      {{"total", Count("The number of open sessions.")},
       {"shown", Count("The number of sessions that follow.")},
       {"silent_workers", Count("Workers that did not answer within a second; their sessions are missing.")},
       {"sessions", ListOf(std::move(session), "The oldest sessions, oldest first.")}}));
  return Print(schema);
}

}  // namespace bivalve::appliance
