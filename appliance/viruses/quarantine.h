// Quarantine: keeps messages as files in TempDirectory, for the settings Quarantine and DebugFiles. Control
// thread. Files are written through its ring, piece by piece, so that signals and statistics are served
// meanwhile.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/fd.h"
#include "core/io.h"
#include "core/loop.h"
#include "core/sha256.h"
#include "core/task.h"

namespace bivalve::appliance {

class Quarantine {
 public:
  Quarantine(core::Loop& loop, std::string directory) : loop_(loop), directory_(std::move(directory)) {}

  // For files that are created from now on.
  void set_directory(std::string directory) {
    unnamed_files_ |= directory != directory_;
    directory_ = std::move(directory);
  }

  // The bytes to keep: `bytes` of `fd` from `offset` on. Nobody changes them. Borrowed until Keep returns.
  struct Content {
    int fd = -1;
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };

  struct Kept {
    std::string path;
    core::Sha256::Digest sha256 = {};
  };
  // Writes a new file, mode 0600, called `prefix` and six random characters. The file gets its name when it
  // is complete, and never the name of an existing file. After an error (a sentence for the log) nothing is
  // left of it. Only one call at a time of Keep and KeepRecord. Suspends.
  core::Task<absl::StatusOr<Kept>> Keep(Content content, std::string_view prefix);

  // Writes the record of the message at `path` beside it, in the same way. So if a record exists, it is
  // complete, and so is its message, which is written first. Suspends.
  core::Task<absl::Status> KeepRecord(std::string path, std::string json);

  // For the end of the process: removes the file that is being written, if any. Blocks.
  void RemovePartial();

  // On file systems without unnamed files, a file that is being written has a name that begins with a dot.
  // This removes such files that a crash has left: those that would have been called one of `prefixes` and
  // six characters, and their records. It removes only regular files of this user that no process is writing.
  // Returns how many. For the start; blocks.
  static size_t RemoveLeftovers(const std::string& directory, std::span<const std::string_view> prefixes);

  // For tests: behaves as on a file system without unnamed files.
  void ForgoUnnamedFiles() { unnamed_files_ = false; }

 private:
  static constexpr size_t kPieceBytes = size_t{256} << 10;

  // These clear unnamed_files_ if they fail and another try may succeed.
  core::Task<absl::StatusOr<Kept>> KeepOnce(Content content, std::string_view prefix);
  core::Task<absl::Status> KeepRecordOnce(const std::string& name, std::string_view json);

  // Creates a file for `path`: unnamed, or beside it with the name in partial_. Returns 0 or an errno.
  core::Task<int> Create(const std::string& path, core::UniqueFd& file);
  core::Task<core::IoResult> OpenAt(const std::string& path, int flags);
  // Gives the file the name `path`. Returns 0 or an errno; EEXIST: a file of that name exists.
  int Publish(int file, const std::string& path);
  // `path`: the name that the file will get, for the error.
  core::Task<absl::StatusOr<core::Sha256::Digest>> Copy(Content content, int to, const std::string& path);
  core::Task<absl::Status> Write(int to, std::string_view bytes, uint64_t offset, const std::string& path);

  core::Loop& loop_;
  std::string directory_;
  bool unnamed_files_ = true;  // cleared if the file system turns out to have none, or no way to name them
  std::string partial_;        // name of the file that is being written; empty: no file, or it is unnamed
  std::vector<char> piece_;
  core::Sha256 hash_;
};

}  // namespace bivalve::appliance
