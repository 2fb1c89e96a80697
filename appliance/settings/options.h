// The settings: one table from which the parser, the defaults, the dump, the man page and the sample file
// come. A new setting is a member of Config and a row in options.cc, nothing else. Not for the command line:
// see command_line.h, whose older options become Overrides here.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "appliance/settings/config.h"

namespace bivalve::appliance {

// The name the program was started under. It decides some defaults.
enum class ProgramName : uint8_t { kBivalved, kClamsmtpd };

// Where a value goes. The member's type chooses the parser and the printer. Only old names have no member.
using Field =
    std::variant<std::monostate, bool Config::*, uint32_t Config::*, uint64_t Config::*,
                 std::chrono::seconds Config::*, std::string Config::*, std::vector<net::Endpoint> Config::*,
                 std::optional<net::Endpoint> Config::*, VirusPolicy Config::*, ClamMethod Config::*,
                 BareNewline Config::*, XClientFailure Config::*, FailurePolicies Config::*,
                 std::vector<net::Network> Config::*, scan::CanaryMode Config::*, LogFormat Config::*,
                 FileMode Config::*>;

// When a setting that the file has changed takes effect, once the file is read again (HUP).
enum class OnReload : uint8_t {
  kUnset,        // of old names only
  kNewSessions,  // for sessions that begin afterwards
  kAtOnce,       // for everybody
  kNextStart,    // the value stays, and the log says so
};

// One setting.
struct Option {
  std::string_view name = {};  // matched without regard to case
  Field field = {};
  std::string_view default_text = {};  // parsed like the operator's words
  OnReload on_reload = OnReload::kUnset;
  std::string_view doc = {};  // one paragraph, used verbatim in the man page and the sample file

  bool required = false;  // has no default and must be given
  // Numbers (seconds and bytes too): inclusive bounds, and the word that stands for 0 beside them, if any.
  uint64_t min = 0;
  uint64_t max = 0;
  std::string_view zero_name = {};
  // Addresses: the port of one written without (0: there must be one), and whether a port alone means
  // 127.0.0.1.
  uint16_t default_port = 0;
  bool port_alone_is_local = false;
  // Texts: what is wrong with the value, if anything.
  absl::Status (*check)(std::string_view value) = nullptr;
  // Defaults that depend: the text when started as clamsmtpd, and the path to take when the one in
  // `default_text` does not exist and this one does. Empty: does not depend.
  std::string_view default_clamsmtpd = {};
  std::string_view default_else_path = {};
  // Becomes true when the operator wrote the setting, be it with the default's value.
  bool Config::* set_flag = nullptr;
  // Required settings: the switch that makes up for this one.
  bool Config::* required_unless = nullptr;

  // An old name: the setting it means. With `value_on`, its own value is a switch that becomes one of the
  // two.
  std::string_view alias_of = {};
  std::string_view value_on = {};
  std::string_view value_off = {};

  // May stand several times; each adds one value. The first replaces the default.
  bool repeatable() const;
};

// The table, in the order in which documents list the settings; old names stand last.
std::span<const Option> Options();

// The row of that name, old names included; nullptr when there is none.
const Option* FindOption(std::string_view name);

// Tells whether a path exists; replaced by tests.
using PathExists = bool (*)(const std::string& path);
bool PathExistsOnDisk(const std::string& path);

// What holds when the operator does not say; empty for required settings and old names.
std::string_view DefaultText(const Option& option, ProgramName program, PathExists exists = PathExistsOnDisk);

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

// Reading again. The names of the settings in which two configurations differ.
struct Changes {
  std::vector<std::string_view> now;            // those that can change while the program runs
  std::vector<std::string_view> at_next_start;  // the others
};
Changes ChangesOf(const Config& before, const Config& after);
// Gives `after` the values of `before` where they cannot change while the program runs.
void KeepWhatCannotChange(const Config& before, Config& after);
// Required settings that have no value; KeepWhatCannotChange can leave some.
std::vector<std::string_view> MissingSettings(const Config& config);

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
