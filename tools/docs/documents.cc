#include "tools/docs/documents.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <vector>

#include "appliance/settings/command_line.h"
#include "core/text.h"
#include "tools/bivalvectl/command.h"
#include "tools/docs/roff.h"

namespace bivalve::ctl {
namespace {

constexpr std::string_view kHead =
    R"(.\" Made by tools/gen_docs from the table in tools/bivalvectl/commands.cc. Change that, and run
.\" tools/gen_docs bivalvectl.1 >appliance/man/bivalvectl.1
.Dd 2026-11-22
.Dt BIVALVECTL 1
.Os
.Sh NAME
.Nm bivalvectl
.Nd inspect and control a running bivalved
.Sh SYNOPSIS
.Nm
.Op Fl s Ar address
.Op Fl f Ar configfile
.Ar command
.Op Ar options
.Sh DESCRIPTION
.Nm
gets information from a running
.Xr bivalved 8
at its statistics address, checks its configuration, and manages the messages that it has quarantined.
It needs no privileges except access to that address and to those files.
.Pp
Text from strangers, such as addresses and the names of viruses, is shown with escapes:
.Ql \exNN
for control characters and for bytes that are not UTF-8, and
.Ql \eu{N}
for control characters beyond ASCII and for invisible characters; a backslash is shown as two.
With
.Fl -json
the text is unchanged, in the escapes of JSON: only ASCII is printed.
.Pp
These options may be given before or after every command:
.Bl -tag -width Ds
)";

constexpr std::string_view kTail = R"(.Sh FILES
.Bl -tag -width Ds
.It Pa /etc/bivalved.conf
.It Pa virus.XXXXXX , virus.XXXXXX.json
in
.Cm TempDirectory :
a quarantined message as it was sent, and its record, a JSON object with the members
.Li id , time
.Pq RFC 3339 ,
.Li session
.Pq as in the log ,
.Li virus , from , recipients , recipients_left_out , mail_parameters
and
.Li recipient_parameters
.Pq the parameters after the addresses in MAIL and RCPT, the latter as an array in the order of the recipients; absent if there were none ,
.Li client , helo , remote
and
.Li remote_helo
.Pq from XFORWARD ,
.Li scanner
.Pq Li address No and Li version ,
.Li size
and
.Li sha256 .
In an envelope that is not UTF-8 each byte is written as the character with that number, and
.Li envelope_encoding
is
.Li iso-8859-1 .
The record is written after the message, so if there is a record, the message is complete.
.El
.Sh EXIT STATUS
.Bl -tag -width Ds
.It 0
The command succeeded; with
.Cm ready ,
the daemon is ready; with
.Cm check ,
there are no findings.
.It 1
The daemon, the mail server or the system refused; the daemon is not ready; or
.Cm check
has found warnings but no errors.
.It 2
The command line is wrong, or the configuration is wrong.
.El
.Sh EXAMPLES
.Dl $ bivalvectl top
.Dl $ bivalvectl -s /run/bivalve/stats stats --json | jq .messages
.Dl $ bivalvectl check && systemctl reload bivalved
.Dl # bivalvectl quarantine release --delete virus.aB3dE5
.Sh SEE ALSO
.Xr bivalved.conf 5 ,
.Xr bivalved 8
)";

// ".Fl -json" and "--json", ".Fl s Ar address" and "-s address".
std::string OptionMacros(const Option& option) {
  std::string out = core::Cat("Fl ", appliance::Roff(option.name.substr(1)));
  if (!option.argument.empty()) core::Append(out, " Ar ", option.argument);
  return out;
}

void AppendSentences(std::string& out, std::string_view text) {
  for (const std::string& sentence : appliance::Sentences(text))
    core::Append(out, appliance::Roff(sentence), '\n');
}

void AppendOptions(std::string& out, std::span<const Option> options) {
  for (const Option& option : options) {
    core::Append(out, ".It ", OptionMacros(option), '\n');
    AppendSentences(out, option.doc);
  }
}

std::string OperandMacros(std::string_view operands) {
  if (operands.empty()) return {};
  if (operands.starts_with('[')) return core::Cat(" Op Ar ", operands.substr(1, operands.size() - 2));
  return core::Cat(" Ar ", operands);
}

void AppendCommand(std::string& out, const Command& command) {
  core::Append(out, ".It Xo\n.Cm ", command.name, '\n');
  for (const Option& option : command.options) core::Append(out, ".Op ", OptionMacros(option), '\n');
  if (!command.operands.empty()) core::Append(out, ".", OperandMacros(command.operands).substr(1), '\n');
  out += ".Xc\n";
  AppendSentences(out, command.doc);
  if (command.options.empty()) return;
  out += ".Bl -tag -width Ds\n";
  AppendOptions(out, command.options);
  out += ".El\n";
}

constexpr std::string_view kMadeBy =
    "# Made by tools/gen_docs from the tables of commands and options; run it with --write.\n";

