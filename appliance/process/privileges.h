// Privileges: from root to the User setting, for good. At the start, before there is any other thread and any
// ring.
#pragma once

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"

namespace bivalve::appliance {

// Becomes `user` (a name or a number): supplementary groups, group, user, and then looks whether that can be
// undone. With `keep_network` the capabilities that transparent sockets need (CAP_NET_ADMIN, CAP_NET_RAW)
// stay, and nothing else; programs that are started later do not get them. Whether the same is already true
// of us, root or not, is looked at first. After an error the process must end. Blocks (the user is looked
// up).
absl::Status BecomeUser(const std::string& user, bool keep_network);

// As long as it lives, programs that this thread starts get the capabilities that the thread has; otherwise
// those of a user who is not root end with exec.
class InheritableCapabilities {
 public:
  InheritableCapabilities();
  InheritableCapabilities(const InheritableCapabilities&) = delete;
  ~InheritableCapabilities() { Forget(); }
  // No program started from now on gets any. For the process that was itself started with some.
  static void Forget();
};

// Whether this process is `user` already, and nobody else. Blocks.
bool IsUser(const std::string& user);

// Whom BecomeUser would make of us. False when there is no such user. Blocks.
bool FindUser(const std::string& user, uid_t& uid, gid_t& gid);

// Whether BecomeUser would find `user`: a name that is known, or any number. Blocks.
bool UserExists(const std::string& user);

}  // namespace bivalve::appliance
