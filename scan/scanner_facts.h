// ScannerFacts: what can be found out of a scanner on this machine without asking it: its limits, and the
// user that it runs as. Looks at files and sockets: for the start of the program and threads beside the
// workers.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "scan/clamd_conf.h"

namespace bivalve::scan {

struct ScannerFacts {
  bool read = false;  // false: nobody has looked yet
  ScannerLimits limits;
  std::optional<uid_t> user;  // nullopt: not known

  bool runs_as(uid_t other) const { return user == other; }
};

// For the operator, behind the scanner's name.
inline constexpr std::string_view kSameUserWarning =
    "it runs as this program's own user, and can change messages that it was only to read; "
    "one of both should have a user of its own (User)";

// The user of whoever listens at a local socket; nullopt when nobody does, or when the service manager does
// on somebody's behalf. Does not block.
std::optional<uid_t> ListeningUser(const std::string& socket_path);

// Of the scanner that listens at this local socket, or (empty path) on this port of this machine. Blocks.
ScannerFacts FindScannerFacts(const std::string& socket_path, uint16_t tcp_port);

}  // namespace bivalve::scan
