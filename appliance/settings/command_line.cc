#include "appliance/settings/command_line.h"

#include <getopt.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "absl/status/status.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

// Options of old versions of clamsmtpd. They still work, as settings.
struct OldOption {
  char letter = '\0';  // '\0': the argument without an option
  std::string_view setting;
  std::string_view value;  // empty: taken from the command line
};
constexpr OldOption kOldOptions[] = {
    {'b', "Action", "bounce"}, {'c', "ClamAddress", ""},    {'D', "TempDirectory", ""}, {'h', "Header", ""},
    {'l', "Listen", ""},       {'m', "MaxConnections", ""}, {'q', "Quarantine", "on"},  {'t', "TimeOut", ""},
    {'X', "DebugFiles", "on"}, {'\0', "OutAddress", ""},
};

constexpr CommandOption kOptions[] = {{.name = "-d", .argument = "level"},
                                      {.name = "-f", .argument = "configfile", .takes_file = true},
                                      {.name = "-p", .argument = "pidfile", .takes_file = true},
                                      {.name = "--check-config"},
                                      {.name = "-v", .alone = true}};

const OldOption* FindOldOption(char letter) {
  const auto* found = std::ranges::find(kOldOptions, letter, &OldOption::letter);
  return found == std::end(kOldOptions) ? nullptr : found;
}

// The letters in getopt's form. "-": an argument without an option is returned in its place, as option 1.
// ":": a missing value is reported differently from an unknown option, and getopt prints nothing.
std::string Letters() {
  std::string letters = "-:d:f:p:v";
  for (const OldOption& option : kOldOptions) {
    if (option.letter != '\0') core::Append(letters, option.letter, option.value.empty() ? ":" : "");
  }
  return letters;
}

constexpr int kArgument = 1;       // what getopt returns for an argument without an option
constexpr int kCheckConfig = 256;  // beyond all letters
constexpr option kLongOptions[] = {{"check-config", no_argument, nullptr, kCheckConfig}, {}};

// An argument as it is shown in a message.
std::string Shown(std::string_view text) {
  std::string out;
  core::AppendEscaped(out, text, 200);
  return out;
}

// A value that the operator will copy: unchanged, unless it would break the line.
std::string Copyable(std::string_view value) {
  const bool has_control =
      std::ranges::any_of(value, [](char c) { return (c >= '\0' && c < ' ') || c == '\x7f'; });
  return has_control ? Shown(value) : std::string(value);
}

absl::Status UsageError(std::string_view option, std::string_view text) {
  return absl::InvalidArgumentError(core::Cat(option, ": ", text));
}

// Takes the arguments one after the other.
class Parser {
 public:
  explicit Parser(std::span<const char* const> arguments) {
    if (!arguments.empty()) result_.program = ProgramNameOf(arguments.front());
    // getopt takes pointers to non-const, but changes nothing unless it sorts the arguments.
    for (const char* argument : arguments) arguments_.push_back(const_cast<char*>(argument));
    count_ = static_cast<int>(arguments_.size());
    arguments_.push_back(nullptr);
  }

  absl::StatusOr<CommandLine> Run() {
    const std::string letters = Letters();
    optind = 0;  // starts again, whatever was parsed before
    while (result_.mode != CommandLine::Mode::kVersion) {
      // The argument that getopt reads next; an argument of several letters stays until its last letter.
      const std::string_view argument = At(std::max(optind, 1));
      const int found = getopt_long(count_, arguments_.data(), letters.c_str(), kLongOptions, nullptr);
      if (found == -1) break;
      absl::Status status = argument.starts_with("--") ? TakeLong(argument) : TakeShort(found);
      if (!status.ok()) return status;
    }
    // Arguments after "--".
    while (result_.mode != CommandLine::Mode::kVersion && optind < count_) {
      if (absl::Status status = TakeAddress(At(optind++)); !status.ok()) return status;
    }
    if (result_.config_file.empty()) result_.config_file = DefaultConfigFile(result_.program);
    AddWarnings();
    return std::move(result_);
  }

 private:
  // Empty after the last argument.
  std::string_view At(int index) const {
    return index < count_ ? std::string_view(arguments_[static_cast<size_t>(index)]) : std::string_view();
  }

  // Only full names: an abbreviation that getopt accepts may mean another option in the next version.
  absl::Status TakeLong(std::string_view argument) {
    if (argument != "--check-config") return UsageError(Shown(argument), "unknown option");
    result_.mode = CommandLine::Mode::kCheckConfig;
    return absl::OkStatus();
  }

