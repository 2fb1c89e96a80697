// The file that names this process, and how it goes from one process to the next at a hot restart.
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
  // Removes it, unless another process is named there.
  ~PidFile();

  // Opens the file, or takes the one that was handed over if that is the same: who opened it as root may have
  // been able to what we are not. Then `inherited` is empty. While still root, and before `user` (empty: who
  // it is) is; nobody else may own the file or write to it, or root could be made to signal another process.
  absl::Status Open(const std::string& path, const std::string& user, Inheritance::Socket& inherited);
  // This process is the one from now on.
  absl::Status Write();
  // Another one is.
  void GiveAway() { ours_ = false; }

  int descriptor() const { return fd_.get(); }  // -1: there is none

 private:
  std::string path_;
  core::UniqueFd fd_;
  bool ours_ = false;  // to be removed
};

// Who may own the file and the directories above it: root, and the user that the program runs as.
Trusted TrustedWithPidFile(const std::string& user);

}  // namespace bivalve::appliance
