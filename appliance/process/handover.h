// What a process gets at its birth besides its arguments: listening sockets, either from the process that it
// follows at a hot restart (in a variable of our own) or from a service manager (sd_listen_fds(3)). And the
// reverse: what the next process gets.
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
    int number = -1;  // in the process that handed it over
  };
  pid_t from = 0;           // the process to follow; 0: there is none
  uint64_t generation = 1;  // number of this process in the line
  core::UniqueFd channel;   // to that process
  // True: the addresses are those of the sockets, and Listen or StatsAddress has no meaning.
  bool smtp_by_manager = false;
  bool stats_by_manager = false;
  std::vector<Socket> smtp;  // listening
  Socket stats;              // listening; invalid: none
  Socket pid_file;           // open for writing; invalid: none
};

// Takes what the environment announces, and removes it from the environment, so that it counts only once.
// Leaves alone what is meant for another process, and descriptors that are not of the announced kind;
// `problem` describes the latter. Call before there is any other thread.
Inheritance TakeInheritance(std::string& problem);

// What the next process gets. Borrows.
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
// At most this many sockets are handed over, because the variable has to fit into an environment.
inline constexpr size_t kLegacySocketsMax = 4096;

// Starts the program at `path`, in `directory`, with these arguments, our environment and the legacy. Returns
// its process number or a negated errno. Blocks until the program is loaded.
pid_t StartSuccessor(const std::string& path, const std::string& directory,
                     const std::vector<std::string>& arguments, const Legacy& legacy, bool new_session);

}  // namespace bivalve::appliance
