#include "appliance/process/hot_restart.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include "core/text.h"

namespace bivalve::appliance {
namespace {

// A new process that finds no scanner takes over nevertheless: the old one would have none either.
constexpr core::Duration kScannerWait = std::chrono::seconds(5);
constexpr core::Duration kLook = std::chrono::milliseconds(10);
// For the last messages, to a process that reads at once.
constexpr core::Duration kLastWords = std::chrono::seconds(5);
// How long a process that has closed its channel, or was killed, gets to end.
constexpr core::Duration kEndWait = std::chrono::seconds(2);

// The next complete line from the channel.
std::optional<std::string> NextLine(core::Stream& stream) {
  const std::string_view input = stream.input();
  const size_t end = input.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  std::string line(input.substr(0, end));
  stream.Consume(end + 1);
  return line;
}

std::string StatusText(int status) {
  if (WIFSIGNALED(status)) return core::Cat("it was ended by signal ", WTERMSIG(status));
  return core::Cat("it ended with status ", WEXITSTATUS(status));
}

}  // namespace

struct Successor::Attempt {
  pid_t pid = 0;
  core::MonoTime deadline;
  std::string fault;      // what it said, or what we say about it
  std::vector<int> left;  // descriptors that the new process does not want
  bool took = false;
};

core::Task<void> Successor::Start(std::chrono::seconds timeout) {
  under_way_ = true;
  Attempt attempt;
  attempt.deadline = loop_.Now() + timeout;
  co_await Run(attempt);
  under_way_ = false;
  if (attempt.took) co_return;
  callbacks_.say(Severity::kError,
                 core::Cat("the new process has not taken over, this one goes on: ", attempt.fault));
  callbacks_.failed(std::move(attempt.fault));
}

core::Task<void> Successor::Run(Attempt& attempt) {
  Legacy legacy = callbacks_.legacy();
  if (legacy.smtp.size() > kLegacySocketsMax) {
    attempt.fault = core::Cat("there are more than ", kLegacySocketsMax, " listening sockets");
    co_return;
  }
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    attempt.fault = core::Cat("cannot make a channel: ", std::string_view(std::strerror(errno)));
    co_return;
  }
  core::UniqueFd theirs(ends[1]);
  legacy.channel = theirs.get();
  attempt.pid =
      StartSuccessor(program_.path, program_.directory, program_.arguments, legacy, program_.new_session);
  theirs.Reset();
  if (attempt.pid < 0) {
    close(ends[0]);
    attempt.fault =
        core::Cat("cannot start ", program_.path, ": ", std::string_view(std::strerror(-attempt.pid)));
    if (attempt.pid == -ENOENT && access(program_.path.c_str(), F_OK) != 0)
      attempt.fault += "; the program was removed or has another name now, put one there";
    co_return;
  }
  callbacks_.say(Severity::kNotice, core::Cat("process ", attempt.pid, " is to take over"));
  core::Stream stream(loop_, wake_);
  stream.Adopt(ends[0]);
  bool given_up = false;
  while (!attempt.took && !given_up) {
    if (TakeLine(attempt, stream)) continue;
    if (stream.ended()) break;
    stream.StartReading();
    const bool in_time = co_await wake_.Wait(attempt.deadline);
    given_up = stopping_ || !in_time;
    if (given_up && attempt.fault.empty())
      attempt.fault = stopping_ ? "the service stops" : "it was not ready in time (RestartTimeOut)";
  }
  if (attempt.took) {
    callbacks_.took(attempt.pid, std::move(attempt.left));
    while (!accepts_no_more_ && !stopping_) (void)co_await wake_.Wait();
  } else {
    const std::string end = co_await End(attempt.pid, !given_up);
    core::Append(attempt.fault, attempt.fault.empty() ? "" : "; ", end);
  }
  co_await stream.Close();
}