// The words in the form that bash reads in single quotes; they contain no quotes.
std::string Quoted(const std::vector<std::string_view>& words) {
  std::string out = "'";
  for (const std::string_view word : words) core::Append(out, out.size() > 1 ? " " : "", word);
  return out + "'";
}

// "  'quarantine show'*) words='--json …' ;;"
void AppendCase(std::string& out, std::string_view pattern, const std::vector<std::string_view>& words,
                Completion completion) {
  core::Append(out, "    ", pattern, ") words=", Quoted(words));
  if (completion == Completion::kQuarantineId) out += "; ids=1";
  out += " ;;\n";
}

}  // namespace

std::string CtlManual() {
  std::string out(kHead);
  AppendOptions(out, CommonOptions());
  out += ".It Fl -help\nShow the commands, or the options of one command.\n.El\n";
  out += ".Sh COMMANDS\n.Bl -tag -width Ds\n";
  for (const Command& command : Commands()) AppendCommand(out, command);
  out += ".El\n";
  return out + std::string(kTail);
}

std::string BashCompletionOfCtl() {
  std::set<std::string_view> with_argument;
  std::set<std::string_view> with_file;
  std::set<std::string_view> with_directory;
  const auto sort = [&](std::span<const Option> options) {
    for (const Option& option : options) {
      if (!option.argument.empty()) with_argument.insert(option.name);
      if (option.completion == Completion::kFile) with_file.insert(option.name);
      if (option.completion == Completion::kDirectory) with_directory.insert(option.name);
    }
  };
  sort(CommonOptions());
  for (const Command& command : Commands()) sort(command.options);
  const auto pattern = [](const std::set<std::string_view>& names) {
    std::string out;
    for (const std::string_view name : names) core::Append(out, out.empty() ? "" : "|", name);
    return out;
  };
  std::vector<std::string_view> common = {"--help"};
  for (const Option& option : CommonOptions()) common.push_back(option.name);

  std::string out(kMadeBy);
  core::Append(out, R"(# bash completion for bivalvectl
_bivalvectl() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words='' ids='' i
  local -a said=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      )",
               pattern(with_argument), R"() ((++i)) ;;
      -*) ;;
      *) said+=("${COMP_WORDS[i]}") ;;
    esac
  done
  case $prev in
    )",
               pattern(with_file), R"()
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$cur")
      return ;;
    )",
               pattern(with_directory), R"()
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -d -- "$cur")
      return ;;
    )",
               pattern(with_argument), R"()
      COMPREPLY=()
      return ;;
  esac
  case "${said[*]}" in
)");
  std::vector<std::string_view> first;
  for (const Command& command : Commands()) {
    const std::string_view word = command.name.substr(0, command.name.find(' '));
    if (std::ranges::find(first, word) == first.end()) first.push_back(word);
  }
  for (const std::string_view word : first) {
    std::vector<std::string_view> second;
    for (const Command& command : Commands()) {
      const bool group = command.name.size() > word.size() && command.name.starts_with(word) &&
                         command.name[word.size()] == ' ';
      if (group) second.push_back(command.name.substr(word.size() + 1));
    }
    if (!second.empty()) AppendCase(out, core::Cat("'", word, "'"), second, Completion::kNothing);
  }
  first.insert(first.end(), common.begin(), common.end());
  AppendCase(out, "''", first, Completion::kNothing);
  for (const Command& command : Commands()) {
    std::vector<std::string_view> words;
    for (const Option& option : command.options) words.push_back(option.name);
    words.insert(words.end(), common.begin(), common.end());
    AppendCase(out, core::Cat("'", command.name, "'", command.operands_max > 0 ? "*" : ""), words,
               command.operand_completion);
  }
  out += R"sh(  esac
  if [ -n "$ids" ]; then
    words+=" $(bivalvectl quarantine list 2>/dev/null | sed -n 's/^\(virus\.[0-9A-Za-z]\{6\}\) .*/\1/p')"
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _bivalvectl bivalvectl
)sh";
  return out;
}

std::string BashCompletionOfDaemon() {
  std::string files;
  std::string others;
  std::vector<std::string_view> names;
  for (const appliance::CommandOption& option : appliance::CommandOptions()) {
    names.push_back(option.name);
    if (option.argument.empty()) continue;
    std::string& pattern = option.takes_file ? files : others;
    core::Append(pattern, pattern.empty() ? "" : "|", option.name);
  }
  return core::Cat(kMadeBy, R"(# bash completion for bivalved
_bivalved() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
  case $prev in
    )",
                   files, R"()
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    )",
                   others, R"() COMPREPLY=() ;;
    *) mapfile -t COMPREPLY < <(compgen -W )",
                   Quoted(names), R"( -- "$cur") ;;
  esac
}
complete -F _bivalved bivalved clamsmtpd
)");
}

}  // namespace bivalve::ctl
