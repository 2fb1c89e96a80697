// One setting's value, from the operator's words and back. The type of the setting's member decides; a new
// type is a Parse, a Print and an alternative of Field. Not for whole configurations: see config_file.h.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "appliance/settings/config.h"
#include "appliance/settings/options.h"

namespace bivalve::appliance {

// Sets the member of `option` (no old name) from the operator's text, given without white space around it; a
// repeatable one gets a further value. An error names the value but not the setting, and leaves `config` as
// it was.
absl::Status SetOption(Config& config, const Option& option, std::string_view text);

// The texts that SetOption takes to make the same value: one, or for a repeatable setting any number.
std::vector<std::string> PrintOption(const Config& config, const Option& option);

// "on", "no", "1" and so on.
absl::Status ParseSwitch(std::string_view text, bool& out);

}  // namespace bivalve::appliance
