// Text for manual pages, in mdoc(7).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bivalve::appliance {

// The sentences of the text: in a manual page each begins on a new line.
std::vector<std::string> Sentences(std::string_view text);
// The text, with everything escaped that roff would take for a command or an escape.
std::string Roff(std::string_view text);
// The text as the argument of a macro.
std::string RoffArgument(std::string_view text);

}  // namespace bivalve::appliance