// Returns false if there is no complete line.
bool Successor::TakeLine(Attempt& attempt, core::Stream& stream) {
  constexpr std::string_view kFailed = "failed ";
  constexpr std::string_view kLeft = "left ";
  const std::optional<std::string> line = NextLine(stream);
  if (!line.has_value()) return false;
  if (*line == "ready") {
    // From now on it may accept, so it is not killed for being a little late.
    attempt.deadline = std::max(attempt.deadline, loop_.Now() + kLastWords);
    stream.Write("go\n");
    stream.Flush();
  } else if (*line == "took") {
    attempt.took = true;
  } else if (line->starts_with(kFailed)) {
    const std::string text = line->substr(kFailed.size());
    callbacks_.say(Severity::kError, core::Cat("the new process says: ", text));
    if (attempt.fault.empty()) attempt.fault = text;
  } else if (line->starts_with(kLeft)) {
    int number = -1;
    std::from_chars(line->data() + kLeft.size(), line->data() + line->size(), number);
    attempt.left.push_back(number);
  }
  return true;
}

// Kills the process, unless it ends `by_itself`, and returns how it ended.
core::Task<std::string> Successor::End(pid_t pid, bool by_itself) {
  for (const bool kill_first : {!by_itself, true}) {
    if (kill_first) kill(pid, SIGKILL);
    const core::MonoTime until = loop_.Now() + kEndWait;
    while (loop_.Now() < until) {
      int status = 0;
      const pid_t ended = waitpid(pid, &status, WNOHANG);
      if (ended == pid) co_return StatusText(status);
      if (ended < 0) co_return "it has ended";
      (void)co_await wake_.Wait(loop_.Now() + kLook);
    }
  }
  co_return "it does not end";
}

void Successor::AcceptsNoMore() {
  accepts_no_more_ = true;
  wake_.Notify();
}

void Successor::Stop() {
  stopping_ = true;
  wake_.Notify();
}

void Predecessor::Failed(std::string_view text) const {
  if (!channel_.valid()) return;
  std::string line = "failed ";
  core::AppendEscaped(line, text, 1000);
  line += '\n';
  (void)send(channel_.get(), line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

core::Task<absl::Status> Predecessor::TakeOver(core::Loop& loop, Callbacks callbacks) {
  core::Condition wake(loop);
  wake_ = &wake;
  core::Stream stream(loop, wake);
  stream.Adopt(channel_.Release());
  absl::Status status = co_await Talk(stream, wake, callbacks);
  if (status.ok() && !stopping_) {
    co_await AwaitEnd(stream, wake);
    callbacks.alone();
  }
  (void)co_await stream.Drain(loop.Now() + kLastWords);
  co_await stream.Close();
  wake_ = nullptr;
  co_return status;
}

core::Task<absl::Status> Predecessor::Talk(core::Stream& stream, core::Condition& wake,
                                           Callbacks& callbacks) {
  core::Loop& loop = wake.loop();
  const core::MonoTime until = loop.Now() + kScannerWait;
  while (!stopping_ && !callbacks.prepared() && loop.Now() < until)
    (void)co_await wake.Wait(loop.Now() + kLook);
  stream.Write("ready\n");
  stream.Flush();
  bool agreed = false;
  while (!stopping_ && !agreed && !stream.ended()) {
    agreed = NextLine(stream) == "go";
    if (agreed) break;
    stream.StartReading();
    (void)co_await wake.Wait();
  }
  if (stopping_) co_return absl::OkStatus();
  absl::Status status = callbacks.take_over();
  if (!status.ok()) {
    stream.Write(core::Cat("failed ", std::string(status.message()), "\n"));
  } else {
    for (const int number : callbacks.left) stream.Write(core::Cat("left ", number, "\n"));
    stream.Write("took\n");
  }
  stream.Flush();
  co_return status;
}

// Waits until the other process closes the channel or ends.
core::Task<void> Predecessor::AwaitEnd(core::Stream& stream, core::Condition& wake) {
  while (!stopping_ && !stream.ended()) {
    stream.StartReading();
    (void)co_await wake.Wait();
  }
}

void Predecessor::Stop() {
  stopping_ = true;
  if (wake_ != nullptr) wake_->Notify();
}

}  // namespace bivalve::appliance
