#include "tools/bivalvectl/daemon_client.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <variant>

#include "appliance/settings/command_line.h"
#include "appliance/settings/config_file.h"
#include "core/fd.h"
#include "core/text.h"
#include "tools/bivalvectl/output.h"

namespace bivalve::ctl {
namespace {

constexpr size_t kResponseBytesMax = size_t{64} << 20;
constexpr std::string_view kDefaultStatsAddress = "127.0.0.1:10027";

std::string Message(const absl::Status& status) { return std::string(status.message()); }

absl::StatusOr<net::SocketAddress> ToSocketAddress(const net::Endpoint& endpoint, std::string_view what) {
  if (const auto* address = std::get_if<net::SocketAddress>(&endpoint)) return *address;
  if (const auto* port = std::get_if<net::PortOnly>(&endpoint)) {
    return net::SocketAddress::FromIpv4({.s_addr = htonl(INADDR_LOOPBACK)}, port->port);
  }
  return absl::InvalidArgumentError(core::Cat(what, ": give an address and a port, or a path"));
}

}  // namespace

std::string ConfigFile(const Invocation& invocation) {
  if (invocation.Has("-f")) return invocation.Value("-f");
  return std::string(appliance::DefaultConfigFile(appliance::ProgramName::kBivalved));
}

absl::StatusOr<appliance::Config> LoadConfig(const Invocation& invocation) {
  const std::string file = ConfigFile(invocation);
  const absl::StatusOr<std::string> text = appliance::ReadConfigFile(file);
  if (!text.ok()) return text.status();
  appliance::Parsed parsed = appliance::ParseConfig(*text, file, appliance::ProgramName::kBivalved);
  for (const appliance::Problem& problem : parsed.problems) {
    if (problem.kind == appliance::Problem::Kind::kError) {
      return absl::InvalidArgumentError(appliance::ToString(problem));
    }
  }
  return std::move(parsed.config);
}

absl::StatusOr<net::SocketAddress> StatsAddress(const Invocation& invocation) {
  if (invocation.Has("-s")) {
    const auto endpoint = net::ParseEndpoint(invocation.Value("-s"));
    if (!endpoint.ok()) return absl::InvalidArgumentError(core::Cat("-s: ", Message(endpoint.status())));
    return ToSocketAddress(*endpoint, "-s");
  }
  const absl::StatusOr<appliance::Config> config = LoadConfig(invocation);
  if (config.ok()) {
    if (!config->stats_address.has_value()) {
      return absl::InvalidArgumentError(
          core::Cat("StatsAddress is empty in ", ConfigFile(invocation), ": the daemon answers nowhere"));
    }
    return ToSocketAddress(*config->stats_address, "StatsAddress");
  }
  if (invocation.Has("-f")) return config.status();
  return ToSocketAddress(*net::ParseEndpoint(kDefaultStatsAddress), "");
}

absl::StatusOr<Answer> Get(const net::SocketAddress& address, std::string_view path) {
  const auto failure = [&address](std::string_view what) {
    return absl::UnavailableError(
        core::Cat("cannot ", what, " ", address.ToString(), ": ", std::string_view(std::strerror(errno))));
  };
  const core::UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval timeout = {.tv_sec = 5, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
  if (!fd.valid() || connect(fd.get(), address.raw(), address.raw_size()) != 0) return failure("connect to");
  const std::string request =
      core::Cat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  if (send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return failure("ask");
  std::string response;
  char block[16384];
  for (;;) {
    const ssize_t got = recv(fd.get(), block, sizeof(block), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failure("read from");
    if (got == 0 || response.size() > kResponseBytesMax) break;
    response.append(block, static_cast<size_t>(got));
  }
  const size_t head_end = response.find("\r\n\r\n");
  if (head_end == std::string::npos || !response.starts_with("HTTP/1.1 ")) {
    return absl::UnavailableError(
        core::Cat(address.ToString(), " does not answer as a statistics address does"));
  }
  return Answer{.status = std::atoi(response.c_str() + 9), .body = response.substr(head_end + 4)};
}

absl::StatusOr<Json> GetJson(const net::SocketAddress& address, std::string_view path) {
  absl::StatusOr<Answer> answer = Get(address, path);
  if (!answer.ok()) return answer.status();
  if (answer->status != 200) {
    return absl::UnavailableError(
        core::Cat(address.ToString(), " answers ", path, " with status ", answer->status));
  }
  Json json = Json::parse(answer->body, nullptr, false);
  if (!json.is_object())
    return absl::UnavailableError(core::Cat("what ", address.ToString(), " answers is not JSON"));
  return json;
}

const Json& MemberOf(const Json& object, const char* name) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(name);
  return found == object.end() ? kNull : *found;
}

std::string TextOf(const Json& object, const char* name) {
  const Json& member = MemberOf(object, name);
  return member.is_string() ? member.get<std::string>() : std::string();
}

double NumberOf(const Json& object, const char* name) {
  const Json& member = MemberOf(object, name);
  return member.is_number() ? member.get<double>() : 0;
}

uint64_t CountOf(const Json& object, const char* name) {
  const Json& member = MemberOf(object, name);
  const bool negative =
      member.is_number_integer() && !member.is_number_unsigned() && member.get<int64_t>() < 0;
  return member.is_number_integer() && !negative ? member.get<uint64_t>() : 0;
}

}  // namespace bivalve::ctl
