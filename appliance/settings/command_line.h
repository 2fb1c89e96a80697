// The command line of bivalved: from argv to a struct. Reads nothing but its arguments and never exits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "appliance/settings/config_file.h"
#include "appliance/settings/options.h"

namespace bivalve::appliance {

struct CommandLine {
  enum class Mode : uint8_t { kRun, kVersion, kCheckConfig };

  std::vector<std::string> arguments;  // as given, the program's name included
  ProgramName program = ProgramName::kBivalved;
  Mode mode = Mode::kRun;
  // -d: stay in the foreground and log to standard error, 0 errors only .. 4 everything. nullopt: daemon.
  std::optional<int> foreground_level;
  std::string config_file;         // -f, or the program's default
  bool config_file_given = false;  // by -f
  // Settings to put over the file: -p (as PidFile), the older options and the positional OutAddress. For
  // ParseConfig, at start and at every reload.
  std::vector<Override> overrides;
  // One line for each older option, for the log: what to write into the file instead.
  std::vector<std::string> warnings;
};

// The options of today, in the order of the usage line.
struct CommandOption {
  std::string_view name;
  std::string_view argument = {};  // empty: there is none
  bool takes_file = false;
  bool alone = false;  // stands without the others
};
std::span<const CommandOption> CommandOptions();

// Parses main's arguments, the program's name included. An error is a usage error (exit status 2): a line for
// the operator, to be followed by UsageText(). One thread at a time: getopt_long(3) has global variables.
absl::StatusOr<CommandLine> ParseCommandLine(std::span<const char* const> arguments);

// "clamsmtpd" when `argv0`'s last component is that name, else "bivalved".
ProgramName ProgramNameOf(std::string_view argv0);
std::string_view ToString(ProgramName program);
std::string_view DefaultConfigFile(ProgramName program);

// Whole lines, for standard error.
std::string UsageText(ProgramName program);
// -v: a line with the version, a line with the default configuration file.
std::string VersionText(ProgramName program, std::string_view version);

}  // namespace bivalve::appliance
