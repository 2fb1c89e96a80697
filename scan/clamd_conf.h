// What a scanner's own clamd.conf says of its limits, where it is on this machine and can be read. clamd
// answers "OK" for what it has not looked at (CLAMD section 9), so its "OK" is worth more when its limits are
// known.
//
// Reads files: for the start of the program, never for a worker.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/mono_time.h"

namespace bivalve::scan {

// 0: not known, or without limit.
struct ScannerLimits {
  bool known = false;                 // its clamd.conf was read
  uint64_t file_bytes_max = 0;        // MaxFileSize: a larger file is "OK"
  uint64_t scan_bytes_max = 0;        // MaxScanSize: what lies behind so much data is "OK"
  uint64_t stream_bytes_max = 0;      // StreamMaxLength: a larger stream is an error
  core::Duration scan_time_max = {};  // MaxScanTime: what was not looked at by then is "OK"
  uint32_t queue_max = 0;             // MaxQueue: beyond it clamd stands still for everybody
  uint32_t threads_max = 0;           // MaxThreads: how many scans it runs at once
};

// How many connections to a scanner, and scans handed to it, one of `workers` may have, so that all together
// stay below half of its MaxQueue; one at least. 0: MaxQueue is not known.
uint32_t ShareOfQueue(const ScannerLimits& limits, size_t workers);

// MaxThreads, clamd's own default where it is not known.
uint32_t ThreadsOf(const ScannerLimits& limits);
// How many scans that were given up one of `workers` may leave a scanner with, so that all together leave
// half of its threads to other mail; one at least.
uint32_t ShareOfThreads(const ScannerLimits& limits, size_t workers);

struct ClamdConf {
  std::string local_socket;
  std::vector<uint16_t> tcp_ports;
  // From here on clamd 1.4's defaults where the file says nothing.
  ScannerLimits limits;
  uint32_t threads_max = 10;
  std::chrono::seconds read_timeout{120};
  std::chrono::seconds command_read_timeout{30};
  bool alert_exceeds_max = false;
  bool concurrent_reload = true;
};

// Takes what it understands and passes over the rest, as clamd is the judge of its own file.
ClamdConf ParseClamdConf(std::string_view text);

// A clamd.conf and where it is.
struct FoundClamdConf {
  std::string path;
  ClamdConf conf;
};
// The one of the scanner that listens at this local socket, or (empty path) on this port of this machine;
// nullopt when none says that it is this scanner's. Looks in the usual places and beside the socket. Blocks.
std::optional<FoundClamdConf> FindClamdConf(std::string_view socket_path, uint16_t tcp_port);
// The text of a clamd.conf, at most so much as one can have; nullopt when there is none to read. Blocks.
std::optional<std::string> ReadClamdConf(const std::string& path);

}  // namespace bivalve::scan
