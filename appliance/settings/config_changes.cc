#include "appliance/settings/config_changes.h"

#include <type_traits>
#include <variant>

#include "appliance/settings/option_values.h"
#include "appliance/settings/options.h"

namespace bivalve::appliance {
namespace {

// Whether the operator can see a difference.
bool Differs(const Option& option, const Config& a, const Config& b) {
  if (option.set_flag != nullptr && a.*option.set_flag != b.*option.set_flag) return true;
  return PrintOption(a, option) != PrintOption(b, option);
}

}  // namespace

Changes ChangesOf(const Config& before, const Config& after) {
  Changes changes;
  for (const Option& option : Options()) {
    if (!option.alias_of.empty() || !Differs(option, before, after)) continue;
    const bool waits = option.on_reload == OnReload::kNextStart;
    (waits ? changes.at_next_start : changes.now).push_back(option.name);
  }
  return changes;
}

void KeepWhatCannotChange(const Config& before, Config& after) {
  for (const Option& option : Options()) {
    if (option.on_reload != OnReload::kNextStart) continue;
    if (option.set_flag != nullptr) after.*option.set_flag = before.*option.set_flag;
    std::visit(
        [&](auto member) {
          if constexpr (!std::is_same_v<decltype(member), std::monostate>) after.*member = before.*member;
        },
        option.field);
  }
}

std::vector<std::string_view> MissingSettings(const Config& config) {
  std::vector<std::string_view> missing;
  for (const Option& option : Options()) {
    if (!option.required || (option.required_unless != nullptr && config.*option.required_unless)) continue;
    if (PrintOption(config, option).empty()) missing.push_back(option.name);
  }
  return missing;
}

}  // namespace bivalve::appliance
