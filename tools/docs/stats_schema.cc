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
      {"up", Of("boolean", "Whether it answers at least one worker.")},
      {"circuit", OneOf({"open", "half-open", "closed"}, families::kScannerCircuit.help)},
      {"canary", OneOf({"off", "pending", "found", "missed", "error"}, families::kScannerCanary.help)},
      {"version", Text("What it answered to VERSION last; empty: not known.")},
      {"own_user", Of("boolean", "Whether it runs as this program's own user, and so can change messages.")},
      {"limits", Object({{"known", Of("boolean",
                                      "Whether they are known from its clamd.conf; else its OK for a large "
                                      "message is believed once it has found a test message of that size.")},
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
                 {"client", Text("Whose connection it was.")}});
}

std::string Print(const Json& json) { return json.dump(2) + "\n"; }

}  // namespace

std::string StatsSchema() {
  Json members = {
      {"program", OneOf({"bivalved", "clamsmtpd"}, "The name that it was started under.")},
      {"version", Text("Its version.")},
      {"pid", Count("Its process.")},
      {"started", Number(families::kStartTime.help)},
      {"uptime_seconds", Number("Seconds since then.")},
      {"workers", Count(families::kWorkers.help)},
      {"accounting_violations", Count(families::kViolations.help)},
      {"reload", Object({{"count", Count(families::kReloads.help)},
                         {"failed", Count(families::kReloadsFailed.help)},
                         {"last_error", Text("Why it was not taken the last time; empty: it was.")},
                         {"time", Count(families::kReloadTime.help)}})},
      {"restart", Object({{"generation", Count(families::kGeneration.help)},
                          {"failed", Count(families::kRestartsFailed.help)},
                          {"last_error", Text("Why the last process that was to take over did not.")}})},
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
                        {"additionalProperties", Count("How often it was found.")}};
  members["viruses_recent"] = ListOf(RecentVirusSchema(), "The infected messages of late, newest first.");
  members["viruses_recent"]["maxItems"] = RecentViruses::kKept;
  members["process"] = Object({{"start_time_seconds", Number(families::kProcessStart.help)},
                               {"cpu_seconds", Number(families::kProcessCpu.help)},
                               {"resident_memory_bytes", Count(families::kProcessResident.help)},
                               {"virtual_memory_bytes", Count(families::kProcessVirtual.help)},
                               {"open_fds", Count(families::kProcessFds.help)},
                               {"max_fds", Count(families::kProcessFdsMax.help)}});
  Json worker = Json::object();
  for (const auto& [name, group] : groups.items()) worker[name] = Object(group);
  members["per_worker"] = ListOf(Object(std::move(worker)), "The same counts of each worker, by its number.");

  Json schema =
      Head("/stats",
           "The counters since the start. While the process lives they only grow, except the percentiles "
           "and those whose description says that they fall. received = in_progress + delivered + refused + "
           "dropped + "
           "bounced + tempfailed + rejected + lost, at every moment.");
  schema.update(Object(std::move(members)));
  schema["$defs"]["durations"] = Object({{"count", Count("How many.")},
                                         {"sum", Count("Microseconds, all together.")},
                                         {"mean", Count("Microseconds.")},
                                         {"p50", Count("Microseconds that half of them do not exceed.")},
                                         {"p90", Count("Microseconds that 90 % of them do not exceed.")},
                                         {"p99", Count("Microseconds that 99 % of them do not exceed.")},
                                         {"max", Count("Microseconds; the longest.")}});
  // Optional.
  schema["$defs"]["durations"]["properties"]["buckets"] =
      ListOf(ListOf(Of("integer", "Microseconds from which on it counts, and how many."), "One bucket."),
             "With ?buckets=1: those that are not empty. Each ends where the next of the 464 begins.");
  return Print(schema);
}

std::string SessionsSchema() {
  Json session = Object({
      {"id", Text("The session's number, as in the log.")},
      {"worker", Count("Whose it is.")},
      {"client", Text("The client's address.")},
      {"helo", Text("What the client called itself; empty: it has not said.")},
      {"phase",
       OneOf(kSessionPhaseNames,
             "What it does: start (before the greeting), command (waits for the client), server (waits "
             "for the server's replies to commands), room (waits for memory), receive (mail data), wait "
             "(in line for a scanner), scan, deliver, end.")},
      {"age_seconds", Number("Since it was accepted.")},
      {"phase_seconds", Number("Since the phase began.")},
      {"messages", Count("Complete messages received in it.")},
      {"bytes", Count("Content of these, and of the one that is being received.")},
      {"from", Text("The reverse-path of the open transaction, <> for the null one; empty: none is open.")},
      {"scanner", Text("Who scans, in the phase scan; else empty.")},
  });
  Json schema = Head("/sessions", "What goes on now. The query limit=N asks for another number than 100.");
  schema.update(
      Object({{"total", Count("Sessions that are open.")},
              {"shown", Count("How many of them follow.")},
              {"silent_workers", Count("Workers that did not answer within a second; theirs are missing.")},
              {"sessions", ListOf(std::move(session), "Those that last longest, longest first.")}}));
  return Print(schema);
}

}  // namespace bivalve::appliance
