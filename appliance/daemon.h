// Daemon: the life of the process, from the settings to the exit status: sockets, background, threads, and
// the end.
#pragma once

#include "appliance/settings/command_line.h"

namespace bivalve::appliance {

// What `bivalved` does for this command line. Returns the exit status: 0 a clean stop, 1 a failure of the
// system, 2 bad usage or configuration. Prints its own messages.
int RunProgram(const CommandLine& command_line);

}  // namespace bivalve::appliance
