// A configuration as text: reads it by the table in options.h, reporting every problem, and writes it. Not
// for the command line: see command_line.h, whose older options become Overrides here.
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

// A problem in the configuration that the operator must know.
struct Problem {
  enum class Kind : uint8_t { kWarning, kError };
  Kind kind = Kind::kError;
  std::string file = {};
  int line = 0;              // from 1; 0: the file as a whole
  std::string setting = {};  // spelled as in the table if it is known; empty: none
  std::string text;
};
// "FILE:LINE: SETTING: text", without the missing parts. Always one printable line.
std::string ToString(const Problem& problem);

// A setting from the command line. It replaces the file's value. Of several overrides for one setting the
// last one counts; for a repeatable setting all count.
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
  // The values that count, in the order in which they were read, with the setting's name as in the table.
  std::vector<std::pair<std::string_view, Place>> places;

  bool ok() const;  // no errors; there may be warnings
  // Where value number `index` (from 0) of a setting was written; empty if it is the default.
  Place PlaceOf(std::string_view setting, size_t index = 0) const;
};

// Reads a configuration. Never fails as a whole: reports every problem, in the order of the lines, then the
// problems of the overrides, then the missing settings. `file_name` is for messages only.
Parsed ParseConfig(std::string_view text, std::string_view file_name, ProgramName program,
                   std::span<const Override> overrides = {}, PathExists exists = PathExistsOnDisk);

// The text of a configuration file. NotFound if there is no file at `path`. Every error begins with the path,
// like the problems inside the file. Blocks.
absl::StatusOr<std::string> ReadConfigFile(std::string_view path);
inline constexpr size_t kConfigBytesMax = size_t{1} << 20;
inline constexpr size_t kConfigLineBytesMax = 4096;  // without line end
inline constexpr size_t kRepeatMax = 256;            // values of one repeatable setting

// Every setting in the form that ParseConfig reads, on one or more lines. Reading the result gives the same
// Config. A setting whose set_flag is false becomes a comment line, so that it keeps its default.
std::string DumpConfig(const Config& config);

}  // namespace bivalve::appliance
