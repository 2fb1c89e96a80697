// Quarantine: keeps messages as files in TempDirectory, for the Quarantine and DebugFiles settings. On the
// control thread; files are written through its ring, piece by piece, so that signals and statistics are
// served meanwhile.
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

  // For the files that are made from now on.
  void set_directory(std::string directory) {
    unnamed_files_ |= directory != directory_;
    directory_ = std::move(directory);
  }

  // What is kept: `bytes` of `fd` from `offset` on, which nobody changes. Borrowed until Keep returns.
  struct Content {
    int fd = -1;
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };

  struct Kept {
    std::string path;
    core::Sha256::Digest sha256 = {};
  };
  // Writes a new file, mode 0600, called `prefix` and six random characters. It gets its name when it is
  // whole, and never the name of another file. After an error (a sentence for the log) nothing is left of it.
  // One call at a time, of this and of KeepRecord. Suspends.
  core::Task<absl::StatusOr<Kept>> Keep(Content content, std::string_view prefix);

  // Writes the record of the message at `path` beside it, in the same way. So a record that is there is
  // whole, and so is its message, which was there before. Suspends.
  core::Task<absl::Status> KeepRecord(std::string path, std::string json);

  // For the end of the process: removes the file that is being written, if there is one. Blocks.
  void RemovePartial();

  // Where the file system has no files without a name, those that are being written have one that begins with
  // a dot. Removes what a crash has left of those that would have been called `prefixes` and six characters,
  // and of their records: regular files of this user that no process is writing. Returns how many. For the
  // start; blocks.
  static size_t RemoveLeftovers(const std::string& directory, std::span<const std::string_view> prefixes);

  // For tests: as on a file system without such files.
  void ForgoUnnamedFiles() { unnamed_files_ = false; }

 private:
  static constexpr size_t kPieceBytes = size_t{256} << 10;

  // These fail and clear unnamed_files_ when another try may succeed.
  core::Task<absl::StatusOr<Kept>> KeepOnce(Content content, std::string_view prefix);
  core::Task<absl::Status> KeepRecordOnce(const std::string& name, std::string_view json);

  // A file for `path`: without a name, or beside it and partial_ from then on. 0, or an errno.
  core::Task<int> Create(const std::string& path, core::UniqueFd& file);
  core::Task<core::IoResult> OpenAt(const std::string& path, int flags);
  // Gives it the name `path`. 0, or an errno; EEXIST: there is a file of that name.
  int Publish(int file, const std::string& path);
  // `path`: what the file is to be called, for the error.
  core::Task<absl::StatusOr<core::Sha256::Digest>> Copy(Content content, int to, const std::string& path);
  core::Task<absl::Status> Write(int to, std::string_view bytes, uint64_t offset, const std::string& path);

  core::Loop& loop_;
  std::string directory_;
  bool unnamed_files_ = true;  // until the file system turns out to have none, or no way to name them
  std::string partial_;        // the file that is being written; empty: there is none, or it has no name
  std::vector<char> piece_;
  core::Sha256 hash_;
};

}  // namespace bivalve::appliance
