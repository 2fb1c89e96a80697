#include "appliance/pid_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "core/text.h"

namespace bivalve::appliance {
namespace {

bool IsSame(int fd, const std::string& path) {
  struct stat open_one = {};
  struct stat there = {};
  return fstat(fd, &open_one) == 0 && lstat(path.c_str(), &there) == 0 && open_one.st_dev == there.st_dev &&
         open_one.st_ino == there.st_ino;
}

}  // namespace

// A directory that only root may write to keeps the file; an empty one names no process.
PidFile::~PidFile() {
  if (ours_ && unlink(path_.c_str()) != 0) (void)!ftruncate(fd_.get(), 0);
}

absl::Status PidFile::Open(const std::string& path, Inheritance::Socket& inherited) {
  path_ = path;
  if (inherited.fd.valid() && IsSame(inherited.fd.get(), path)) {
    fd_ = std::move(inherited.fd);
    return absl::OkStatus();
  }
  constexpr int kFlags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
  fd_.Reset(open(path.c_str(), kFlags | O_EXCL, 0644));
  ours_ = fd_.valid();
  if (!fd_.valid() && errno == EEXIST) fd_.Reset(open(path.c_str(), kFlags, 0644));
  if (fd_.valid()) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, core::Cat("PidFile: cannot write '", path, "'"));
}

absl::Status PidFile::Write() {
  if (!fd_.valid()) return absl::OkStatus();
  const std::string text = core::Cat(getpid(), "\n");
  if (ftruncate(fd_.get(), 0) != 0 ||
      pwrite(fd_.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return absl::ErrnoToStatus(errno, core::Cat("PidFile: cannot write '", path_, "'"));
  }
  ours_ = true;
  return absl::OkStatus();
}

}  // namespace bivalve::appliance
