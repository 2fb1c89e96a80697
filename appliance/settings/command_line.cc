#include "appliance/settings/command_line.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "absl/status/status.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

// The options of old versions of clamsmtpd. They go on working, as settings.
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

bool TakesValue(char letter) {
  if (letter == 'd' || letter == 'f' || letter == 'p') return true;
  const OldOption* old_option = FindOldOption(letter);
  return old_option != nullptr && old_option->value.empty();
}

// An argument for a message.
std::string Shown(std::string_view text) {
  std::string out;
  core::AppendEscaped(out, text, 200);
  return out;
}

// A value that the operator is to copy: as it is, unless it would break the line.
std::string Copyable(std::string_view value) {
  const bool has_control =
      std::ranges::any_of(value, [](char c) { return (c >= '\0' && c < ' ') || c == '\x7f'; });
  return has_control ? Shown(value) : std::string(value);
}

absl::Status UsageError(std::string_view option, std::string_view text) {
  return absl::InvalidArgumentError(core::Cat(option, ": ", text));
}

// Takes the arguments one after the other, in the manner of getopt(3): options may be joined ("-bq", "-d4"),
// and may stand behind the address; "--" ends them.
class Parser {
 public:
  explicit Parser(std::span<const char* const> arguments) {
    if (arguments.empty()) return;
    result_.program = ProgramNameOf(arguments.front());
    rest_ = arguments.subspan(1);
  }

  absl::StatusOr<CommandLine> Run() {
    bool options_ended = false;
    while (!rest_.empty() && result_.mode != CommandLine::Mode::kVersion) {
      const std::string_view argument = Next();
      absl::Status status;
      if (options_ended || !argument.starts_with('-') || argument == "-") {
        status = TakeAddress(argument);
      } else if (argument == "--") {
        options_ended = true;
      } else if (argument == "--check-config") {
        result_.mode = CommandLine::Mode::kCheckConfig;
      } else if (argument.starts_with("--")) {
        status = UsageError(Shown(argument), "unknown option");
      } else {
        status = TakeLetters(argument.substr(1));
      }
      if (!status.ok()) return status;
    }
    if (result_.config_file.empty()) result_.config_file = DefaultConfigFile(result_.program);
    AddWarnings();
    return std::move(result_);
  }

 private:
  std::string_view Next() {
    const std::string_view argument = rest_.front();
    rest_ = rest_.subspan(1);
    return argument;
  }

  absl::Status TakeLetters(std::string_view letters) {
    while (!letters.empty() && result_.mode != CommandLine::Mode::kVersion) {
      const char letter = letters.front();
      letters.remove_prefix(1);
      std::string_view value;
      if (TakesValue(letter)) {
        if (letters.empty() && rest_.empty()) return UsageError(Name(letter), "needs a value");
        value = letters.empty() ? Next() : std::exchange(letters, {});
      }
      if (absl::Status status = TakeOption(letter, value); !status.ok()) return status;
    }
    return absl::OkStatus();
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
    const OldOption* old_option = FindOldOption(letter);
    if (letter == '\0' || old_option == nullptr) return UsageError(Name(letter), "unknown option");
    return TakeOld(*old_option, Name(letter), value);
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

  // Last, because they name the configuration file.
  void AddWarnings() {
    for (const auto& [name, item] : old_) {
      result_.warnings.push_back(core::Cat(name, ": old command line option; write \"", item.setting, ": ",
                                           Copyable(item.value), "\" into ", Shown(result_.config_file),
                                           " instead"));
    }
  }

  static std::string Name(char letter) { return core::Cat("-", Shown(std::string_view(&letter, 1))); }

  std::span<const char* const> rest_;
  std::vector<std::pair<std::string, Override>> old_;  // as on the command line, and what it means
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
