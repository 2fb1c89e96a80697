// What ParseConfig cannot know: whether a configuration fits the machine that it is read on. The one gate for
// --check-config, bivalvectl check, the start (a hot restart's too) and reading again: what one of them
// refuses, all refuse, with the same words.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "appliance/settings/config_file.h"

namespace bivalve::appliance {

// Who asks, and what is known besides the configuration.
struct Situation {
  enum class Stage : uint8_t {
    kCheck,   // somebody else, root perhaps, will start the program
    kStart,   // this process is about to run with it; it has one thread
    kReload,  // this process runs with `in_force`
  };
  Stage stage = Stage::kCheck;
  bool listen_is_void = false;  // a service manager's sockets stand in place of Listen
  const Config* in_force = nullptr;
};

// Looks for the user, the directories, and addresses of this program itself where others are meant. `parsed`
// is ok(); `file` is for problems with what is not written there. Before the start, whether the User may
// write is only known to root and to that user, and what only this process may not do is a warning. A running
// process looks with its own eyes, and not again at the User and the PidFile that it has. Scanners and
// servers that cannot be reached are no faults. Blocks (files, the list of users); forks, but not with
// kReload.
std::vector<Problem> CheckSurroundings(const Parsed& parsed, std::string_view file,
                                       const Situation& situation = {});

// Workers, or what auto means here.
uint32_t WorkersOf(const Config& config);

}  // namespace bivalve::appliance
