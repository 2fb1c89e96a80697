// How messages show what the operator has written. Knows nothing of settings, so that the table can use it.
#pragma once

#include <string>
#include <string_view>

namespace bivalve::appliance {

// A value for a message: between quotes, printable, cut when very long.
std::string QuotedValue(std::string_view value);

}  // namespace bivalve::appliance
