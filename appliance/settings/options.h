// The settings: one table for the parser, the defaults, the dump, the man page and the sample file. A new
// setting needs a member of Config and a row in options.cc, and tests (appliance/README.md). Not for values
// (option_values.h) or whole configurations (config_file.h, config_changes.h), which read the table.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "appliance/settings/config.h"

namespace bivalve::appliance {

// The name that the program was started with. It decides some defaults.
enum class ProgramName : uint8_t { kBivalved, kClamsmtpd };

// Where a value goes. The member's type selects the parser and the printer. Only old names have no member.
using Field =
    std::variant<std::monostate, bool Config::*, uint32_t Config::*, uint64_t Config::*,
                 std::chrono::seconds Config::*, std::string Config::*, std::vector<net::Endpoint> Config::*,
                 std::optional<net::Endpoint> Config::*, VirusPolicy Config::*, ClamMethod Config::*,
                 BareNewline Config::*, XClientFailure Config::*, FailurePolicies Config::*,
                 std::vector<net::Network> Config::*, scan::CanaryMode Config::*, LogFormat Config::*,
                 FileMode Config::*>;

// When a changed setting takes effect after the file is read again (HUP).
enum class OnReload : uint8_t {
  kUnset,        // for old names only
  kNewSessions,  // for sessions that begin afterwards
  kAtOnce,       // at once, for everything
  kNextStart,    // the value stays, and the log says so
};

// One setting.
struct Option {
  std::string_view name = {};  // matched without regard to case
  Field field = {};
  std::string_view default_text = {};  // parsed like the operator's text
  OnReload on_reload = OnReload::kUnset;
  std::string_view doc = {};  // one paragraph, used verbatim in the man page and the sample file

  bool required = false;  // has no default and must be given
  // Numbers (seconds and bytes too): inclusive bounds, and a word that stands for 0 in addition, if any.
  uint64_t min = 0;
  uint64_t max = 0;
  std::string_view zero_name = {};
  // Addresses: the port of an address written without one (0: a port is required), and whether a port alone
  // means 127.0.0.1.
  uint16_t default_port = 0;
  bool port_alone_is_local = false;
  // Texts: returns what is wrong with the value, if anything.
  absl::Status (*check)(std::string_view value) = nullptr;
  // Defaults that depend on something: the text if started as clamsmtpd, and the path to use if the path in
  // `default_text` does not exist and this one does. Empty: no such default.
  std::string_view default_clamsmtpd = {};
  std::string_view default_else_path = {};
  // Becomes true if the operator wrote the setting, even with the default's value.
  bool Config::* set_flag = nullptr;
  // Required settings: the switch that makes this setting optional.
  bool Config::* required_unless = nullptr;

  // An old name: the setting that it stands for. With `value_on`, its own value is a switch that becomes one
  // of the two.
  std::string_view alias_of = {};
  std::string_view value_on = {};
  std::string_view value_off = {};

  // True if it may be written several times. Each time adds one value; the first one replaces the default.
  bool repeatable() const;
};

// The table, in the order in which documents list the settings; old names come last.
std::span<const Option> Options();

// The row with that name, old names included; nullptr if there is none.
const Option* FindOption(std::string_view name);

// Tells whether a path exists; replaced by tests.
using PathExists = bool (*)(const std::string& path);
bool PathExistsOnDisk(const std::string& path);

// The value if the operator sets none; empty for required settings and old names.
std::string_view DefaultText(const Option& option, ProgramName program, PathExists exists = PathExistsOnDisk);

}  // namespace bivalve::appliance
