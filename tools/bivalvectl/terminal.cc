#include "tools/bivalvectl/terminal.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <string>

#include "core/text.h"

namespace bivalve::ctl {
namespace {

// Another screen, no cursor, no automatic line breaks; and back.
constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
constexpr std::string_view kLeave = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

constexpr int kFatalSignals[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGPIPE,
                                 SIGABRT, SIGSEGV, SIGBUS,  SIGFPE,  SIGILL};

// For the signal handlers, which know nothing else.
termios before;
termios during;
bool keys_taken = false;
volatile sig_atomic_t taken = 0;
volatile sig_atomic_t changed = 0;

void Write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

// Both are safe in a signal handler, and do not wait for a terminal that nobody reads from any more.
void Take() {
  if (keys_taken) tcsetattr(STDIN_FILENO, TCSANOW, &during);
  Write(kEnter);
  taken = 1;
}
void GiveBack() {
  if (taken == 0) return;
  taken = 0;
  Write(kLeave);
  if (keys_taken) tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

void RaiseDefault(int number) {
  signal(number, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  raise(number);
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

void OnFatal(int number) {
  GiveBack();
  RaiseDefault(number);
}

void OnChange(int) { changed = 1; }

void SetHandler(int number, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  sigaction(number, &action, nullptr);
}

// Ctrl-Z: the shell gets its terminal back, and we ours when we go on.
void OnStop(int number) {
  const int saved = errno;
  GiveBack();
  RaiseDefault(number);  // returns when the process is continued
  SetHandler(SIGTSTP, OnStop);
  Take();
  changed = 1;
  errno = saved;
}

sigset_t ChangeSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGWINCH);
  return set;
}

}  // namespace

bool Terminal::Usable() {
  const char* type = std::getenv("TERM");
  return isatty(STDOUT_FILENO) != 0 && type != nullptr && std::string_view(type) != "dumb" &&
         !std::string_view(type).empty();
}

Terminal::Terminal() {
  keys_ = isatty(STDIN_FILENO) != 0 && tcgetattr(STDIN_FILENO, &before) == 0;
  keys_taken = keys_;
  during = before;
  during.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  during.c_cc[VMIN] = 1;
  during.c_cc[VTIME] = 0;
  // Seen only while waiting, so that none is lost between a look and the wait.
  const sigset_t set = ChangeSignals();
  sigprocmask(SIG_BLOCK, &set, nullptr);
  SetHandler(SIGWINCH, OnChange);
  SetHandler(SIGTSTP, OnStop);
  for (const int number : kFatalSignals) SetHandler(number, OnFatal);
  Take();
}

Terminal::~Terminal() {
  GiveBack();
  for (const int number : kFatalSignals) signal(number, SIG_DFL);
  signal(SIGTSTP, SIG_DFL);
}

Terminal::Size Terminal::CurrentSize() {
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {.columns = size.ws_col, .rows = size.ws_row};
}

void Terminal::Draw(const std::vector<TopLine>& lines) {
  std::string out = "\x1b[H";
  for (size_t i = 0; i < lines.size(); ++i) {
    std::string_view style;
    if (lines[i].style == TopLine::Style::kTitle) style = "\x1b[7m";
    if (lines[i].style == TopLine::Style::kAlarm) style = "\x1b[1;31m";
    core::Append(out, style, lines[i].text, style.empty() ? "" : "\x1b[0m", "\x1b[K",
                 i + 1 < lines.size() ? "\r\n" : "");
  }
  out += "\x1b[J";
  Write(out);
}

Terminal::Event Terminal::Wait(double seconds, char& key) {
  if (changed != 0) {
    changed = 0;
    return Event::kResize;
  }
  sigset_t open;
  sigprocmask(SIG_SETMASK, nullptr, &open);
  sigdelset(&open, SIGWINCH);
  pollfd input = {.fd = keys_ ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0};
  const double wait = std::max(seconds, 0.0);
  const timespec time = {
      .tv_sec = static_cast<time_t>(wait),
      .tv_nsec = static_cast<long>((wait - static_cast<double>(static_cast<time_t>(wait))) * 1e9)};
  const int ready = ppoll(&input, 1, &time, &open);
  if (changed != 0) {
    changed = 0;
    return Event::kResize;
  }
  if (ready <= 0) return Event::kTime;
  if (read(STDIN_FILENO, &key, 1) == 1) return Event::kKey;
  keys_ = false;  // nobody types any more
  return Event::kTime;
}

}  // namespace bivalve::ctl
