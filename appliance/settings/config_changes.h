// What changes when the configuration is read again while the program runs, and what cannot change.
#pragma once

#include <string_view>
#include <vector>

#include "appliance/settings/config.h"

namespace bivalve::appliance {

// The names of the settings in which two configurations differ.
struct Changes {
  std::vector<std::string_view> now;            // those that can change while the program runs
  std::vector<std::string_view> at_next_start;  // the others
};
Changes ChangesOf(const Config& before, const Config& after);
// Gives `after` the values of `before` for settings that cannot change while the program runs.
void KeepWhatCannotChange(const Config& before, Config& after);
// Required settings that have no value. KeepWhatCannotChange can cause this.
std::vector<std::string_view> MissingSettings(const Config& config);

}  // namespace bivalve::appliance
