#include "appliance/viruses/virus_action.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/text.h"

namespace bivalve::appliance {
namespace {

constexpr std::string_view kSafePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// Makes the start of a command independent of this process: all descriptors are /dev/null, no signals are
// blocked or ignored, and the command has its own process group, so that a signal to our group does not reach
// it.
class SpawnSettings {
 public:
  SpawnSettings() {
    posix_spawn_file_actions_init(&files_);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
      posix_spawn_file_actions_addopen(&files_, fd, "/dev/null", O_RDWR, 0);
    }
    posix_spawn_file_actions_addclosefrom_np(&files_, STDERR_FILENO + 1);
    posix_spawnattr_init(&attributes_);
    sigset_t signals;
    sigemptyset(&signals);
    posix_spawnattr_setsigmask(&attributes_, &signals);
    sigfillset(&signals);
    posix_spawnattr_setsigdefault(&attributes_, &signals);
    posix_spawnattr_setpgroup(&attributes_, 0);
    posix_spawnattr_setflags(&attributes_,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&files_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnSettings(const SpawnSettings&) = delete;

  const posix_spawn_file_actions_t* files() const { return &files_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t files_;
  posix_spawnattr_t attributes_;
};

// Linux limits one variable to 128 KiB (execve(2)).
constexpr size_t kRecipientsBytesMax = size_t{100} << 10;

// One recipient on each line, as many as fit.
std::string RecipientLines(const std::vector<net::Recipient>& recipients) {
  std::string lines;
  for (const net::Recipient& recipient : recipients) {
    if (lines.size() + 1 + recipient.path.size() > kRecipientsBytesMax) break;
    if (!lines.empty()) lines += '\n';
    lines += recipient.path;
  }
  return lines;
}

}  // namespace

std::vector<std::string> ActionEnvironment(const VirusReport& report, std::string_view email,
                                           std::string_view temp_directory) {
  const std::string recipients = RecipientLines(report.recipients);
  const std::pair<std::string_view, std::string_view> variables[] = {
      {"PATH", kSafePath},        {"CLIENT", report.client}, {"EMAIL", email},
      {"RECIPIENTS", recipients}, {"REMOTE", report.remote}, {"REMOTE_HELO", report.remote_helo},
      {"SENDER", report.sender},  {"SERVER", report.server}, {"TMPDIR", temp_directory},
      {"VIRUS", report.virus},
  };
  std::vector<std::string> environment;
  for (const auto& [name, value] : variables) {
    // The null reverse-path is a value, as in clamsmtpd.
    if (value.empty() && name != "SENDER") continue;
    environment.push_back(core::Cat(name, "=", value.substr(0, value.find('\0'))));
  }
  return environment;
}

absl::Status VirusActions::Add(std::vector<std::string> environment) {
  waiting_.push_back(std::move(environment));
  return StartWaiting();
}

absl::Status VirusActions::Reap() {
  // One by one, because waiting for any child would also collect children of others.
  std::erase_if(running_, [](pid_t pid) {
    const pid_t ended = waitpid(pid, nullptr, WNOHANG);
    return ended == pid || (ended < 0 && errno == ECHILD);
  });
  return StartWaiting();
}

absl::Status VirusActions::StartWaiting() {
  absl::Status status;
  while (!waiting_.empty() && running_.size() < kRunningMax) {
    status.Update(Start(waiting_.front()));
    waiting_.pop_front();
  }
  return status;
}

absl::Status VirusActions::Start(const std::vector<std::string>& environment) {
  const SpawnSettings settings;
  std::string words[] = {"sh", "-c", command_};
  char* const arguments[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  std::vector<char*> variables;
  for (const std::string& one : environment) variables.push_back(const_cast<char*>(one.c_str()));
  variables.push_back(nullptr);
  pid_t pid = 0;
  const int error =
      posix_spawn(&pid, "/bin/sh", settings.files(), settings.attributes(), arguments, variables.data());
  if (error != 0) {
    return absl::UnavailableError(
        core::Cat("VirusAction: cannot start it: ", std::string_view(std::strerror(error))));
  }
  running_.push_back(pid);
  return absl::OkStatus();
}

}  // namespace bivalve::appliance
