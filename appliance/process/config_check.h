// Checks that ParseConfig cannot do: whether a configuration fits the machine on which it is read.
// --check-config, bivalvectl check, the start (also that of a hot restart) and a reload all use these checks:
// if one of them refuses a configuration, all refuse it, with the same words.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "appliance/settings/config_file.h"

namespace bivalve::appliance {

// Who asks, and what else is known.
struct Situation {
  enum class Stage : uint8_t {
    kCheck,   // another user, perhaps root, will start the program
    kStart,   // this process is about to run with it, and has one thread
    kReload,  // this process runs with `in_force`
  };
  Stage stage = Stage::kCheck;
  bool listen_is_void = false;  // sockets of a service manager replace Listen
  const Config* in_force = nullptr;
};

// Checks the user, the directories, and whether an address that should be another program's is one of our
// own. `parsed` is ok(); `file` is for problems with settings that are not written there. Before the start
// only root and the User know whether the User may write, so a lack of rights that may concern only this
// process is a warning. A running process checks with its own rights, and does not check its present User and
// PidFile again. Scanners and servers that cannot be reached are no problems. Blocks (files, the list of
// users); forks, except with kReload.
std::vector<Problem> CheckSurroundings(const Parsed& parsed, std::string_view file,
                                       const Situation& situation = {});

// The number of workers; for auto, the number that it means on this machine.
uint32_t WorkersOf(const Config& config);

}  // namespace bivalve::appliance
