// Text for manual pages, in mdoc(7).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bivalve::appliance {

// In a manual page each sentence begins on a line of its own.
std::vector<std::string> Sentences(std::string_view text);
// Without what roff would take for a command or an escape.
std::string Roff(std::string_view text);
// As the argument of a macro.
std::string RoffArgument(std::string_view text);

}  // namespace bivalve::appliance
