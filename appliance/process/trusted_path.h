// Whether a file could be somebody else's: because of its owner or mode, or because somebody may put another
// one, or another directory, in its place. For files that root acts on, such as the one with our number.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace bivalve::appliance {

// Root is always trusted. A right of a group counts as everybody's unless the group is root's or in `groups`.
struct Trusted {
  std::vector<uid_t> users;
  std::vector<gid_t> groups;
};

// What stands against the file at `path` (relative ones start where the process is): a sentence for the
// operator with the way out, or empty. Looks at the file, where there is one, at every directory above it and
// at symbolic links on the way: no owner but the trusted, and no right to write for others, but in a
// directory with the sticky bit. Directories that are not there have nothing against them. Blocks.
std::string WhyNotTrusted(const std::string& path, const Trusted& trusted);

// The same for a file that is open, without what is above it; `path` is for the sentence.
std::string WhyNotTrusted(const struct stat& file, std::string_view path, const Trusted& trusted);

}  // namespace bivalve::appliance
