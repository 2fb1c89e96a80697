#include "net/smtp_command.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <system_error>

#include "core/text.h"

namespace bivalve::net {
namespace {

// Postfix and sendmail accept all of these as white space between words, and skip them before the verb too.
// So do we: " STARTTLS" must not pass as an unknown command that the server then carries out.
constexpr bool IsWhiteSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

constexpr std::string_view Trim(std::string_view text) {
  while (!text.empty() && IsWhiteSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsWhiteSpace(text.back())) text.remove_suffix(1);
  return text;
}

struct VerbRow {
  std::string_view name;
  Verb verb;
  CommandKind kind;
};

constexpr std::array kVerbs = {
    VerbRow{"MAIL", Verb::kMail, CommandKind::kPass},
    VerbRow{"RCPT", Verb::kRcpt, CommandKind::kPass},
    VerbRow{"DATA", Verb::kData, CommandKind::kOwn},
    VerbRow{"BDAT", Verb::kBdat, CommandKind::kOwn},
    VerbRow{"EHLO", Verb::kEhlo, CommandKind::kOwn},
    VerbRow{"HELO", Verb::kHelo, CommandKind::kOwn},
    VerbRow{"QUIT", Verb::kQuit, CommandKind::kOwn},
    VerbRow{"RSET", Verb::kRset, CommandKind::kPass},
    VerbRow{"AUTH", Verb::kAuth, CommandKind::kOwn},
    VerbRow{"NOOP", Verb::kNoop, CommandKind::kPassLast},
    VerbRow{"VRFY", Verb::kVrfy, CommandKind::kPassLast},
    VerbRow{"EXPN", Verb::kExpn, CommandKind::kPassLast},
    VerbRow{"HELP", Verb::kHelp, CommandKind::kPassLast},
    VerbRow{"ETRN", Verb::kEtrn, CommandKind::kPassLast},
    VerbRow{"XFORWARD", Verb::kXForward, CommandKind::kPassLast},
    // After LHLO a server answers the end of data once for each recipient (RFC 2033 section 4.2).
    VerbRow{"LHLO", Verb::kLhlo, CommandKind::kRefuse},
    VerbRow{"STARTTLS", Verb::kStartTls, CommandKind::kRefuse},
    VerbRow{"XEXCH50", Verb::kXExch50, CommandKind::kRefuse},
    VerbRow{"BURL", Verb::kBurl, CommandKind::kRefuse},
    VerbRow{"TURN", Verb::kTurn, CommandKind::kRefuse},
    VerbRow{"ATRN", Verb::kAtrn, CommandKind::kRefuse},
    VerbRow{"CHECKPOINT", Verb::kCheckpoint, CommandKind::kRefuse},
    // sendmail then also answers with codes of 0.
    VerbRow{"VERB", Verb::kVerb, CommandKind::kRefuse},
    // These start something that is encrypted, binary, or not meant for a scanner.
    VerbRow{"X-EXPS", Verb::kExchange, CommandKind::kRefuse},
    VerbRow{"X-ANONYMOUSTLS", Verb::kExchange, CommandKind::kRefuse},
    VerbRow{"XTLS", Verb::kExchange, CommandKind::kRefuse},
    VerbRow{"X-LINK2STATE", Verb::kExchange, CommandKind::kRefuse},
    VerbRow{"XBLOB", Verb::kExchange, CommandKind::kRefuse},
    VerbRow{"XSHADOW", Verb::kExchange, CommandKind::kRefuse},
    VerbRow{"XSHADOWREQUEST", Verb::kExchange, CommandKind::kRefuse},
    VerbRow{"XQDISCARD", Verb::kExchange, CommandKind::kRefuse},
    VerbRow{"XPROXY", Verb::kExchange, CommandKind::kRefuse},
    VerbRow{"XPROXYFROM", Verb::kExchange, CommandKind::kRefuse},
    VerbRow{"XPROXYTO", Verb::kExchange, CommandKind::kRefuse},
    VerbRow{"XSESSIONPARAMS", Verb::kExchange, CommandKind::kRefuse},
    VerbRow{"XCLIENT", Verb::kXClient, CommandKind::kForbid},
};

// An unknown command may change anything, so nothing is sent behind it before its reply.
constexpr CommandKind kUnknownKind = CommandKind::kPassLast;

struct Words {
  std::string_view first;
  std::string_view rest;  // without white space around it
};

constexpr Words SplitFirstWord(std::string_view text) {
  text = Trim(text);
  size_t end = 0;
  while (end < text.size() && !IsWhiteSpace(text[end])) ++end;
  return {text.substr(0, end), Trim(text.substr(end))};
}

struct PathAndParameters {
  std::string_view path;        // including a source route
  std::string_view parameters;  // including the white space before them
};

// The offset of the first byte for which `stops` is true and that is neither quoted nor escaped; text.size()
// if there is none.
template <typename Stops>
size_t FindUnquoted(std::string_view text, Stops stops) {
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      quoted = !quoted;
    } else if (!quoted && stops(text[i])) {
      return i;
    }
  }
  return text.size();
}

