// Quarantine: keeps messages as files in TempDirectory, for the Quarantine and DebugFiles settings. On the
// control thread; files are written through its ring, piece by piece, so that signals and statistics are
// served meanwhile.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/io.h"
#include "core/loop.h"
#include "core/task.h"
#include "scan/sha256.h"

namespace bivalve::appliance {

class Quarantine {
 public:
  Quarantine(core::Loop& loop, std::string directory) : loop_(loop), directory_(std::move(directory)) {}

  // For the files that are made from now on.
  void set_directory(std::string directory) { directory_ = std::move(directory); }

  // What is kept: `bytes` of `fd` from `offset` on, which nobody changes. Borrowed until Keep returns.
  struct Content {
    int fd = -1;
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };

  struct Kept {
    std::string path;
    scan::Sha256::Digest sha256 = {};
  };
  // Writes a new file, mode 0600, called `prefix` and six random characters. After an error (a sentence for
  // the log) nothing is left of it. One call at a time, of this and of KeepRecord. Suspends.
  core::Task<absl::StatusOr<Kept>> Keep(Content content, std::string_view prefix);

  // Writes the record of the message at `path` beside it, mode 0600: to a file of another name, which then
  // gets its own. So a record that is there is whole, and so is its message, which was written before. After
  // an error nothing is left of the record. Suspends.
  core::Task<absl::Status> KeepRecord(std::string path, std::string json);

  // For the end of the process: removes the file that is being written, if there is one. Blocks.
  void RemovePartial();

 private:
  static constexpr size_t kPieceBytes = size_t{256} << 10;

  // A file that does not exist yet, and is partial_ from then on.
  core::Task<core::IoResult> Create(std::string path);
  core::Task<core::IoResult> OpenNew(std::string_view prefix);
  core::Task<absl::Status> Copy(Content content, int to, scan::Sha256& hash);
  core::Task<absl::Status> Write(int to, std::string_view bytes, uint64_t offset);

  core::Loop& loop_;
  std::string directory_;
  std::string partial_;  // the file that is being written
  std::vector<char> piece_;
};

}  // namespace bivalve::appliance
