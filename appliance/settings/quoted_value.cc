#include "appliance/settings/quoted_value.h"

#include "core/text.h"

namespace bivalve::appliance {

std::string QuotedValue(std::string_view value) {
  std::string out = "'";
  core::AppendEscaped(out, value, 200);
  out += '\'';
  return out;
}

}  // namespace bivalve::appliance
