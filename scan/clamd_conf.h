// The limits of a scanner, read from its clamd.conf if that is on this machine and readable. clamd answers
// "OK" about content that it has not looked at (CLAMD section 9), so its "OK" is worth more if its limits are
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

// 0: not known, or no limit.
struct ScannerLimits {
  bool known = false;                 // its clamd.conf was read
  uint64_t file_bytes_max = 0;        // MaxFileSize: a larger file is "OK"
  uint64_t scan_bytes_max = 0;        // MaxScanSize: content behind that much data is "OK"
  uint64_t stream_bytes_max = 0;      // StreamMaxLength: a larger stream is an error
  core::Duration scan_time_max = {};  // MaxScanTime: content not looked at by then is "OK"
  uint32_t queue_max = 0;             // MaxQueue: beyond it clamd stops for everybody
  uint32_t threads_max = 0;           // MaxThreads: how many scans it runs at once
};

// How many connections to a scanner, and outstanding scans, one of `workers` may have, so that all workers
// together stay below half of its MaxQueue; at least one. 0: MaxQueue is not known.
uint32_t ShareOfQueue(const ScannerLimits& limits, size_t workers);

// MaxThreads; if not known, clamd's own default.
uint32_t ThreadsOf(const ScannerLimits& limits);
// How many given-up scans one of `workers` may leave to a scanner, so that all workers together leave half of
// its threads to other mail; at least one.
uint32_t ShareOfThreads(const ScannerLimits& limits, size_t workers);

struct ClamdConf {
  std::string local_socket;
  std::vector<uint16_t> tcp_ports;
  // From here on: clamd 1.4's defaults if the file says nothing.
  ScannerLimits limits;
  uint32_t threads_max = 10;
  std::chrono::seconds read_timeout{120};
  std::chrono::seconds command_read_timeout{30};
  bool alert_exceeds_max = false;
  bool concurrent_reload = true;
};

// Takes the lines that it understands and ignores the others, because clamd judges its own file.
ClamdConf ParseClamdConf(std::string_view text);

// A clamd.conf and its path.
struct FoundClamdConf {
  std::string path;
  ClamdConf conf;
};
// The clamd.conf of the scanner that listens at this local socket or, with an empty path, on this port of
// this machine. nullopt if no file says that the address is its scanner's. Looks in the usual places and
// beside the socket. Blocks.
std::optional<FoundClamdConf> FindClamdConf(std::string_view socket_path, uint16_t tcp_port);
// The text of a clamd.conf, up to the length that one can have; nullopt if none can be read. Blocks.
std::optional<std::string> ReadClamdConf(const std::string& path);

}  // namespace bivalve::scan
