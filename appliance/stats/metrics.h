// The one table of what is counted. A row is one metric: its place in the JSON (group and name), its kind and
// its help. /stats with its schema, /metrics and bivalvectl take them from here. Each worker has its own
// counts; totals are computed when they are read. Below it are tables of the same form: what is counted for
// each scanner, and what the program says about itself.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "core/counters.h"
#include "core/histogram.h"
#include "scan/clamd_pool.h"

namespace bivalve::appliance {

enum class MetricKind : uint8_t { kCounter, kGauge, kHistogram };

// clang-format off
#define BIVALVE_METRICS(M)                                                                                             \
  M(kAccepted,        kCounter, "connections",   "accepted",     "Client connections accepted.")                       \
  M(kActive,          kGauge,   "connections",   "active",       "Client connections open now.")                       \
  M(kRefusedBusy,     kCounter, "connections",   "refused_busy", "Client connections answered 421 because there were too many.") \
  M(kReceived,        kCounter, "messages",      "received",     "Complete messages received (end of data seen).")     \
  M(kInProgress,      kGauge,   "messages",      "in_progress",  "Messages received and not yet answered.")            \
  M(kWaiting,         kGauge,   "messages",      "waiting",      "Messages in progress that wait for a scanner.") \
  M(kDelivered,       kCounter, "messages",      "delivered",    "Messages that the server accepted.")                     \
  M(kRefused,         kCounter, "messages",      "refused",      "Messages that the server refused at DATA, BDAT or the end of data.") \
  M(kDropped,         kCounter, "messages",      "dropped",      "Infected messages answered 250 and discarded.")      \
  M(kBounced,         kCounter, "messages",      "bounced",      "Infected messages answered 550.")                    \
  M(kTempfailed,      kCounter, "messages",      "tempfailed",   "Messages that Bivalve answered with a 4xx of its own.") \
  M(kRejected,        kCounter, "messages",      "rejected",     "Messages that Bivalve answered with a 5xx of its own, except infected ones.") \
  M(kLost,            kCounter, "messages",      "lost",         "Messages whose server connection broke before its final reply.") \
  M(kAborted,         kCounter, "messages",      "aborted",      "Messages whose client left before the end of data.") \
  M(kClean,           kCounter, "messages",      "clean",        "Messages that a scanner found clean.")               \
  M(kInfected,        kCounter, "messages",      "infected",     "Messages that a scanner found infected.")            \
  M(kScanFailed,      kCounter, "messages",      "scan_failed",  "Messages without a verdict.")                        \
  M(kPassed,          kCounter, "messages",      "passed",       "Infected messages among the delivered ones.")        \
  M(kBytes,           kCounter, "messages",      "bytes",        "Content bytes of the messages received.")            \
  M(kFailedDown,      kCounter, "scan_failures", "down",         "Messages without a verdict because no scanner answered.") \
  M(kFailedTimeout,   kCounter, "scan_failures", "timeout",      "Messages without a verdict within ClamTimeOut, or whose scan stopped at the scanner's MaxScanTime.") \
  M(kFailedError,     kCounter, "scan_failures", "error",        "Messages that the scanner answered with ERROR or with something not understood.") \
  M(kFailedSize,      kCounter, "scan_failures", "size",         "Messages larger than the scanner takes.")            \
  M(kFailedLimits,    kCounter, "scan_failures", "limits",       "Messages whose scan stopped at one of the scanner's limits.") \
  M(kServerConnects,  kCounter, "server",        "connects",     "Connections made to the server.")                    \
  M(kServerErrors,    kCounter, "server",        "connect_errors", "Connections to the server that failed.")           \
  M(kProtocolErrors,  kCounter, "errors",        "protocol",     "Commands refused because of their form, and sessions ended because of it.") \
  M(kTimeouts,        kCounter, "errors",        "timeouts",     "Sessions ended because a peer was silent for too long.") \
  M(kOutOfRoom,       kCounter, "errors",        "out_of_room",  "Messages answered 452 because there was no room for the body.") \
  M(kRefusedPerClient, kCounter, "connections",  "refused_per_client", "Client connections answered 421 because their client had too many.") \
  M(kNotIntroduced, kCounter, "errors",         "xclient",      "Sessions ended with 421 because the server could not be told who the client is (XClient).") \
  M(kProxyHeaders,   kCounter, "errors",        "proxy_header", "Connections closed because of a missing, wrong or untrusted PROXY header.") \
  M(kLinesTooLong,   kCounter, "errors",        "line_too_long", "Command lines answered 500 because they were too long.") \
  M(kTooManyErrors,  kCounter, "errors",        "too_many_errors", "Sessions ended with 421 after too many errors in a row.") \
  M(kTooManyCommands, kCounter, "errors",       "too_many_commands", "Sessions ended with 421 after too many commands without a message.") \
  M(kTooManyRecipients, kCounter, "errors",     "too_many_recipients", "Recipients answered 452 because their message had too many.") \
  M(kHeaderTooLarge, kCounter, "errors",        "header_too_large", "Messages answered 552 because of their header section.") \
  M(kTooSlow,        kCounter, "errors",        "too_slow",     "Sessions ended with 421 because their message came too slowly.") \
  M(kRoomWaits,      kCounter, "errors",        "room_waits",   "Times that reading stopped until there was room for a message.") \
  M(kAcceptErrors,    kCounter, "errors",        "accept",       "Connections that could not be accepted, for lack of descriptors or memory.") \
  M(kReportsLost,     kCounter, "errors",        "reports",      "Infected messages that were neither kept nor given to VirusAction, because too many waited.") \
  M(kRingFlushes,     kCounter, "ring",          "flushes",      "Times that a worker had more requests for the kernel in one turn than its submission queue holds.") \
  M(kRingOverflows,   kCounter, "ring",          "overflows",    "Turns in which a worker's completion queue was full; the kernel keeps what does not fit.")
// clang-format on

#define BIVALVE_ENUMERATOR(id, kind, group, name, help) id,
enum class Metric : uint8_t { BIVALVE_METRICS(BIVALVE_ENUMERATOR) kCount };
#undef BIVALVE_ENUMERATOR

struct MetricInfo {
  MetricKind kind;
  std::string_view group;
  std::string_view name;
  std::string_view help;
};
#define BIVALVE_INFO(id, kind, group, name, help) MetricInfo{MetricKind::kind, group, name, help},
inline constexpr std::array kMetrics = {BIVALVE_METRICS(BIVALVE_INFO)};
#undef BIVALVE_INFO

using MetricCounters = core::Counters<Metric>;

// A group whose rows are one family in the Prometheus text, told apart by a label, because their sum has a
// meaning. The rows of other groups are families of their own.
struct LabelledGroup {
  std::string_view group;
  std::string_view label;
  std::string_view help;
};
inline constexpr std::array kLabelledGroups = {
    LabelledGroup{"scan_failures", "cause", "Messages without a verdict, by cause."},
};

// What is counted for each scanner, over all workers.
struct ScannerMetricInfo {
  scan::ScannerCount count;
  MetricKind kind;
  std::string_view name;
  std::string_view help;
};
inline constexpr std::array kScannerMetrics = {
    ScannerMetricInfo{scan::ScannerCount::kConnections, MetricKind::kGauge, "connections",
                      "Sessions open with the scanner."},
    ScannerMetricInfo{scan::ScannerCount::kInFlight, MetricKind::kGauge, "in_flight",
                      "Messages that the scanner has now."},
    ScannerMetricInfo{scan::ScannerCount::kGivenUp, MetricKind::kGauge, "given_up",
                      "Abandoned scans that the scanner still runs, as far as is known."},
    ScannerMetricInfo{scan::ScannerCount::kGivenUpSessions, MetricKind::kCounter, "given_up_sessions",
                      "Sessions closed because abandoned scans held their places."},
    ScannerMetricInfo{scan::ScannerCount::kScans, MetricKind::kCounter, "scans",
                      "Messages that the scanner has answered."},
    ScannerMetricInfo{scan::ScannerCount::kErrors, MetricKind::kCounter, "errors",
                      "Answers that were ERROR or not understood, and sessions that broke."},
    ScannerMetricInfo{scan::ScannerCount::kConnects, MetricKind::kCounter, "connects",
                      "Sessions opened with the scanner."},
    ScannerMetricInfo{scan::ScannerCount::kSizeProofs, MetricKind::kCounter, "size_proofs",
                      "Test messages sent because the scanner's limits are not known and it had called a "
                      "message of that size clean."},
    ScannerMetricInfo{scan::ScannerCount::kHedges, MetricKind::kCounter, "hedges",
                      "Messages given to the scanner because another scanner took long."},
};

// A family of the Prometheus text that is not a row above. `json`: the place of the same value in /stats,
// with "/" for a level and "*" for any member.
struct FamilyInfo {
  MetricKind kind;
  std::string_view name;
  std::string_view json;
  std::string_view help;
};
namespace families {
// clang-format off
inline constexpr FamilyInfo kBuildInfo = {MetricKind::kGauge, "bivalve_build_info", "version", "Always 1; the labels say which program this is."};
inline constexpr FamilyInfo kStartTime = {MetricKind::kGauge, "bivalve_start_time_seconds", "started", "When the counting began, in seconds since 1970."};
inline constexpr FamilyInfo kWorkers = {MetricKind::kGauge, "bivalve_workers", "workers", "Event-loop threads."};
inline constexpr FamilyInfo kViolations = {MetricKind::kCounter, "bivalve_accounting_violations_total", "accounting_violations", "Times that the counts of a worker's messages did not add up: a bug, please report it."};
inline constexpr FamilyInfo kNotKept = {MetricKind::kCounter, "bivalve_errors_not_kept_total", "errors/not_kept", "Messages that Quarantine or DebugFiles could not keep."};
inline constexpr FamilyInfo kReloads = {MetricKind::kCounter, "bivalve_reloads_total", "reload/count", "Times that the configuration was read again and took effect."};
inline constexpr FamilyInfo kReloadsFailed = {MetricKind::kCounter, "bivalve_reload_failures_total", "reload/failed", "Times that the configuration was read again and was not accepted."};
inline constexpr FamilyInfo kReloadTime = {MetricKind::kGauge, "bivalve_reload_time_seconds", "reload/time", "When the configuration was last read again, in seconds since 1970; 0: never."};
inline constexpr FamilyInfo kRestartsFailed = {MetricKind::kCounter, "bivalve_restart_failures_total", "restart/failed", "Processes that should have taken over from this one and did not."};
inline constexpr FamilyInfo kGeneration = {MetricKind::kGauge, "bivalve_restart_generation", "restart/generation", "The number of this process in the line of hot restarts; 1: the first."};
inline constexpr FamilyInfo kViruses = {MetricKind::kCounter, "bivalve_viruses_total", "viruses/*", "Infected messages, by signature name; names beyond the hundred most frequent are counted as other."};
inline constexpr FamilyInfo kPhases = {MetricKind::kHistogram, "bivalve_phase_duration_seconds", "phases_us/*", "How long the parts of a message take."};
inline constexpr FamilyInfo kPhasesMax = {MetricKind::kGauge, "bivalve_phase_duration_max_seconds", "phases_us/*/max", "The longest time that a part of a message has taken."};
inline constexpr FamilyInfo kServerLatency = {MetricKind::kHistogram, "bivalve_server_latency_seconds", "server/latency_us", "How long it takes to connect to the server."};
inline constexpr FamilyInfo kServerLatencyMax = {MetricKind::kGauge, "bivalve_server_latency_max_seconds", "server/latency_us/max", "The longest time that connecting to the server has taken."};
inline constexpr FamilyInfo kScannerUp = {MetricKind::kGauge, "bivalve_scanner_up", "scanners/*/up", "1 while the scanner answers at least one worker."};
inline constexpr FamilyInfo kScannerCircuit = {MetricKind::kGauge, "bivalve_scanner_circuit", "scanners/*/circuit", "1 for the state of the circuit to the scanner, the best of all workers' states: closed gives it mail, half-open and open do not."};
inline constexpr FamilyInfo kScannerCanary = {MetricKind::kGauge, "bivalve_scanner_canary", "scanners/*/canary", "1 for the result of the test virus sent to the scanner, the worst of all workers' results."};
inline constexpr FamilyInfo kScannerOwnUser = {MetricKind::kGauge, "bivalve_scanner_own_user", "scanners/*/own_user", "1 if the scanner runs as this program's own user, and so can change messages."};
inline constexpr FamilyInfo kScannerLimitsKnown = {MetricKind::kGauge, "bivalve_scanner_limits_known", "scanners/*/limits/known", "1 if the scanner's limits are known from its clamd.conf; otherwise its OK for a large message is trusted only after it has found a test message of that size."};
inline constexpr FamilyInfo kScannerLimitBytes = {MetricKind::kGauge, "bivalve_scanner_limit_bytes", "scanners/*/limits/*_bytes", "The scanner's own limits; 0: not known, or none."};
inline constexpr FamilyInfo kScannerLimitSeconds = {MetricKind::kGauge, "bivalve_scanner_limit_scan_seconds", "scanners/*/limits/scan_seconds", "The scanner's MaxScanTime; 0: not known, or none."};
inline constexpr FamilyInfo kScannerLimitQueue = {MetricKind::kGauge, "bivalve_scanner_limit_queue", "scanners/*/limits/queue", "The scanner's MaxQueue; 0: not known."};
inline constexpr FamilyInfo kScannerInfo = {MetricKind::kGauge, "bivalve_scanner_info", "scanners/*/version", "Always 1; the label is the scanner's version and database."};
inline constexpr FamilyInfo kScannerLatency = {MetricKind::kHistogram, "bivalve_scanner_latency_seconds", "scanners/*/latency_us", "How long the scanner takes for a message."};
inline constexpr FamilyInfo kScannerLatencyMax = {MetricKind::kGauge, "bivalve_scanner_latency_max_seconds", "scanners/*/latency_us/max", "The longest time that the scanner has taken for a message."};
inline constexpr FamilyInfo kProcessStart = {MetricKind::kGauge, "process_start_time_seconds", "process/start_time_seconds", "When the process was started, in seconds since 1970."};
inline constexpr FamilyInfo kProcessCpu = {MetricKind::kCounter, "process_cpu_seconds_total", "process/cpu_seconds", "Processor time of all threads, user and system."};
inline constexpr FamilyInfo kProcessResident = {MetricKind::kGauge, "process_resident_memory_bytes", "process/resident_memory_bytes", "Memory in use; message bodies are shared memory and count here."};
inline constexpr FamilyInfo kProcessVirtual = {MetricKind::kGauge, "process_virtual_memory_bytes", "process/virtual_memory_bytes", "Address space."};
inline constexpr FamilyInfo kProcessFds = {MetricKind::kGauge, "process_open_fds", "process/open_fds", "Open descriptors."};
inline constexpr FamilyInfo kProcessFdsMax = {MetricKind::kGauge, "process_max_fds", "process/max_fds", "Descriptors that may be open."};
// clang-format on
}  // namespace families

// The timed parts of a message's way. Durations are in microseconds.
enum class Phase : uint8_t { kReceive, kScan, kDeliver, kTotal };
inline constexpr std::array<std::string_view, 4> kPhaseNames = {"receive", "scan", "deliver", "total"};

}  // namespace bivalve::appliance
