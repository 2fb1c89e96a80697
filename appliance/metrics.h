// The one table of counters. A row is one metric: its place in the JSON (group and name), its kind and its
// help, from which /stats, /metrics and bivalvectl take them. Each worker has its own counts; totals are made
// when read.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "core/counters.h"
#include "core/histogram.h"

namespace bivalve::appliance {

enum class MetricKind : uint8_t { kCounter, kGauge };

// clang-format off
#define BIVALVE_METRICS(M)                                                                                             \
  M(kAccepted,        kCounter, "connections",   "accepted",     "Client connections accepted.")                       \
  M(kActive,          kGauge,   "connections",   "active",       "Client connections open now.")                       \
  M(kRefusedBusy,     kCounter, "connections",   "refused_busy", "Client connections answered 421 because there were too many.") \
  M(kReceived,        kCounter, "messages",      "received",     "Complete messages received (end of data seen).")     \
  M(kInProgress,      kGauge,   "messages",      "in_progress",  "Messages received and not yet answered.")            \
  M(kWaiting,         kGauge,   "messages",      "waiting",      "Messages among those in progress that are in line for a scanner.") \
  M(kDelivered,       kCounter, "messages",      "delivered",    "Messages that the server took.")                     \
  M(kRefused,         kCounter, "messages",      "refused",      "Messages that the server refused at DATA, BDAT or the end of data.") \
  M(kDropped,         kCounter, "messages",      "dropped",      "Infected messages answered 250 and discarded.")      \
  M(kBounced,         kCounter, "messages",      "bounced",      "Infected messages answered 550.")                    \
  M(kTempfailed,      kCounter, "messages",      "tempfailed",   "Messages that Bivalve answered with a 4xx of its own.") \
  M(kRejected,        kCounter, "messages",      "rejected",     "Messages that Bivalve answered with a 5xx of its own, infected ones aside.") \
  M(kLost,            kCounter, "messages",      "lost",         "Messages whose server connection broke before its final reply.") \
  M(kAborted,         kCounter, "messages",      "aborted",      "Messages whose client left before the end of data.") \
  M(kClean,           kCounter, "messages",      "clean",        "Messages that a scanner found clean.")               \
  M(kInfected,        kCounter, "messages",      "infected",     "Messages that a scanner found infected.")            \
  M(kScanFailed,      kCounter, "messages",      "scan_failed",  "Messages without a verdict.")                        \
  M(kPassed,          kCounter, "messages",      "passed",       "Infected messages among the delivered ones.")        \
  M(kBytes,           kCounter, "messages",      "bytes",        "Content bytes of the messages received.")            \
  M(kFailedDown,      kCounter, "scan_failures", "down",         "Messages without a verdict because no scanner answered.") \
  M(kFailedTimeout,   kCounter, "scan_failures", "timeout",      "Messages without a verdict within ClamTimeOut.")     \
  M(kFailedError,     kCounter, "scan_failures", "error",        "Messages to which the scanner said ERROR or nonsense.") \
  M(kFailedSize,      kCounter, "scan_failures", "size",         "Messages larger than the scanner takes.")            \
  M(kFailedLimits,    kCounter, "scan_failures", "limits",       "Messages at which the scanner stopped at one of its limits.") \
  M(kServerConnects,  kCounter, "server",        "connects",     "Connections made to the server.")                    \
  M(kServerErrors,    kCounter, "server",        "connect_errors", "Connections to the server that failed.")           \
  M(kProtocolErrors,  kCounter, "errors",        "protocol",     "Commands refused because of their form, and sessions ended for it.") \
  M(kTimeouts,        kCounter, "errors",        "timeouts",     "Sessions ended because a peer was silent for too long.") \
  M(kOutOfRoom,       kCounter, "errors",        "out_of_room",  "Messages answered 452 because there was no room for the body.") \
  M(kRefusedPerClient, kCounter, "connections",  "refused_per_client", "Client connections answered 421 because their client had too many.") \
  M(kProxyHeaders,   kCounter, "errors",        "proxy_header", "Connections closed because of a missing, wrong or untrusted PROXY header.") \
  M(kLinesTooLong,   kCounter, "errors",        "line_too_long", "Command lines answered 500 because they were too long.") \
  M(kTooManyErrors,  kCounter, "errors",        "too_many_errors", "Sessions ended with 421 after too many errors in a row.") \
  M(kTooManyCommands, kCounter, "errors",       "too_many_commands", "Sessions ended with 421 after too many commands without a message.") \
  M(kTooManyRecipients, kCounter, "errors",     "too_many_recipients", "Recipients answered 452 because their message had too many.") \
  M(kHeaderTooLarge, kCounter, "errors",        "header_too_large", "Messages answered 552 because of their header section.") \
  M(kTooSlow,        kCounter, "errors",        "too_slow",     "Sessions ended with 421 because their message came too slowly.") \
  M(kRoomWaits,      kCounter, "errors",        "room_waits",   "Times that reading stopped until there was room for a message.") \
  M(kAcceptErrors,    kCounter, "errors",        "accept",       "Connections that could not be accepted, for want of descriptors or memory.") \
  M(kReportsLost,     kCounter, "errors",        "reports",      "Infected messages that were neither kept nor given to VirusAction, because too many waited.") \
  M(kRingFlushes,     kCounter, "ring",          "flushes",      "Times that a worker had more to ask of the kernel in one turn than its submission queue holds.") \
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

// How long the parts of a message take, in microseconds.
enum class Phase : uint8_t { kReceive, kScan, kDeliver, kTotal };
inline constexpr std::array<std::string_view, 4> kPhaseNames = {"receive", "scan", "deliver", "total"};

}  // namespace bivalve::appliance
