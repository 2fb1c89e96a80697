// The file with this process's number, and how the next process gets it at a hot restart.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "appliance/process/handover.h"
#include "appliance/process/trusted_path.h"
#include "core/fd.h"

namespace bivalve::appliance {

class PidFile {
 public:
  PidFile() = default;
  PidFile(const PidFile&) = delete;
  // Removes the file, unless it names another process.
  ~PidFile();

  // Opens the file. If the inherited descriptor is the same file, it is taken instead and `inherited` becomes
  // empty: the process that opened it as root may have had rights that we do not have. Call while still root,
  // before the process becomes `user` (empty: it stays who it is). Nobody else may own the file or write to
  // it; otherwise they could make root signal another process.
  absl::Status Open(const std::string& path, const std::string& user, Inheritance::Socket& inherited);
  // From now on the file names this process.
  absl::Status Write();
  // From now on the file names another process.
  void GiveAway() { ours_ = false; }

  int descriptor() const { return fd_.get(); }  // -1: no file

 private:
  std::string path_;
  core::UniqueFd fd_;
  bool ours_ = false;  // the destructor removes the file
};

// The users who may own the file and the directories above it: root, and the user that the program runs as.
Trusted TrustedWithPidFile(const std::string& user);

}  // namespace bivalve::appliance
