// null_clamd: a scanner that answers at once and looks at nothing, so that a benchmark measures the filter
// and not the scanner. It speaks as much of clamd's protocol as clients use: PING, VERSION, FILDES and
// INSTREAM, alone and in sessions (IDSESSION), in both framings. Not a test of a client's correctness: it
// believes everything.
#include <netdb.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/fd.h"
#include "core/text.h"
#include "scan/canary.h"
#include "scan/scan_image.h"

namespace {

using bivalve::core::Append;
using bivalve::core::Cat;
using bivalve::core::UniqueFd;
using bivalve::scan::kCanaryMark;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kUsage =
    R"(Usage: null_clamd --listen PATH|HOST:PORT [OPTION]...

A scanner that answers every scan at once and looks at nothing, for benchmarks. Prints
"listening on ..." when it is ready, and ends on SIGTERM or SIGINT.

  --listen ADDRESS  a path with a slash for a local socket, or HOST:PORT (port 0: any)
  --delay-ms N      answer scans after N milliseconds (default 0)
  --reply TEXT      OK (default), 'NAME FOUND' or 'TEXT ERROR'
  --canary on|off   find the virus in the filter's test message (default on)
  --threads N       serve connections with N threads (default 1)
  --help            show this text
)";

struct Settings {
  std::string listen;
  std::string reply = "OK";
  std::chrono::milliseconds delay{0};
  int threads = 1;
  bool canary = true;
};

constexpr size_t kCommandBytesMax = 4096;
constexpr size_t kReadBytes = size_t{64} << 10;
constexpr size_t kDescriptorsMax = 16;  // in one message; clients send one

// The filter's test message: of its size (all that an ordinary message costs), and marked where the content
// begins.
constexpr size_t kCanaryStart = bivalve::scan::kFrontBytes + kCanaryMark.size();
size_t CanaryBytes() {
  static const size_t bytes = bivalve::scan::kFrontBytes + bivalve::scan::CanaryContent().size();
  return bytes;
}
bool IsCanary(int fd) {
  struct stat file = {};
  if (fstat(fd, &file) != 0 || static_cast<size_t>(file.st_size) != CanaryBytes()) return false;
  std::array<char, kCanaryMark.size()> mark;
  const ssize_t bytes = pread(fd, mark.data(), mark.size(), bivalve::scan::kFrontBytes);
  return bytes == static_cast<ssize_t>(mark.size()) &&
         std::string_view(mark.data(), mark.size()) == kCanaryMark;
}

// One client's connection: where it is in the protocol, and what is to be sent to it.
class Connection {
 public:
  Connection(int fd, uint64_t serial, const Settings& settings)
      : fd_(fd), serial_(serial), settings_(settings) {}

  int fd() const { return fd_.get(); }
  uint64_t serial() const { return serial_; }
  std::string& output() { return output_; }
  // Nothing more is read; it is closed once everything was sent.
  bool closing() const { return closing_; }
  // The events that it is in the epoll set for.
  uint32_t watched() const { return watched_; }
  void set_watched(uint32_t events) { watched_ = events; }
  int late_replies = 0;  // that wait for their time

  // Takes `bytes` that arrived together with a number of descriptors, and calls reply(text, is_scan) for each
  // answer.
  template <typename ReplyTo>
  void Take(std::string_view bytes, size_t descriptors, bool canary, ReplyTo&& reply) {
    descriptors_ += descriptors;
    canary_ = canary_ || canary;
    while (!bytes.empty() && !closing_) {
      switch (step_) {
        case Step::kCommand:
          TakeCommand(bytes, reply);
          break;
        case Step::kDescriptor:  // the byte that carries it
          bytes.remove_prefix(1);
          step_ = Step::kCommand;
          if (descriptors_ > 0) {
            --descriptors_;
            AnswerScan("fd[10]: ", reply);
          } else {
            Answer("No file descriptor received. ERROR", false, reply);
            closing_ = true;
          }
          break;
        case Step::kChunkHeader:
          chunk_bytes_ = chunk_bytes_ << 8 | static_cast<unsigned char>(bytes.front());
          bytes.remove_prefix(1);
          if (++header_bytes_ == 4) {
            header_bytes_ = 0;
            step_ = Step::kChunk;
            if (chunk_bytes_ == 0) {
              step_ = Step::kCommand;
              canary_ = stream_bytes_ == CanaryBytes() && stream_start_.ends_with(kCanaryMark);
              AnswerScan("stream: ", reply);
            }
          }
          break;
        case Step::kChunk: {
          const size_t take = std::min<size_t>(bytes.size(), chunk_bytes_);
          stream_bytes_ += take;
          if (stream_start_.size() < kCanaryStart) {
            stream_start_.append(bytes.substr(0, std::min(take, kCanaryStart - stream_start_.size())));
          }
          bytes.remove_prefix(take);
          chunk_bytes_ -= static_cast<uint32_t>(take);
          if (chunk_bytes_ == 0) step_ = Step::kChunkHeader;
          break;
        }
      }
    }
  }

