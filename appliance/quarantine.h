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

  // Writes a new file, mode 0600, called `prefix` and six random characters, and returns its path. After an
  // error (a sentence for the log) nothing is left of it. One call at a time. Suspends.
  core::Task<absl::StatusOr<std::string>> Keep(Content content, std::string_view prefix);

  // For the end of the process: removes the file that is being written, if there is one. Blocks.
  void RemovePartial();

 private:
  static constexpr size_t kPieceBytes = size_t{256} << 10;

  core::Task<core::IoResult> OpenNew(std::string_view prefix);
  core::Task<absl::Status> Copy(Content content, int to);

  core::Loop& loop_;
  std::string directory_;
  std::string partial_;  // the file that is being written
  std::vector<char> piece_;
};

}  // namespace bivalve::appliance
