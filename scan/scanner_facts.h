// ScannerFacts: what we can find out about a scanner on this machine without asking it: its limits, and the
// user that it runs as.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "scan/clamd_conf.h"

namespace bivalve::scan {

struct ScannerFacts {
  bool limits_read = false;  // false: not tried yet
  ScannerLimits limits;
  std::optional<uid_t> user;  // nullopt: not known

  bool runs_as(uid_t other) const { return user == other; }
};

// For the operator, after the scanner's name.
inline constexpr std::string_view kSameUserWarning =
    "it runs as this program's own user, and can change messages that it was only to read; "
    "one of both should have a user of its own (User)";

// The user of the process that listens at a local socket. nullopt if nobody listens, or if the service
// manager listens for another program. Connects there for a moment, and does not block.
std::optional<uid_t> ListeningUser(const std::string& socket_path);

// Sentences for the operator about a scanner, if they were not true before; `before` is empty at first.
// `own_user`: the user of this program.
std::vector<std::string> ScannerWarnings(std::string_view scanner, const ScannerFacts& before,
                                         const ScannerFacts& now, uid_t own_user);

}  // namespace bivalve::scan