 private:
  enum class Step { kCommand, kDescriptor, kChunkHeader, kChunk };

  template <typename ReplyTo>
  void TakeCommand(std::string_view& bytes, ReplyTo& reply) {
    if (command_.empty()) {
      end_ = bytes.front() == 'z' ? '\0' : '\n';
    }
    const size_t end = bytes.find(end_);
    command_.append(bytes.substr(0, end));
    bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + 1);
    if (command_.size() > kCommandBytesMax) closing_ = true;
    if (end == std::string_view::npos) return;
    const std::string command = std::move(command_);
    command_.clear();
    Run(std::string_view(command).substr(command.starts_with('z') || command.starts_with('n') ? 1 : 0),
        reply);
  }

  template <typename ReplyTo>
  void Run(std::string_view command, ReplyTo& reply) {
    if (command == "IDSESSION" && !session_) {
      session_ = true;
      return;
    }
    if (command == "END" && session_) {
      closing_ = true;
      return;
    }
    ++id_;
    if (command == "FILDES") {
      step_ = Step::kDescriptor;
    } else if (command == "INSTREAM") {
      step_ = Step::kChunkHeader;
      chunk_bytes_ = 0;
      stream_bytes_ = 0;
      stream_start_.clear();
    } else if (command == "PING") {
      Answer("PONG", false, reply);
    } else if (command == "VERSION") {
      Answer("ClamAV 0.0.0/null", false, reply);
    } else {
      Answer(session_ ? "Command invalid inside IDSESSION. ERROR" : "UNKNOWN COMMAND", false, reply);
      closing_ = true;
    }
  }

  // Every mail gets the same answer; the filter's test message the one that it hopes for, and at once.
  template <typename ReplyTo>
  void AnswerScan(std::string_view shape, ReplyTo& reply) {
    const bool canary = std::exchange(canary_, false) && settings_.canary;
    Answer(Cat(shape, canary ? "Canary FOUND" : std::string_view(settings_.reply)), !canary, reply);
  }

  template <typename ReplyTo>
  void Answer(std::string_view text, bool is_scan, ReplyTo& reply) {
    std::string record;
    if (session_) Append(record, id_, ": ");
    Append(record, text, end_);
    reply(std::move(record), is_scan);
    if (!session_) closing_ = true;
  }

  UniqueFd fd_;
  uint64_t serial_;
  const Settings& settings_;
  Step step_ = Step::kCommand;
  std::string command_;
  std::string output_;
  char end_ = '\0';
  bool session_ = false;
  bool closing_ = false;
  uint32_t watched_ = EPOLLIN;
  uint32_t id_ = 0;
  size_t descriptors_ = 0;
  uint32_t chunk_bytes_ = 0;
  bool canary_ = false;  // the descriptor that has come is the test message
  size_t stream_bytes_ = 0;
  std::string stream_start_;
  int header_bytes_ = 0;
};

// One thread's connections.
class Server {
 public:
  Server(const Settings& settings, int listener, int stop)
      : settings_(settings), listener_(listener), stop_(stop) {}

