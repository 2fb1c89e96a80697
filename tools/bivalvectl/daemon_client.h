// Questions to a running daemon, at its statistics address, and the settings that it runs with.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "appliance/settings/config.h"
#include "net/address.h"
#include "tools/bivalvectl/command.h"

namespace bivalve::ctl {

using Json = nlohmann::ordered_json;

// The file of -f, or the daemon's default.
std::string ConfigFile(const Invocation& invocation);
// Its settings. The error is the first thing that is wrong with it. Blocks.
absl::StatusOr<appliance::Config> LoadConfig(const Invocation& invocation);

// Where the daemon answers: -s; else what the configuration says; else, when the default configuration cannot
// be used, the default of StatsAddress. Blocks.
absl::StatusOr<net::SocketAddress> StatsAddress(const Invocation& invocation);

// The answer to GET `path`. Blocks, some seconds at most for each piece.
struct Answer {
  int status = 0;
  std::string body = {};
};
absl::StatusOr<Answer> Get(const net::SocketAddress& address, std::string_view path);
// The same for a path that is answered with a JSON object.
absl::StatusOr<Json> GetJson(const net::SocketAddress& address, std::string_view path);

// Members of what a daemon of any version has served: what is absent, or of another type, is empty or 0.
std::string TextOf(const Json& object, const char* name);
double NumberOf(const Json& object, const char* name);
uint64_t CountOf(const Json& object, const char* name);
const Json& MemberOf(const Json& object, const char* name);

}  // namespace bivalve::ctl