  absl::Status TakeShort(int found) {
    if (found == ':') return UsageError(Name(static_cast<char>(optopt)), "needs a value");
    if (found == '?') return UsageError(Name(static_cast<char>(optopt)), "unknown option");
    if (found == kArgument) return TakeAddress(optarg);
    return TakeOption(static_cast<char>(found), optarg == nullptr ? "" : optarg);
  }

  absl::Status TakeOption(char letter, std::string_view value) {
    switch (letter) {
      case 'd':
        return TakeLevel(value);
      case 'f':
        if (value.empty()) return UsageError("-f", "needs a value");
        result_.config_file = value;
        result_.config_file_given = true;
        return absl::OkStatus();
      case 'p':
        result_.overrides.push_back({.setting = "PidFile", .value = std::string(value)});
        return absl::OkStatus();
      case 'v':
        result_.mode = CommandLine::Mode::kVersion;
        return absl::OkStatus();
      default:
        break;
    }
    return TakeOld(*FindOldOption(letter), Name(letter), value);
  }

  absl::Status TakeLevel(std::string_view text) {
    int level = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), level);
    if (error == std::errc::invalid_argument || end != text.data() + text.size()) {
      return UsageError("-d", core::Cat("'", Shown(text), "' is not a whole number"));
    }
    if (error != std::errc() || level < 0 || level > 4) {
      return UsageError("-d", core::Cat("'", Shown(text), "' is not between 0 and 4"));
    }
    result_.foreground_level = level;
    return absl::OkStatus();
  }

  absl::Status TakeAddress(std::string_view argument) {
    if (std::exchange(address_taken_, true)) {
      return UsageError(Shown(argument), "there may be only one argument without an option");
    }
    return TakeOld(*FindOldOption('\0'), Shown(argument), argument);
  }

  absl::Status TakeOld(const OldOption& old_option, std::string name, std::string_view value) {
    Override item{.setting = std::string(old_option.setting), .value = {}};
    item.value = old_option.value.empty() ? value : old_option.value;
    old_.emplace_back(std::move(name), item);
    result_.overrides.push_back(std::move(item));
    return absl::OkStatus();
  }

  // Called last, because the warnings name the configuration file.
  void AddWarnings() {
    for (const auto& [name, item] : old_) {
      result_.warnings.push_back(core::Cat(name, ": old command line option; write \"", item.setting, ": ",
                                           Copyable(item.value), "\" into ", Shown(result_.config_file),
                                           " instead"));
    }
  }

  static std::string Name(char letter) { return core::Cat("-", Shown(std::string_view(&letter, 1))); }

  std::vector<char*> arguments_;                       // as getopt wants them: with a null pointer at the end
  int count_ = 0;                                      // without the null pointer
  std::vector<std::pair<std::string, Override>> old_;  // the option as written, and its meaning
  bool address_taken_ = false;
  CommandLine result_;
};

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(std::span<const char* const> arguments) {
  absl::StatusOr<CommandLine> command_line = Parser(arguments).Run();
  if (command_line.ok()) command_line->arguments.assign(arguments.begin(), arguments.end());
  return command_line;
}

ProgramName ProgramNameOf(std::string_view argv0) {
  const size_t slash = argv0.rfind('/');
  if (slash != std::string_view::npos) argv0.remove_prefix(slash + 1);
  return argv0 == ToString(ProgramName::kClamsmtpd) ? ProgramName::kClamsmtpd : ProgramName::kBivalved;
}

std::string_view ToString(ProgramName program) {
  return program == ProgramName::kClamsmtpd ? "clamsmtpd" : "bivalved";
}

std::string_view DefaultConfigFile(ProgramName program) {
  return program == ProgramName::kClamsmtpd ? "/etc/clamsmtpd.conf" : "/etc/bivalved.conf";
}

std::span<const CommandOption> CommandOptions() { return kOptions; }

std::string UsageText(ProgramName program) {
  const std::string_view name = ToString(program);
  std::string first = core::Cat("usage: ", name);
  std::string others;
  for (const CommandOption& option : kOptions) {
    const std::string text = core::Cat(option.name, option.argument.empty() ? "" : " ", option.argument);
    if (option.alone) {
      core::Append(others, "       ", name, " ", text, "\n");
    } else {
      core::Append(first, " [", text, "]");
    }
  }
  return core::Cat(first, "\n", others);
}

std::string VersionText(ProgramName program, std::string_view version) {
  const std::string_view name = ToString(program);
  return core::Cat(name, " (version ", version, ")\n", std::string(name.size(), ' '),
                   " (config: ", DefaultConfigFile(program), ")\n");
}

}  // namespace bivalve::appliance
