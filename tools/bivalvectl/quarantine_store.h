// QuarantineStore: the directory of quarantined messages, seen from outside the daemon. Others may be able to
// write there (TempDirectory is /tmp by default), so nothing in it is believed: names are checked, links are
// not followed, and who owns a file is told.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "appliance/viruses/quarantine_record.h"
#include "core/fd.h"

namespace bivalve::ctl {

struct QuarantineEntry {
  std::string id = {};
  bool has_message = false;
  uint64_t size_bytes = 0;  // of the message
  std::chrono::system_clock::time_point time = {};
  uid_t owner = 0;  // of the message, or of the record where there is no message
  std::optional<appliance::QuarantineRecord> record = {};
  std::string problem = {};  // why there is no record, or no message; empty: both are there
};

class QuarantineStore {
 public:
  static absl::StatusOr<QuarantineStore> Open(const std::string& directory);

  // "virus.aB3dE5", of which the six characters may be given alone. The error says what an ID is.
  static absl::StatusOr<std::string> CheckId(std::string_view text);

  // The newest first.
  std::vector<QuarantineEntry> List() const;
  // What List() has of that name. NotFound when that is nothing.
  absl::StatusOr<QuarantineEntry> Find(const std::string& id) const;
  absl::StatusOr<std::string> ReadMessage(const std::string& id) const;
  // The message, its record, and what is left of a record. The message goes first: what remains after an
  // error is not taken for a message.
  absl::Status Delete(const std::string& id) const;

 private:
  explicit QuarantineStore(std::string path, core::UniqueFd directory)
      : path_(std::move(path)), directory_(std::move(directory)) {}
  // A regular file of its own, whatever stands under that name.
  absl::StatusOr<core::UniqueFd> OpenFile(const std::string& name) const;
  QuarantineEntry Look(const std::string& id) const;

  std::string path_;
  core::UniqueFd directory_;
};

}  // namespace bivalve::ctl
