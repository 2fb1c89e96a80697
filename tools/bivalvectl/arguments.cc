#include <algorithm>
#include <charconv>
#include <cstdio>
#include <utility>

#include "core/text.h"
#include "tools/bivalvectl/command.h"
#include "tools/bivalvectl/output.h"

namespace bivalve::ctl {
namespace {

const Option* FindOption(std::span<const Option> options, std::string_view name) {
  const auto found = std::ranges::find(options, name, &Option::name);
  return found == options.end() ? nullptr : &*found;
}

// Whether `words` begin with the command's name, one word or two.
const Command* FindCommand(std::span<const std::string> words) {
  for (const Command& command : Commands()) {
    const size_t blank = command.name.find(' ');
    const bool first = !words.empty() && words[0] == command.name.substr(0, blank);
    if (!first) continue;
    if (blank == std::string_view::npos) return &command;
    if (words.size() > 1 && words[1] == command.name.substr(blank + 1)) return &command;
  }
  return nullptr;
}

size_t NameWords(const Command& command) { return command.name.find(' ') == std::string_view::npos ? 1 : 2; }

absl::Status UsageError(std::string_view what, std::string_view text) {
  return absl::InvalidArgumentError(core::Cat("'", Printable(what, 100), "' ", text));
}

// Options are known before their command is: only those of the commands that the words allow so far.
const Option* FindAnyOption(const Command* command, std::string_view name) {
  if (const Option* option = FindOption(CommonOptions(), name)) return option;
  return command == nullptr ? nullptr : FindOption(command->options, name);
}

void AppendOption(std::string& out, const Option& option) {
  core::Append(out, "[", option.name, option.argument.empty() ? "" : " ", option.argument, "] ");
}

}  // namespace

std::string Invocation::Value(std::string_view option) const {
  const auto found = values_.find(std::string(option));
  return found == values_.end() ? std::string() : found->second;
}

absl::StatusOr<double> Invocation::Number(std::string_view option, double otherwise, double min,
                                          double max) const {
  if (!Has(option)) return otherwise;
  const std::string text = Value(option);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && value >= min && value <= max) return value;
  char bounds[100];
  std::snprintf(bounds, sizeof(bounds), "is not a number between %g and %g", min, max);
  return absl::InvalidArgumentError(core::Cat(option, ": '", Printable(text, 100), "' ", bounds));
}

absl::StatusOr<Invocation> ParseArguments(std::span<const char* const> arguments) {
  Invocation invocation;
  std::vector<std::string> words;
  bool options_ended = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view word = arguments[i];
    if (options_ended || word.size() < 2 || word.front() != '-') {
      words.emplace_back(word);
      if (invocation.command == nullptr) invocation.command = FindCommand(words);
      continue;
    }
    if (word == "--") {
      options_ended = true;
      continue;
    }
    const size_t equals = word.starts_with("--") ? word.find('=') : std::string_view::npos;
    const std::string_view name = word.substr(0, equals);
    if (name == "--help" || name == "-h") {
      invocation.help = true;
      continue;
    }
    const Option* option = FindAnyOption(invocation.command, name);
    if (option == nullptr) return UsageError(word, "is not understood");
    std::string value;
    if (equals != std::string_view::npos) {
      if (option->argument.empty()) return UsageError(name, "takes no value");
      value = word.substr(equals + 1);
    } else if (!option->argument.empty()) {
      if (i + 1 == arguments.size()) return UsageError(name, "needs a value");
      value = arguments[++i];
    }
    invocation.Set(option->name, std::move(value));
  }
  if (invocation.help) return invocation;
  if (words.empty()) return absl::InvalidArgumentError("a command is needed");
  if (invocation.command == nullptr) {
    const bool group = std::ranges::any_of(
        Commands(), [&words](const Command& c) { return c.name.starts_with(words[0] + " "); });
    if (group && words.size() == 1) return UsageError(words[0], "needs a word more");
    return UsageError(words[group ? 1 : 0], "is not understood");
  }
  const Command& command = *invocation.command;
  invocation.operands.assign(words.begin() + static_cast<std::ptrdiff_t>(NameWords(command)), words.end());
  if (invocation.operands.size() > command.operands_max) {
    return UsageError(invocation.operands[command.operands_max], "is not understood");
  }
  if (invocation.operands.size() < command.operands_min) {
    return absl::InvalidArgumentError(core::Cat(command.name, " needs: ", command.operands));
  }
  return invocation;
}

std::string Synopsis(const Command& command) {
  std::string out;
  for (const Option& option : command.options) AppendOption(out, option);
  out += command.operands;
  return std::string(core::Trim(out));
}

std::string UsageText() {
  std::string out = "usage: bivalvectl [-s address] [-f configfile] command [options]\n\n";
  size_t width = 0;
  for (const Command& command : Commands()) width = std::max(width, command.name.size());
  for (const Command& command : Commands()) {
    core::Append(out, "  ", command.name, std::string(width - command.name.size() + 2, ' '), command.summary,
                 '\n');
  }
  out += "\n\"bivalvectl command --help\" has the options of one command; bivalvectl(1) has everything.\n";
  return out;
}

std::string UsageText(const Command& command) {
  std::string out = core::Cat("usage: bivalvectl [-s address] [-f configfile] ", command.name);
  if (const std::string synopsis = Synopsis(command); !synopsis.empty()) core::Append(out, ' ', synopsis);
  core::Append(out, "\n\n", Wrapped(command.doc, 78));
  for (const std::span<const Option> options : {command.options, CommonOptions()}) {
    for (const Option& option : options) {
      core::Append(out, "\n  ", option.name, option.argument.empty() ? "" : " ", option.argument, '\n',
                   Wrapped(option.doc, 78, 6));
    }
  }
  return out;
}

int Fail(int status, std::string_view text) {
  std::fprintf(stderr, "bivalvectl: %s\n", PrintableLines(text).c_str());
  return status;
}

}  // namespace bivalve::ctl
