// Privileges: the irrevocable change from root to the User setting. At the start, before there is any other
// thread or any ring.
#pragma once

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"

namespace bivalve::appliance {

// Becomes `user` (a name or a number): sets the supplementary groups, the group and the user, and then checks
// that this cannot be undone. With `keep_network` the capabilities that transparent sockets need
// (CAP_NET_ADMIN, CAP_NET_RAW) stay, and no others; programs that are started later do not get them. A
// process that is not root must already be `user` and nobody else. After an error the process must end.
// Blocks (the user is looked up).
absl::Status BecomeUser(const std::string& user, bool keep_network);

// While it lives, programs that this thread starts get the thread's capabilities. Otherwise the capabilities
// of a user who is not root end with exec.
class InheritableCapabilities {
 public:
  InheritableCapabilities();
  InheritableCapabilities(const InheritableCapabilities&) = delete;
  ~InheritableCapabilities() { Forget(); }
  // Programs that are started from now on get none. For a process that was itself started with some.
  static void Forget();
};

// Whether this process already is `user`, in all its identities. Blocks.
bool IsUser(const std::string& user);

// The ids that BecomeUser would take. Returns false if there is no such user. Blocks.
bool FindUser(const std::string& user, uid_t& uid, gid_t& gid);

// Whether BecomeUser would find `user`: any number, or a name that is known. Blocks.
bool UserExists(const std::string& user);

}  // namespace bivalve::appliance
