#include "tools/load/smtp_sink_recorder.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "core/fd.h"
#include "core/text.h"

namespace bivalve::tools {
namespace {

absl::Status SystemError(std::string_view what, std::string_view path) {
  return absl::UnavailableError(core::Cat("cannot ", what, " ", path, ": ", std::strerror(errno)));
}

bool WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

}  // namespace

absl::Status SinkRecorder::Prepare() {
  if (mkdir(directory_.c_str(), 0777) != 0 && errno != EEXIST) return SystemError("make", directory_);
  if (access(directory_.c_str(), W_OK | X_OK) != 0) return SystemError("write to", directory_);
  return absl::OkStatus();
}

absl::Status SinkRecorder::Record(std::string_view envelope, std::string_view content) {
  uint64_t number = last_.fetch_add(1, std::memory_order_relaxed) + 1;
  const std::string unfinished = core::Cat(directory_, "/.unfinished-", number);
  core::UniqueFd fd(open(unfinished.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!fd.valid()) return SystemError("create", unfinished);
  if (!WriteAll(fd.get(), envelope) || !WriteAll(fd.get(), "\n") || !WriteAll(fd.get(), content)) {
    const absl::Status status = SystemError("write", unfinished);
    unlink(unfinished.c_str());
    return status;
  }
  for (;;) {
    std::array<char, 32> name;
    std::snprintf(name.data(), name.size(), "message-%06llu.eml", static_cast<unsigned long long>(number));
    const std::string path = core::Cat(directory_, "/", std::string_view(name.data()));
    if (renameat2(AT_FDCWD, unfinished.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) == 0) {
      return absl::OkStatus();
    }
    if (errno != EEXIST) {
      const absl::Status status = SystemError("rename", unfinished);
      unlink(unfinished.c_str());
      return status;
    }
    // Left by an earlier run.
    number = last_.fetch_add(1, std::memory_order_relaxed) + 1;
  }
}

}  // namespace bivalve::tools
