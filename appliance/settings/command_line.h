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
  // Settings that replace those of the file: -p (as PidFile), the older options and the positional
  // OutAddress. For ParseConfig, at the start and at every reload.
  std::vector<Override> overrides;
  // For the log, one line for each older option: what to write into the file instead.
  std::vector<std::string> warnings;
};

// The current options, in the order of the usage line.
struct CommandOption {
  std::string_view name;
  std::string_view argument = {};  // empty: the option has none
  bool takes_file = false;
  bool alone = false;  // used without the other options
};
std::span<const CommandOption> CommandOptions();

// Parses main's arguments, the program's name included. An error is a usage error (exit status 2): a line for
// the operator, to be followed by UsageText(). Only one thread at a time, because getopt_long(3) has global
// variables.
absl::StatusOr<CommandLine> ParseCommandLine(std::span<const char* const> arguments);

// "clamsmtpd" if the last component of `argv0` is that name, otherwise "bivalved".
ProgramName ProgramNameOf(std::string_view argv0);
std::string_view ToString(ProgramName program);
std::string_view DefaultConfigFile(ProgramName program);

// Complete lines, for standard error.
std::string UsageText(ProgramName program);
// For -v: a line with the version and a line with the default configuration file.
std::string VersionText(ProgramName program, std::string_view version);

}  // namespace bivalve::appliance
