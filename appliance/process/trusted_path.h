// Whether a file may belong to somebody else: because of its owner or mode, or because somebody can put
// another file or directory in its place. For files that root acts on, such as the PID file.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace bivalve::appliance {

// Root is always trusted. A group's right counts as everybody's, unless the group is root's or in `groups`.
struct Trusted {
  std::vector<uid_t> users;
  std::vector<gid_t> groups;
};

// Why the file at `path` (relative to the current directory) is not trusted: a sentence for the operator that
// includes the way out; empty if it is trusted. Checks the file if it exists, every directory above it and
// the symbolic links on the way: only trusted users may own them, and others may not write to them, except to
// directories with the sticky bit. Directories that do not exist are not checked. Blocks.
std::string WhyNotTrusted(const std::string& path, const Trusted& trusted);

// The same for an open file, without the directories above it; `path` is for the sentence.
std::string WhyNotTrusted(const struct stat& file, std::string_view path, const Trusted& trusted);

}  // namespace bivalve::appliance