  void Run() {
    // All threads wait for the one listener; EXCLUSIVE wakes one of them for a connection.
    epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
    Watch(EPOLL_CTL_ADD, listener_, EPOLLIN | EPOLLEXCLUSIVE);
    Watch(EPOLL_CTL_ADD, stop_, EPOLLIN);
    std::array<epoll_event, 64> events;
    for (;;) {
      const int count = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), Timeout());
      for (int i = 0; i < count; ++i) {
        const epoll_event& event = events[static_cast<size_t>(i)];
        if (event.data.fd == stop_) return;
        if (event.data.fd == listener_) {
          Accept();
        } else {
          Serve(event.data.fd, event.events);
        }
      }
      SendLate();
    }
  }

 private:
  struct Late {
    Clock::time_point due;
    int fd;
    uint64_t serial;
    std::string record;
  };

  void Watch(int operation, int fd, uint32_t what) {
    epoll_event event = {};
    event.events = what;
    event.data.fd = fd;
    epoll_ctl(epoll_.get(), operation, fd, &event);
  }

  // Every reply has the same delay, so they are due in order.
  int Timeout() const {
    if (late_.empty()) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(late_.front().due - Clock::now());
    return static_cast<int>(std::max<int64_t>(left.count(), 0));
  }

  void Accept() {
    for (;;) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      connections_[fd] = std::make_unique<Connection>(fd, ++serial_, settings_);
      Watch(EPOLL_CTL_ADD, fd, EPOLLIN);
    }
  }

  void Serve(int fd, uint32_t events) {
    const auto found = connections_.find(fd);
    if (found == connections_.end()) return;
    Connection& connection = *found->second;
    bool open = (events & EPOLLERR) == 0;
    if (open && connection.closing()) {
      open = (events & EPOLLHUP) == 0;
    } else if (open) {
      open = Read(connection);
    }
    if (!open || !Send(connection)) connections_.erase(found);  // closing takes it out of the epoll set
  }

  bool Read(Connection& connection) {
    const auto reply = [this, &connection](std::string record, bool is_scan) {
      if (is_scan && settings_.delay.count() > 0) {
        ++connection.late_replies;
        late_.push_back(
            {Clock::now() + settings_.delay, connection.fd(), connection.serial(), std::move(record)});
      } else {
        connection.output().append(record);
      }
    };
    for (;;) {
      iovec piece = {buffer_.data(), buffer_.size()};
      alignas(cmsghdr) std::array<char, CMSG_SPACE(kDescriptorsMax * sizeof(int))> control;
      msghdr message = {};
      message.msg_iov = &piece;
      message.msg_iovlen = 1;
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      const ssize_t bytes = recvmsg(connection.fd(), &message, MSG_CMSG_CLOEXEC);
      if (bytes < 0) return errno == EAGAIN || errno == EINTR;
      bool canary = false;
      const size_t descriptors = CloseDescriptors(message, canary);
      if (bytes == 0) return false;
      connection.Take({buffer_.data(), static_cast<size_t>(bytes)}, descriptors, canary, reply);
      if (connection.closing()) return true;
      // A full buffer or a descriptor, behind which a read stops, means that there may be more.
      if (static_cast<size_t>(bytes) < buffer_.size() && descriptors == 0) return true;
    }
  }

  size_t CloseDescriptors(msghdr& message, bool& canary) const {
    size_t count = 0;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
      const size_t here = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < here; ++i) {
        int fd;
        std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
        canary = canary || (settings_.canary && IsCanary(fd));
        close(fd);
      }
      count += here;
    }
    return count;
  }

  // False: the connection is over.
  bool Send(Connection& connection) {
    std::string& output = connection.output();
    if (!output.empty()) {
      const ssize_t sent = send(connection.fd(), output.data(), output.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN && errno != EINTR) return false;
      if (sent > 0) output.erase(0, static_cast<size_t>(sent));
    }
    if (output.empty() && connection.closing() && connection.late_replies == 0) return false;
    const uint32_t wanted = (connection.closing() ? 0u : EPOLLIN) | (output.empty() ? 0u : EPOLLOUT);
    if (wanted != connection.watched()) Watch(EPOLL_CTL_MOD, connection.fd(), wanted);
    connection.set_watched(wanted);
    return true;
  }

  void SendLate() {
    const Clock::time_point now = late_.empty() ? Clock::time_point() : Clock::now();
    while (!late_.empty() && late_.front().due <= now) {
      const Late late = std::move(late_.front());
      late_.pop_front();
      const auto found = connections_.find(late.fd);
      if (found == connections_.end() || found->second->serial() != late.serial) continue;
      found->second->output().append(late.record);
      --found->second->late_replies;
      if (!Send(*found->second)) connections_.erase(found);
    }
  }

  const Settings& settings_;
  const int listener_;
  const int stop_;
  UniqueFd epoll_;
  uint64_t serial_ = 0;
  std::unordered_map<int, std::unique_ptr<Connection>> connections_;
  std::deque<Late> late_;
  std::vector<char> buffer_ = std::vector<char>(kReadBytes);
};

