// VirusActions: runs the VirusAction command, on the control thread. A command gets the data about the
// message in its environment, where no shell interprets it before the operator's own script does. It inherits
// nothing else.
#pragma once

#include <sys/types.h>

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "appliance/viruses/virus_report.h"

namespace bivalve::appliance {

// The whole environment of the command, as "NAME=value": CLIENT EMAIL RECIPIENTS REMOTE REMOTE_HELO SENDER
// SERVER TMPDIR VIRUS as in clamsmtpd(8), without the unknown ones, and a PATH. `email`: the file with the
// message, or empty. A value ends at a NUL.
std::vector<std::string> ActionEnvironment(const VirusReport& report, std::string_view email,
                                           std::string_view temp_directory);

class VirusActions {
 public:
  // At most this many commands run at once; the rest wait in line.
  static constexpr size_t kRunningMax = 8;

  explicit VirusActions(std::string command) : command_(std::move(command)) {}
  // Running commands are not ended.
  ~VirusActions() = default;

  // For commands that are started from now on.
  void set_command(std::string command) { command_ = std::move(command); }
  // Starts the command now, or when one of the running commands has ended. Returns the errors of the starts
  // that were tried.
  absl::Status Add(std::vector<std::string> environment);
  // After SIGCHLD: collects the commands that have ended, and starts waiting ones.
  absl::Status Reap();

  size_t running() const { return running_.size(); }
  size_t waiting() const { return waiting_.size(); }

 private:
  absl::Status StartWaiting();
  absl::Status Start(const std::vector<std::string>& environment);

  std::string command_;
  std::deque<std::vector<std::string>> waiting_;
  std::vector<pid_t> running_;
};

}  // namespace bivalve::appliance
