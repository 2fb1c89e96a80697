#include "appliance/process/handover.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <utility>

#include "appliance/process/privileges.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

// "from=PID generation=N channel=FD manager=0 stats=FD pidfile=FD smtp=FD smtp=FD"
constexpr const char* kVariable = "BIVALVE_HANDOVER";
constexpr int kFirstManagerFd = 3;  // SD_LISTEN_FDS_START

std::optional<uint64_t> NumberOf(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

bool IsListening(int fd) {
  int listening = 0;
  socklen_t bytes = sizeof(listening);
  return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &bytes) == 0 && listening != 0;
}

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Takes `fd`; no program that we start inherits it.
Inheritance::Socket Take(int fd) {
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  return {.fd = core::UniqueFd(fd), .number = fd};
}

bool TakeWord(std::string_view name, uint64_t value, Inheritance& out) {
  const int fd = static_cast<int>(value);
  if (name == "from") {
    out.from = static_cast<pid_t>(value);
  } else if (name == "generation") {
    out.generation = value;
  } else if (name == "manager") {
    out.smtp_by_manager = (value & 1) != 0;
    out.stats_by_manager = (value & 2) != 0;
  } else if (name == "channel") {
    out.channel = Take(fd).fd;
  } else if (name == "pidfile") {
    out.pid_file = Take(fd);
  } else if (name == "stats" || name == "smtp") {
    if (!IsListening(fd)) return false;
    if (name == "stats") {
      out.stats = Take(fd);
    } else {
      out.smtp.push_back(Take(fd));
    }
  }
  return true;
}

void TakeFromProcess(std::string_view text, Inheritance& out, std::string& problem) {
  // A process further down that has inherited only the variable has another parent.
  if (NumberOf(text.substr(5, text.find(' ') - 5)) != static_cast<uint64_t>(getppid())) return;
  while (!text.empty()) {
    const size_t end = text.find(' ');
    const std::string_view word = text.substr(0, end);
    const size_t equals = word.find('=');
    const auto value = NumberOf(word.substr(equals == std::string_view::npos ? word.size() : equals + 1));
    if (!value.has_value() || !TakeWord(word.substr(0, equals), *value, out)) {
      problem = core::Cat("what was handed over is not what it says: ", word);
    }
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

// sd_listen_fds(3). A socket called "stats" is for StatsAddress; all others are for mail.
void TakeFromManager(std::string_view count_text, Inheritance& out, std::string& problem) {
  if (NumberOf(Variable("LISTEN_PID")) != static_cast<uint64_t>(getpid())) return;
  const auto count = NumberOf(count_text);
  if (!count.has_value() || *count > kLegacySocketsMax) {
    problem = "LISTEN_FDS is no number of sockets";
    return;
  }
  std::string names = Variable("LISTEN_FDNAMES");
  std::string_view rest = names;
  for (int fd = kFirstManagerFd; fd < kFirstManagerFd + static_cast<int>(*count); ++fd) {
    const size_t colon = rest.find(':');
    const std::string_view name = rest.substr(0, colon);
    rest.remove_prefix(colon == std::string_view::npos ? rest.size() : colon + 1);
    if (!IsListening(fd)) {
      problem = core::Cat("descriptor ", fd, " of the service manager is no listening socket");
    } else if (name == "stats") {
      out.stats = Take(fd);
    } else {
      out.smtp.push_back(Take(fd));
    }
  }
  out.smtp_by_manager = !out.smtp.empty();
  out.stats_by_manager = out.stats.fd.valid();
}

}  // namespace

Inheritance TakeInheritance(std::string& problem) {
  Inheritance out;
  const std::string handed_over = Variable(kVariable);
  const std::string count = Variable("LISTEN_FDS");
  if (handed_over.starts_with("from=")) {
    TakeFromProcess(handed_over, out, problem);
  } else if (!count.empty()) {
    TakeFromManager(count, out, problem);
  }
  for (const char* name : {kVariable, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) unsetenv(name);
  return out;
}

std::vector<int> Legacy::descriptors() const {
  std::vector<int> all = smtp;
  for (const int fd : {channel, stats, pid_file}) {
    if (fd >= 0) all.push_back(fd);
  }
  return all;
}

pid_t StartSuccessor(const std::string& path, const std::string& directory,
                     const std::vector<std::string>& arguments, const Legacy& legacy, bool new_session) {
  std::string variable =
      core::Cat(kVariable, "=from=", getpid(), " generation=", legacy.generation, " channel=", legacy.channel,
                " manager=", (legacy.smtp_by_manager ? 1 : 0) + (legacy.stats_by_manager ? 2 : 0));
  if (legacy.stats >= 0) core::Append(variable, " stats=", legacy.stats);
  if (legacy.pid_file >= 0) core::Append(variable, " pidfile=", legacy.pid_file);
  for (const int fd : legacy.smtp) core::Append(variable, " smtp=", fd);
  std::vector<char*> environment = {variable.data()};
  for (char** one = environ; *one != nullptr; ++one) {
    // WATCHDOG_PID names the old process. The service manager is told later to follow the new one.
    if (!std::string_view(*one).starts_with("WATCHDOG_PID=")) environment.push_back(*one);
  }
  environment.push_back(nullptr);
  std::vector<char*> words;
  words.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  // Duplicating a descriptor onto itself keeps it open in the new program.
  for (const int fd : legacy.descriptors()) posix_spawn_file_actions_adddup2(&files, fd, fd);
  posix_spawn_file_actions_addchdir_np(&files, directory.c_str());
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t signals;
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(&attributes, &signals);
  sigfillset(&signals);
  posix_spawnattr_setsigdefault(&attributes, &signals);
  int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  if (new_session) flags |= POSIX_SPAWN_SETSID;
  posix_spawnattr_setflags(&attributes, static_cast<short>(flags));
  pid_t pid = 0;
  int error = 0;
  {
    // They end before this thread starts anything else, so a VirusAction command gets none of them.
    const InheritableCapabilities capabilities;
    error = posix_spawn(&pid, path.c_str(), &files, &attributes, words.data(), environment.data());
  }
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  return error != 0 ? -error : pid;
}

}  // namespace bivalve::appliance
