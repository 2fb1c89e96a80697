// What ParseConfig cannot know: whether a configuration fits the machine that it is read on. For
// --check-config and bivalvectl check; the start meets the same faults one by one.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "appliance/options.h"

namespace bivalve::appliance {

// Looks for the user, the directories, and addresses of this program itself where others are meant. `parsed`
// is ok(); `file` is for problems with what is not written there. Whether the User may write is only known to
// root; what only this process may not do is a warning. Blocks; forks, so not beside threads.
std::vector<Problem> CheckSurroundings(const Parsed& parsed, std::string_view file);

// Workers, or what auto means here.
uint32_t WorkersOf(const Config& config);

}  // namespace bivalve::appliance
