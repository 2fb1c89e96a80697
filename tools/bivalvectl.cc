// The operator's tool. Asks a running daemon at its statistics address and prints the answer for people or
// for programs.
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/statusor.h"
#include "core/fd.h"
#include "core/text.h"
#include "net/address.h"

namespace {

using bivalve::core::Cat;
using Json = nlohmann::ordered_json;

constexpr int kExitOk = 0;
constexpr int kExitSystem = 1;
constexpr int kExitUsage = 2;
constexpr size_t kResponseBytesMax = size_t{16} << 20;

constexpr std::string_view kUsage =
    "usage: bivalvectl [-s address] stats [--json]\n"
    "       bivalvectl [-s address] ready\n"
    "\n"
    "  stats   the counters of the running daemon; --json: as they are served\n"
    "  ready   exit status 0 while it accepts mail and a scanner answers, else 1\n"
    "\n"
    "  -s address   StatsAddress of the daemon (default 127.0.0.1:10027)\n";

// The body of the answer to GET `path`, and its status. Blocks, at most some seconds.
struct Answer {
  int status = 0;
  std::string body = {};
};
absl::StatusOr<Answer> Get(const bivalve::net::SocketAddress& address, std::string_view path) {
  const auto failure = [&address](std::string_view what) {
    return absl::UnavailableError(
        Cat("cannot ", what, " ", address.ToString(), ": ", std::string_view(std::strerror(errno))));
  };
  const bivalve::core::UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval timeout = {.tv_sec = 5, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
  if (!fd.valid() || connect(fd.get(), address.raw(), address.raw_size()) != 0) return failure("connect to");
  const std::string request = Cat("GET ", path, " HTTP/1.1\r\nHost: bivalve\r\nConnection: close\r\n\r\n");
  if (send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return failure("ask");
  std::string response;
  char block[16384];
  for (;;) {
    const ssize_t got = recv(fd.get(), block, sizeof(block), 0);
    if (got < 0) return failure("read from");
    if (got == 0 || response.size() > kResponseBytesMax) break;
    response.append(block, static_cast<size_t>(got));
  }
  const size_t head_end = response.find("\r\n\r\n");
  if (head_end == std::string::npos || !response.starts_with("HTTP/1.1 ")) {
    return absl::UnavailableError(Cat(address.ToString(), " does not answer as a statistics address does"));
  }
  return Answer{.status = std::atoi(response.c_str() + 9), .body = response.substr(head_end + 4)};
}

void PrintRow(const std::string& name, const Json& value) {
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  std::printf("  %-24s %14s\n", name.c_str(), text.c_str());
}

void PrintLatency(const std::string& name, const Json& h) {
  const auto figure = [&h](const char* key) { return h.value(key, uint64_t{0}); };
  std::printf("  %-24s %14lu  p50 %8lu us  p90 %8lu us  p99 %8lu us  max %8lu us\n", name.c_str(),
              figure("count"), figure("p50"), figure("p90"), figure("p99"), figure("max"));
}

// Groups of numbers as they come, so that a counter that is added to the daemon's table shows here too.
void PrintStats(const Json& stats) {
  std::printf("%s %s, pid %s, up %.0f s, %s workers\n", stats.value("program", "?").c_str(),
              stats.value("version", "?").c_str(), stats.value("pid", Json(0)).dump().c_str(),
              stats.value("uptime_seconds", 0.0), stats.value("workers", Json(0)).dump().c_str());
  for (const auto& [group, members] : stats.items()) {
    if (!members.is_object() || members.empty()) continue;
    std::printf("\n%s\n", group.c_str());
    for (const auto& [name, value] : members.items()) {
      if (value.is_object()) {
        PrintLatency(name, value);
      } else {
        PrintRow(name, value);
      }
    }
  }
  for (const Json& scanner : stats.value("scanners", Json::array())) {
    std::printf("\nscanner %s\n", scanner.value("address", "?").c_str());
    for (const auto& [name, value] : scanner.items()) {
      if (value.is_object()) {
        PrintLatency(name, value);
      } else if (name != "address") {
        PrintRow(name, value);
      }
    }
  }
}

int Fail(int status, std::string_view text) {
  std::fprintf(stderr, "bivalvectl: %.*s\n", static_cast<int>(text.size()), text.data());
  return status;
}

int RunStats(const bivalve::net::SocketAddress& address, bool as_json) {
  const absl::StatusOr<Answer> answer = Get(address, "/stats");
  if (!answer.ok()) return Fail(kExitSystem, std::string(answer.status().message()));
  if (answer->status != 200) return Fail(kExitSystem, Cat("it answers with status ", answer->status));
  if (as_json) {
    std::fputs(answer->body.c_str(), stdout);
    return kExitOk;
  }
  const Json stats = Json::parse(answer->body, nullptr, false);
  if (!stats.is_object()) return Fail(kExitSystem, "its statistics are not JSON");
  PrintStats(stats);
  return kExitOk;
}

int RunReady(const bivalve::net::SocketAddress& address) {
  const absl::StatusOr<Answer> answer = Get(address, "/readyz");
  if (!answer.ok()) return Fail(kExitSystem, std::string(answer.status().message()));
  std::fputs(answer->body.c_str(), stdout);
  return answer->status == 200 ? kExitOk : kExitSystem;
}

}  // namespace

int main(int argc, char** argv) {
  std::string address_text = "127.0.0.1:10027";
  std::string command;
  bool as_json = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "-s" && i + 1 < argc) {
      address_text = argv[++i];
    } else if (word == "--json" && command == "stats") {
      as_json = true;
    } else if (word == "--help" || word == "-h") {
      std::fputs(std::string(kUsage).c_str(), stdout);
      return kExitOk;
    } else if (command.empty() && (word == "stats" || word == "ready")) {
      command = word;
    } else {
      std::fprintf(stderr, "bivalvectl: '%s' is not understood\n%s", argv[i], std::string(kUsage).c_str());
      return kExitUsage;
    }
  }
  if (command.empty()) {
    std::fputs(std::string(kUsage).c_str(), stderr);
    return kExitUsage;
  }
  const auto endpoint = bivalve::net::ParseEndpoint(address_text);
  if (!endpoint.ok()) return Fail(kExitUsage, Cat("-s: ", std::string(endpoint.status().message())));
  const auto* address = std::get_if<bivalve::net::SocketAddress>(&*endpoint);
  if (address == nullptr) return Fail(kExitUsage, "-s: give an address and a port, or a path");
  return command == "stats" ? RunStats(*address, as_json) : RunReady(*address);
}
