// The settings: one table from which the parser, the defaults, the dump, the man page and the sample file
// come. A new setting is a member of Config and a row in options.cc, nothing else. Not for values
// (option_values.h) and whole configurations (config_file.h, config_changes.h), which read the table.
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

}  // namespace bivalve::appliance
