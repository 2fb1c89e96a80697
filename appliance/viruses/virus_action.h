// VirusActions: runs the VirusAction command, on the control thread. A command gets what is known of the
// message in its environment, where no shell looks at it before the operator's own script does; it inherits
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

// The whole environment of the command, "NAME=value" each: CLIENT EMAIL RECIPIENTS REMOTE REMOTE_HELO SENDER
// SERVER TMPDIR VIRUS as in clamsmtpd(8), those that are not known left out, and a PATH. `email`: the file
// that the message was kept in, or empty. A NUL ends a value.
std::vector<std::string> ActionEnvironment(const VirusReport& report, std::string_view email,
                                           std::string_view temp_directory);

class VirusActions {
 public:
  // More commands than this do not run at once; the rest wait in line.
  static constexpr size_t kRunningMax = 8;

  explicit VirusActions(std::string command) : command_(std::move(command)) {}
  // Commands that run are left to finish on their own.
  ~VirusActions() = default;

  // For the commands that are started from now on.
  void set_command(std::string command) { command_ = std::move(command); }
  // Starts the command now, or when one of those that run has ended. The errors of the starts that were
  // tried.
  absl::Status Add(std::vector<std::string> environment);
  // After SIGCHLD: collects those that have ended, and starts what waits.
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