// Listens, and replaces settings.listen by the address in full. The error is a sentence.
std::string Listen(Settings& settings, UniqueFd& listener) {
  const auto failed = [&settings](std::string_view why) {
    return Cat("--listen ", settings.listen, ": ", why);
  };
  const auto system_failed = [&failed] { return failed(std::string_view(std::strerror(errno))); };
  if (settings.listen.find('/') != std::string::npos) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    if (settings.listen.size() >= sizeof(address.sun_path)) return failed("is too long for a local socket");
    std::memcpy(address.sun_path, settings.listen.data(), settings.listen.size());
    struct stat old = {};
    if (lstat(settings.listen.c_str(), &old) == 0 && S_ISSOCK(old.st_mode)) unlink(settings.listen.c_str());
    listener.Reset(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!listener.valid() ||
        bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      return system_failed();
    }
  } else {
    const size_t colon = settings.listen.rfind(':');
    if (colon == std::string::npos) return failed("is neither a path nor HOST:PORT");
    const std::string host(bivalve::core::Trim(std::string_view(settings.listen).substr(0, colon), "[]"));
    const std::string port = settings.listen.substr(colon + 1);
    addrinfo hints = {};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    addrinfo* found = nullptr;
    if (const int error = getaddrinfo(host.empty() ? nullptr : host.c_str(), port.c_str(), &hints, &found);
        error != 0) {
      return failed(std::string_view(gai_strerror(error)));
    }
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
    listener.Reset(socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int on = 1;
    if (listener.valid()) setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (!listener.valid() || bind(listener.get(), found->ai_addr, found->ai_addrlen) != 0)
      return system_failed();
    sockaddr_storage bound = {};
    socklen_t bound_bytes = sizeof(bound);
    getsockname(listener.get(), reinterpret_cast<sockaddr*>(&bound), &bound_bytes);
    std::array<char, 64> number = {};
    getnameinfo(reinterpret_cast<const sockaddr*>(&bound), bound_bytes, nullptr, 0, number.data(),
                number.size(), NI_NUMERICSERV);
    settings.listen =
        Cat(std::string_view(settings.listen).substr(0, colon), ":", std::string_view(number.data()));
  }
  if (listen(listener.get(), SOMAXCONN) != 0) return system_failed();
  return {};
}

std::optional<int> ParseNumber(std::string_view text, int least, int most) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < least || number > most)
    return std::nullopt;
  return number;
}

// The error is a sentence; empty when all is well.
std::string ParseArguments(const std::vector<std::string_view>& arguments, Settings& settings) {
  for (size_t i = 0; i < arguments.size(); i += 2) {
    const std::string_view name = arguments[i];
    if (i + 1 == arguments.size()) return Cat(name, ": unknown, or without its value; see --help");
    const std::string_view value = arguments[i + 1];
    if (name == "--listen") {
      settings.listen = value;
    } else if (name == "--reply") {
      if (value != "OK" && !value.ends_with(" FOUND") && !value.ends_with(" ERROR")) {
        return Cat("--reply: '", value, "' is neither OK nor ends in FOUND or ERROR");
      }
      settings.reply = value;
    } else if (name == "--delay-ms") {
      const std::optional<int> number = ParseNumber(value, 0, 3'600'000);
      if (!number.has_value()) return Cat("--delay-ms: '", value, "' is not between 0 and 3600000");
      settings.delay = std::chrono::milliseconds(*number);
    } else if (name == "--canary") {
      if (value != "on" && value != "off") return Cat("--canary: '", value, "' is neither on nor off");
      settings.canary = value == "on";
    } else if (name == "--threads") {
      const std::optional<int> number = ParseNumber(value, 1, 256);
      if (!number.has_value()) return Cat("--threads: '", value, "' is not between 1 and 256");
      settings.threads = *number;
    } else {
      return Cat(name, ": unknown option; see --help");
    }
  }
  return settings.listen.empty() ? "--listen is missing; see --help" : "";
}

int Fail(const std::string& why) {
  std::fprintf(stderr, "null_clamd: %s\n", why.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> arguments(argv + 1, argv + argc);
  if (std::find(arguments.begin(), arguments.end(), "--help") != arguments.end()) {
    std::fwrite(kUsage.data(), 1, kUsage.size(), stdout);
    return 0;
  }
  Settings settings;
  if (const std::string error = ParseArguments(arguments, settings); !error.empty()) return Fail(error);

  // Blocked before any thread starts, so that only sigwait() below sees them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  UniqueFd listener;
  if (const std::string error = Listen(settings, listener); !error.empty()) return Fail(error);
  const UniqueFd stop(eventfd(0, EFD_CLOEXEC));
  std::vector<std::thread> threads;
  for (int i = 0; i < settings.threads; ++i) {
    threads.emplace_back([&settings, &listener, &stop] {
      Server server(settings, listener.get(), stop.get());
      server.Run();
    });
  }
  std::printf("listening on %s\n", settings.listen.c_str());
  std::fflush(stdout);

  int signal = 0;
  sigwait(&signals, &signal);
  const uint64_t one = 1;
  (void)!write(stop.get(), &one, sizeof(one));  // nobody reads it, so every thread sees it
  for (std::thread& thread : threads) thread.join();
  if (settings.listen.find('/') != std::string::npos) unlink(settings.listen.c_str());
  return 0;
}
