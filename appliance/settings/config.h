// The operator's settings as values. They are filled in only through the table in options.cc. This struct has
// no defaults of its own.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "net/address.h"
#include "net/network.h"
#include "scan/canary.h"

namespace bivalve::appliance {

// Action: what happens to an infected message.
enum class VirusPolicy : uint8_t { kDrop, kBounce, kPass };
// ClamMethod: how a scanner gets a message.
enum class ClamMethod : uint8_t { kAuto, kFildes, kInstream };
// XClientFailure: what happens to a client if the mail server cannot be told who it is.
enum class XClientFailure : uint8_t { kRefuse, kAllow };

// BareNewline: what happens to line ends that servers read differently.
enum class BareNewline : uint8_t { kGuard, kReject, kPass };

// SocketMode: access rights, as in chmod(2).
enum class FileMode : uint16_t {};

// LogFormat: how events are written.
enum class LogFormat : uint8_t { kText, kJson };

// Why a message has no verdict, in the order in which ScanFailure names the causes.
enum class FailureCause : uint8_t { kDown, kTimeout, kError, kSize, kLimits };
inline constexpr size_t kFailureCauses = 5;
// ScanFailure: what happens to a message without a verdict.
enum class FailurePolicy : uint8_t { kTempfail, kReject, kPass };
using FailurePolicies = std::array<FailurePolicy, kFailureCauses>;  // indexed by FailureCause

// The settings of a session. A session keeps the values of its start; each listener may have its own.
struct SessionConfig {
  std::vector<net::Endpoint> out_address;
  std::string header;  // as written, escapes not yet replaced; empty: none
  VirusPolicy action;
  std::chrono::seconds timeout;
  std::chrono::seconds clam_timeout;
  FailurePolicies scan_failure;
  uint64_t message_bytes_max;  // 0: no limit
  BareNewline bare_newline;
  bool binary_mime;
  bool proxy_protocol;
  std::vector<net::Network> proxy_protocol_from;  // empty: this machine
  uint32_t connections_per_client_max;            // 0: no limit
  std::string host_name;
  std::chrono::seconds keep_alives;  // 0: none
  bool quarantine;
  std::string virus_action;  // for /bin/sh -c; empty: none
  bool xclient;
  XClientFailure xclient_failure;
  bool transparent_proxy;
  bool debug_files;
};

// All settings: those of sessions and those of the process.
struct Config : SessionConfig {
  std::vector<net::Endpoint> listen;
  std::vector<net::Endpoint> clam_address;
  std::string temp_directory;
  uint32_t connections_max;
  std::string pid_file;  // empty: none
  uint32_t workers;      // 0: one per usable CPU
  ClamMethod clam_method;
  uint32_t clam_connections;
  scan::CanaryMode canary;
  uint64_t body_memory_bytes;                  // 0: a quarter of memory
  std::optional<net::Endpoint> stats_address;  // nullopt: off
  bool stats_address_set;                      // true: set by the operator, not by default
  FileMode socket_mode;
  std::chrono::seconds shutdown_timeout;
  std::chrono::seconds drain_timeout;
  std::chrono::seconds restart_timeout;
  std::string user;  // name or number; empty: the process stays who it is
  LogFormat log_format;
};

}  // namespace bivalve::appliance
