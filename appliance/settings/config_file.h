// A configuration as text: reading it by the table in options.h, with every problem reported, and writing it.
// Not for the command line: see command_line.h, whose older options become Overrides here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "appliance/settings/config.h"
#include "appliance/settings/options.h"

namespace bivalve::appliance {

// Something in the configuration that the operator must know.
struct Problem {
  enum class Kind : uint8_t { kWarning, kError };
  Kind kind = Kind::kError;
  std::string file = {};
  int line = 0;              // from 1; 0: the file as a whole
  std::string setting = {};  // in the table's spelling where it is known; empty: none
  std::string text;
};
// "FILE:LINE: SETTING: text", less what is missing. Always one printable line.
std::string ToString(const Problem& problem);

// A setting from the command line. It replaces what the file says; of several for one setting the last
// counts, or all of them where the setting is repeatable.
struct Override {
  std::string setting;
  std::string value;
};

// Where a value was written.
struct Place {
  std::string file = {};
  int line = 0;  // 0: not in the file
};

struct Parsed {
  Config config;  // to be used only when ok()
  std::vector<Problem> problems;
  // The values that count, in the order in which they came; with the setting's name in the table.
  std::vector<std::pair<std::string_view, Place>> places;

  bool ok() const;  // no errors; warnings may be there
  // Where the value of that number (from 0) of a setting was written; empty when it is the default.
  Place PlaceOf(std::string_view setting, size_t index = 0) const;
};

// Reads a configuration. Never fails as a whole: reports every problem, in the order of the lines, then those
// of the overrides, then what is missing. `file_name` is for messages only.
Parsed ParseConfig(std::string_view text, std::string_view file_name, ProgramName program,
                   std::span<const Override> overrides = {}, PathExists exists = PathExistsOnDisk);

// The text of a configuration file. NotFound when there is none at `path`; every error begins with the path,
// as those about what stands in the file do.
// Blocks.
absl::StatusOr<std::string> ReadConfigFile(std::string_view path);
inline constexpr size_t kConfigBytesMax = size_t{1} << 20;
inline constexpr size_t kConfigLineBytesMax = 4096;  // without line end
inline constexpr size_t kRepeatMax = 256;            // values of one repeatable setting

// Every setting in the form that ParseConfig reads, one or more lines for each; reading it gives the same
// Config. A setting whose set_flag is false is a comment line, so that it remains the default.
std::string DumpConfig(const Config& config);

}  // namespace bivalve::appliance
