// What smtp_source and smtp_sink have in common: a command line made from one table, addresses with port 0,
// signals as something to wait for, and random numbers that a seed repeats.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/fd.h"
#include "core/mono_time.h"
#include "core/text.h"
#include "net/address.h"

namespace bivalve::tools {

// One option of a program. The table is the parser's and the help's only source.
template <typename Settings>
struct Option {
  std::string_view name;   // "--listen"
  std::string_view value;  // how the help names its value; empty: a switch, `set` gets ""
  std::string_view help;   // lines separated by '\n'
  // Stores the value, or says what is wrong with it, without naming the option.
  absl::Status (*set)(Settings& settings, std::string_view value);
};

// Reads "--name value", "--name=value" and "--switch"; everything else goes to `operands`. The error names
// the option, the value and the remedy.
template <typename Settings>
absl::Status ParseArguments(std::span<const Option<Settings>> options,
                            std::span<const std::string_view> arguments, Settings& settings,
                            std::vector<std::string_view>& operands) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    if (!argument.starts_with("--")) {
      operands.push_back(argument);
      continue;
    }
    const size_t equals = std::min(argument.find('='), argument.size());
    const std::string_view name = argument.substr(0, equals);
    const auto option =
        std::find_if(options.begin(), options.end(), [&](const auto& o) { return o.name == name; });
    if (option == options.end()) {
      return absl::InvalidArgumentError(core::Cat(name, ": unknown option; see --help"));
    }
    std::string_view value;
    if (option->value.empty()) {
      if (equals < argument.size()) {
        return absl::InvalidArgumentError(core::Cat(name, ": takes no value"));
      }
    } else if (equals < argument.size()) {
      value = argument.substr(equals + 1);
    } else if (i + 1 < arguments.size()) {
      value = arguments[++i];
    } else {
      return absl::InvalidArgumentError(core::Cat(name, ": needs a value, ", option->value));
    }
    if (const absl::Status status = option->set(settings, value); !status.ok()) {
      const absl::string_view message = status.message();
      return absl::InvalidArgumentError(
          core::Cat(name, ": ", std::string_view(message.data(), message.size())));
    }
  }
  return absl::OkStatus();
}

// The options' part of a help text.
template <typename Settings>
std::string OptionsHelp(std::span<const Option<Settings>> options) {
  constexpr size_t kColumn = 26;
  std::string text;
  for (const Option<Settings>& option : options) {
    std::string line = core::Cat("  ", option.name, option.value.empty() ? "" : " ", option.value);
    if (line.size() + 2 > kColumn) {
      core::Append(text, line, '\n');
      line.clear();
    }
    for (std::string_view help = option.help; !help.empty();) {
      const size_t end = std::min(help.find('\n'), help.size());
      line.resize(std::max(kColumn, line.size()), ' ');
      core::Append(text, line, help.substr(0, end), '\n');
      line.clear();
      help.remove_prefix(std::min(end + 1, help.size()));
    }
  }
  return text;
}

// Values of options. Each stores what `text` says, or says what is wrong.
struct Bounds {
  uint64_t least = 0;
  uint64_t most = UINT64_MAX;
};
absl::Status SetNumber(uint64_t& number, std::string_view text, Bounds bounds);
// A number with K, M or G (1024 each) behind it, or without.
absl::Status SetBytes(uint64_t& bytes, std::string_view text, Bounds bounds);
// 0 to 100, with or without '%'; stored as 0 to 1.
absl::Status SetShare(double& share, std::string_view text);
// Seconds or, by `unit`, something else; decimals are fine.
absl::Status SetDuration(core::Duration& duration, std::string_view text, core::Duration unit);
// Not empty, and nothing in it that would end a line of SMTP.
absl::Status SetText(std::string& stored, std::string_view text);

// As net::ParseEndpoint, and port 0 for a port that the system chooses.
absl::StatusOr<net::Endpoint> ParseEndpointAnyPort(std::string_view text);

// Raises the soft limit of descriptors to the hard one. Returns what there is now.
uint64_t RaiseDescriptorLimit();

// Descriptor that becomes readable on SIGINT or SIGTERM, which do nothing else from now on. Call before any
// thread is started.
core::UniqueFd OpenSignals();
// Waits until one of the two descriptors is readable (true) or until the deadline (false). -1: no descriptor.
bool AwaitReadable(int fd, int other_fd, core::MonoTime deadline);

// CPU time of this process so far, all threads, user and system.
core::Duration ProcessCpuTime();

// splitmix64: good enough to spread load, one addition of state.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // 0 <= Unit() < 1.
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }
  bool Happens(double share) { return share > 0 && Unit() < share; }
  // 0 <= Below() < bound.
  uint64_t Below(uint64_t bound) { return Next() % bound; }

 private:
  uint64_t state_;
};

}  // namespace bivalve::tools
