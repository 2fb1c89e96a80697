// The commands of bivalvectl: one table from which dispatch, --help, the manual page and the shells'
// completion come. A new command is a row in commands.cc and the function that it names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace bivalve::ctl {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;  // the daemon, the mail server or the system said no
inline constexpr int kExitUsage = 2;   // the command line or the configuration is wrong

// What a shell offers where an argument is wanted.
enum class Completion : uint8_t { kNothing, kFile, kDirectory, kQuarantineId };

struct Option {
  std::string_view name;           // "--json", "-s"
  std::string_view argument = {};  // what it is called in the manual; empty: there is none
  std::string_view doc = {};       // whole sentences
  Completion completion = Completion::kNothing;
};

class Invocation;

struct Command {
  std::string_view name;           // one word or two: "stats", "quarantine list"
  std::string_view operands = {};  // as the manual writes them: "id", "[id]"
  std::string_view summary = {};   // a line of --help
  std::string_view doc = {};       // for the manual, whole sentences
  std::span<const Option> options = {};
  size_t operands_min = 0;
  size_t operands_max = 0;
  Completion operand_completion = Completion::kNothing;
  int (*run)(const Invocation& invocation) = nullptr;  // the exit status
};

std::span<const Command> Commands();
// Those that every command takes, before or after its name.
std::span<const Option> CommonOptions();

// A command line that was understood.
class Invocation {
 public:
  const Command* command = nullptr;  // nullptr: only help was asked for
  bool help = false;
  std::vector<std::string> operands = {};

  bool Has(std::string_view option) const { return values_.contains(std::string(option)); }
  // What was given with the option last; empty without it.
  std::string Value(std::string_view option) const;
  // The option's value as a number within the bounds, `otherwise` without it. The error names the option.
  absl::StatusOr<double> Number(std::string_view option, double otherwise, double min, double max) const;

  void Set(std::string_view option, std::string value) { values_[std::string(option)] = std::move(value); }

 private:
  std::map<std::string, std::string> values_;
};

// From the arguments without the program's name. The error is a sentence for the operator.
absl::StatusOr<Invocation> ParseArguments(std::span<const char* const> arguments);

// Whole lines: of all commands, and of one.
std::string UsageText();
std::string UsageText(const Command& command);
// "[--limit number] [--json] id"
std::string Synopsis(const Command& command);

// Writes "bivalvectl: TEXT" to standard error; returns `status`.
int Fail(int status, std::string_view text);

// The commands, each in a file of its own.
int RunStats(const Invocation& invocation);
int RunReady(const Invocation& invocation);
int RunTop(const Invocation& invocation);
int RunSessions(const Invocation& invocation);
int RunReload(const Invocation& invocation);
int RunRestart(const Invocation& invocation);
int RunCheck(const Invocation& invocation);
int RunQuarantineList(const Invocation& invocation);
int RunQuarantineShow(const Invocation& invocation);
int RunQuarantineRelease(const Invocation& invocation);
int RunQuarantineDelete(const Invocation& invocation);

}  // namespace bivalve::ctl
