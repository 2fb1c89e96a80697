// A program that a test runs. The test reads its standard output, and the program ends with the test.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "core/fd.h"

namespace bivalve::tools {

// Far longer than anything takes that works.
inline constexpr std::chrono::seconds kProgramTimeout{60};

class Program {
 public:
  Program(const std::string& path, std::vector<std::string> arguments, bool with_errors = false) {
    int pipe_ends[2];
    BV_CHECK(pipe2(pipe_ends, O_CLOEXEC) == 0);
    std::vector<char*> argv = {const_cast<char*>(path.c_str())};
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    const pid_t parent = getpid();
    pid_ = fork();
    BV_CHECK(pid_ >= 0);
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(125);
      dup2(pipe_ends[1], STDOUT_FILENO);
      if (with_errors) dup2(pipe_ends[1], STDERR_FILENO);
      execv(path.c_str(), argv.data());
      _exit(127);
    }
    close(pipe_ends[1]);
    output_fd_.Reset(pipe_ends[0]);
  }
  Program(const Program&) = delete;
  ~Program() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }

  void Signal(int number) { kill(pid_, number); }

  // Reads up to the end of the next line. Empty if there is none.
  std::string ReadLine() {
    size_t end;
    while ((end = output_.find('\n')) == std::string::npos) {
      if (!ReadMore()) return {};
    }
    std::string line = output_.substr(0, end);
    output_.erase(0, end + 1);
    return line;
  }
  // Waits for the end. Returns the exit status, negative for a signal, and in `output` everything not read
  // yet.
  int Wait(std::string* output = nullptr) {
    while (ReadMore()) {
    }
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    if (output != nullptr) *output = output_;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  // False at the end of the output. A program that takes too long is killed.
  bool ReadMore() {
    pollfd watched = {.fd = output_fd_.get(), .events = POLLIN, .revents = 0};
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - std::chrono::steady_clock::now());
    if (left.count() <= 0 || poll(&watched, 1, static_cast<int>(left.count())) <= 0) {
      kill(pid_, SIGKILL);
      return false;
    }
    char buffer[4096];
    const ssize_t bytes = read(output_fd_.get(), buffer, sizeof(buffer));
    if (bytes <= 0) return false;
    output_.append(buffer, static_cast<size_t>(bytes));
    return true;
  }

  pid_t pid_ = -1;
  core::UniqueFd output_fd_;
  std::string output_;
  std::chrono::steady_clock::time_point deadline_ = std::chrono::steady_clock::now() + kProgramTimeout;
};

}  // namespace bivalve::tools
