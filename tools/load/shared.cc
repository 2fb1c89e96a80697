#include "tools/load/shared.h"

#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <ctime>
#include <optional>

#include "core/check.h"
#include "net/smtp_command.h"

namespace bivalve::tools {
namespace {

absl::Status Invalid(std::string message) { return absl::InvalidArgumentError(message); }

absl::Status Store(uint64_t& stored, std::optional<uint64_t> number, std::string_view text, Bounds bounds) {
  if (!number.has_value() || *number < bounds.least || *number > bounds.most) {
    std::string message = core::Cat("'", text, "' is not a number of at least ", bounds.least);
    if (bounds.most != UINT64_MAX) core::Append(message, " and at most ", bounds.most);
    return Invalid(std::move(message));
  }
  stored = *number;
  return absl::OkStatus();
}

std::optional<double> ParseDecimal(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || !(number >= 0)) return std::nullopt;
  return number;
}

std::optional<uint64_t> ParseBytes(std::string_view text) {
  uint64_t unit = 1;
  if (!text.empty()) {
    switch (core::AsciiLower(text.back())) {
      case 'k':
        unit = uint64_t{1} << 10;
        break;
      case 'm':
        unit = uint64_t{1} << 20;
        break;
      case 'g':
        unit = uint64_t{1} << 30;
        break;
      default:
        break;
    }
  }
  if (unit != 1) text.remove_suffix(1);
  const std::optional<uint64_t> number = net::ParseNumber(text);
  if (!number.has_value() || *number > UINT64_MAX / unit) return std::nullopt;
  return *number * unit;
}

}  // namespace

absl::Status SetNumber(uint64_t& number, std::string_view text, Bounds bounds) {
  return Store(number, net::ParseNumber(text), text, bounds);
}

absl::Status SetBytes(uint64_t& bytes, std::string_view text, Bounds bounds) {
  return Store(bytes, ParseBytes(text), text, bounds);
}

absl::Status SetShare(double& share, std::string_view text) {
  const std::optional<double> percent =
      ParseDecimal(text.ends_with('%') ? text.substr(0, text.size() - 1) : text);
  if (!percent.has_value() || *percent > 100)
    return Invalid(core::Cat("'", text, "' is not between 0 and 100"));
  share = *percent / 100;
  return absl::OkStatus();
}

absl::Status SetDuration(core::Duration& duration, std::string_view text, core::Duration unit) {
  const std::optional<double> number = ParseDecimal(text);
  constexpr double kDay = 86400e9;
  if (!number.has_value() || *number * static_cast<double>(unit.count()) > kDay) {
    return Invalid(core::Cat("'", text, "' is not a time between 0 and one day"));
  }
  duration = core::Duration(static_cast<int64_t>(*number * static_cast<double>(unit.count())));
  return absl::OkStatus();
}

absl::Status SetText(std::string& stored, std::string_view text) {
  if (text.empty()) return Invalid("must not be empty");
  if (text.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos) {
    return Invalid("must not hold a line end or NUL");
  }
  stored = text;
  return absl::OkStatus();
}

absl::StatusOr<net::Endpoint> ParseEndpointAnyPort(std::string_view text) {
  if (text == "0") return net::Endpoint(net::PortOnly{.port = 0});
  if (!text.ends_with(":0") || text.starts_with('/')) return net::ParseEndpoint(text);
  absl::StatusOr<net::Endpoint> endpoint = net::ParseEndpoint(text.substr(0, text.size() - 2), 1);
  if (!endpoint.ok()) return endpoint;
  if (auto* address = std::get_if<net::SocketAddress>(&*endpoint)) address->set_port(0);
  if (auto* name = std::get_if<net::HostName>(&*endpoint)) name->port = 0;
  return endpoint;
}

uint64_t RaiseDescriptorLimit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}

core::UniqueFd OpenSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  core::UniqueFd fd(signalfd(-1, &signals, SFD_CLOEXEC));
  BV_CHECK(fd.valid());
  return fd;
}

bool AwaitReadable(int fd, int other_fd, core::MonoTime deadline) {
  std::array<pollfd, 2> watched = {pollfd{.fd = fd, .events = POLLIN, .revents = 0},
                                   pollfd{.fd = other_fd, .events = POLLIN, .revents = 0}};
  for (;;) {
    const core::MonoTime now = std::chrono::steady_clock::now();
    int timeout_ms = -1;
    if (deadline <= now) {
      timeout_ms = 0;
    } else if (deadline != core::kNever) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - now);
      timeout_ms = static_cast<int>(std::min<int64_t>(left.count(), 3'600'000));
    }
    if (poll(watched.data(), watched.size(), timeout_ms) > 0) return true;
    if (timeout_ms == 0) return false;
  }
}

core::Duration ProcessCpuTime() {
  timespec time = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace bivalve::tools
