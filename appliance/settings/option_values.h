// Converts one setting's value from the operator's text and back. The type of the setting's member selects
// the functions; a new type needs a Parse, a Print and an alternative of Field. Not for whole configurations:
// see config_file.h.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "appliance/settings/config.h"
#include "appliance/settings/options.h"

namespace bivalve::appliance {

// Sets the member of `option` (which is no old name) from the operator's text, given without white space
// around it. A repeatable setting gets one more value. An error names the value but not the setting, and
// leaves `config` unchanged.
absl::Status SetOption(Config& config, const Option& option, std::string_view text);

// The texts with which SetOption makes the same value: one; any number for a repeatable setting.
std::vector<std::string> PrintOption(const Config& config, const Option& option);

// "on", "no", "1" and so on.
absl::Status ParseSwitch(std::string_view text, bool& out);

}  // namespace bivalve::appliance