std::optional<PathAndParameters> SplitPath(std::string_view arguments) {
  arguments = Trim(arguments);
  for (const std::string_view word : {"FROM:", "TO:"}) {
    if (!core::StartsWithIgnoreCase(arguments, word)) continue;
    const std::string_view rest = Trim(arguments.substr(word.size()));
    if (rest.starts_with('<')) {
      const std::string_view inside = rest.substr(1);
      const size_t end = FindUnquoted(inside, [](char c) { return c == '>'; });
      if (end < inside.size()) return PathAndParameters{inside.substr(0, end), inside.substr(end + 1)};
      // Without '>' the path can only end like a path without brackets.
      const size_t space = FindUnquoted(inside, IsWhiteSpace);
      return PathAndParameters{inside.substr(0, space), inside.substr(space)};
    }
    const size_t end = FindUnquoted(rest, IsWhiteSpace);
    return PathAndParameters{rest.substr(0, end), rest.substr(end)};
  }
  return std::nullopt;
}

// The path without "@a,@b:" at its front (RFC 5321 section 4.1.1.3 asks to ignore it). A colon inside "[…]"
// belongs to an address literal.
std::string_view WithoutSourceRoute(std::string_view path) {
  if (!path.starts_with('@')) return path;
  bool in_literal = false;
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '[') in_literal = true;
    if (path[i] == ']') in_literal = false;
    if (path[i] == ':' && !in_literal) return path.substr(i + 1);
  }
  return path;
}

}  // namespace

Command ParseCommand(std::string_view line) {
  const Words words = SplitFirstWord(line);
  for (const VerbRow& row : kVerbs) {
    if (core::EqualsIgnoreCase(words.first, row.name)) {
      return {.verb = row.verb, .kind = row.kind, .arguments = words.rest};
    }
  }
  // A lenient server may see the verb in "STARTTLS:" and similar words.
  const auto* const stem_end = std::find_if(words.first.begin(), words.first.end(), [](char c) {
    const char lower = core::AsciiLower(c);
    return !((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-');
  });
  const std::string_view stem(words.first.begin(), stem_end);
  for (const VerbRow& row : kVerbs) {
    const bool hidden = row.kind == CommandKind::kRefuse || row.kind == CommandKind::kForbid;
    if (hidden && core::EqualsIgnoreCase(stem, row.name))
      return {.verb = row.verb, .kind = row.kind, .arguments = words.rest};
  }
  return {.verb = Verb::kUnknown, .kind = kUnknownKind, .arguments = words.rest};
}

std::string_view NextWord(std::string_view& text) {
  const Words words = SplitFirstWord(text);
  text = words.rest;
  return words.first;
}

bool LineIsClean(std::string_view line) {
  return line.find('\r') == std::string_view::npos && line.find('\0') == std::string_view::npos;
}

std::optional<std::string_view> ParsePath(std::string_view arguments) {
  const std::optional<PathAndParameters> split = SplitPath(arguments);
  if (!split.has_value()) return std::nullopt;
  return WithoutSourceRoute(split->path);
}

std::string_view ParseParameters(std::string_view arguments) {
  const std::optional<PathAndParameters> split = SplitPath(arguments);
  return split.has_value() ? Trim(split->parameters) : std::string_view();
}

std::optional<std::string_view> FindParameter(std::string_view arguments, std::string_view keyword) {
  const std::optional<PathAndParameters> split = SplitPath(arguments);
  if (!split.has_value()) return std::nullopt;
  for (Words words = SplitFirstWord(split->parameters); !words.first.empty();
       words = SplitFirstWord(words.rest)) {
    const size_t name_end = std::min(words.first.find('='), words.first.size());
    if (!core::EqualsIgnoreCase(words.first.substr(0, name_end), keyword)) continue;
    return words.first.substr(std::min(name_end + 1, words.first.size()));
  }
  return std::nullopt;
}

std::optional<uint64_t> ParseNumber(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return number;
}

std::optional<BdatArguments> ParseBdat(std::string_view arguments) {
  const Words words = SplitFirstWord(arguments);
  const std::optional<uint64_t> chunk_bytes = ParseNumber(words.first);
  if (!chunk_bytes.has_value()) return std::nullopt;
  if (words.rest.empty()) return BdatArguments{.chunk_bytes = *chunk_bytes, .last = false};
  if (!core::EqualsIgnoreCase(words.rest, "LAST")) return std::nullopt;
  return BdatArguments{.chunk_bytes = *chunk_bytes, .last = true};
}

}  // namespace bivalve::net
