#include "appliance/process/pid_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "appliance/process/privileges.h"
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

Trusted TrustedWithPidFile(const std::string& user) {
  uid_t uid = geteuid();
  gid_t gid = getegid();
  if (!user.empty()) FindUser(user, uid, gid);
  return {.users = {uid}, .groups = {gid}};
}

// If only root may write to the directory, the file stays, but empty: then it names no process.
PidFile::~PidFile() {
  if (ours_ && unlink(path_.c_str()) != 0) (void)!ftruncate(fd_.get(), 0);
}

absl::Status PidFile::Open(const std::string& path, const std::string& user, Inheritance::Socket& inherited) {
  path_ = path;
  if (inherited.fd.valid() && IsSame(inherited.fd.get(), path)) {
    fd_ = std::move(inherited.fd);
    return absl::OkStatus();
  }
  const Trusted trusted = TrustedWithPidFile(user);
  std::string why = WhyNotTrusted(path, trusted);
  if (!why.empty()) return absl::FailedPreconditionError(core::Cat("PidFile: ", why));
  constexpr int kFlags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  fd_.Reset(open(path.c_str(), kFlags | O_EXCL, 0644));
  ours_ = fd_.valid();
  if (!fd_.valid() && errno == EEXIST) fd_.Reset(open(path.c_str(), kFlags, 0644));
  struct stat info = {};
  if (!fd_.valid() || fstat(fd_.get(), &info) != 0)
    return absl::ErrnoToStatus(errno, core::Cat("PidFile: cannot write '", path, "'"));
  // The file that was opened counts, whatever is at the path now.
  why = WhyNotTrusted(info, path, trusted);
  if (why.empty()) return absl::OkStatus();
  fd_.Reset();
  return absl::FailedPreconditionError(core::Cat("PidFile: ", why));
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
