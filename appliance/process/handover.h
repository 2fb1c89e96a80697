// What a process is born with besides its arguments: listening sockets, from the process that it follows at a
// hot restart (a variable of our own), or from a service manager (sd_listen_fds(3)). And the way on: what the
// next process gets.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/fd.h"

namespace bivalve::appliance {

struct Inheritance {
  struct Socket {
    core::UniqueFd fd;
    int number = -1;  // in the process that gave it
  };
  pid_t from = 0;           // the process to follow; 0: there is none
  uint64_t generation = 1;  // of processes, this one included
  core::UniqueFd channel;   // to that process
  // The addresses are those of the sockets, and Listen or StatsAddress mean nothing.
  bool smtp_by_manager = false;
  bool stats_by_manager = false;
  std::vector<Socket> smtp;  // listening
  Socket stats;              // listening; invalid: none
  Socket pid_file;           // open for writing; invalid: none
};

// Takes what the environment says and removes that from it, so that it counts once. What is not meant for
// this process, or names descriptors that are not what they should be, is left alone: `problem` says so.
// Before there is any other thread.
Inheritance TakeInheritance(std::string& problem);

// What is handed to the next process. Borrows.
struct Legacy {
  uint64_t generation = 1;  // of the next process
  int channel = -1;
  bool smtp_by_manager = false;
  bool stats_by_manager = false;
  std::vector<int> smtp;
  int stats = -1;
  int pid_file = -1;

  std::vector<int> descriptors() const;
};
// More sockets than this are not handed over: the variable has to fit into an environment.
inline constexpr size_t kLegacySocketsMax = 4096;

// Starts the program at `path`, in `directory`, with these arguments, our environment and the legacy. Its
// process number, or a negated errno. Blocks until the program is loaded.
pid_t StartSuccessor(const std::string& path, const std::string& directory,
                     const std::vector<std::string>& arguments, const Legacy& legacy, bool new_session);

}  // namespace bivalve::appliance
