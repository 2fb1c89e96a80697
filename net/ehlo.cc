#include "net/ehlo.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "core/text.h"
#include "net/smtp_command.h"
#include "net/smtp_reply.h"

namespace bivalve::net {
namespace {

enum class Display : uint8_t {
  kPass,          // unchanged
  kHide,          // never, like extensions without a row; but the flag is set
  kWithChunking,  // unchanged if this filter takes BDAT
  kBinaryMime,    // if binary parts may pass and the server has CHUNKING as well
  kPipelining,    // our own
  kSize,          // the smaller of the server's and ours
  kAuth,          // without mechanisms that do not work through a filter
};

struct Extension {
  std::string_view keyword;
  Display display;
  bool ServerExtensions::* flag = nullptr;  // set when the server has it
};

constexpr std::array kExtensions = {
    Extension{"PIPELINING", Display::kPipelining, &ServerExtensions::pipelining},
    Extension{"SIZE", Display::kSize, &ServerExtensions::size},
    // Extensions that are not in this table are hidden: an unknown extension may start something that passes
    // the scanner by.
    Extension{"8BITMIME", Display::kPass, &ServerExtensions::eight_bit_mime},
    Extension{"ENHANCEDSTATUSCODES", Display::kPass, &ServerExtensions::enhanced_status_codes},
    Extension{"CHUNKING", Display::kWithChunking, &ServerExtensions::chunking},
    Extension{"BINARYMIME", Display::kBinaryMime, &ServerExtensions::binary_mime},
    Extension{"XFORWARD", Display::kPass, &ServerExtensions::xforward},
    Extension{"XCLIENT", Display::kHide, &ServerExtensions::xclient},
    Extension{"AUTH", Display::kAuth},
    // Parameters of MAIL and RCPT, and commands that only ask: they change nothing in the dialogue.
    Extension{"DSN", Display::kPass},
    Extension{"SMTPUTF8", Display::kPass},
    Extension{"UTF8SMTP", Display::kPass},
    Extension{"DELIVERBY", Display::kPass},
    Extension{"MT-PRIORITY", Display::kPass},
    Extension{"FUTURERELEASE", Display::kPass},
    Extension{"LIMITS", Display::kPass},
    Extension{"RRVS", Display::kPass},
    Extension{"NO-SOLICITING", Display::kPass},
    Extension{"MTRK", Display::kPass},
    Extension{"SUBMITTER", Display::kPass},
    Extension{"CONPERM", Display::kPass},
    Extension{"CONNEG", Display::kPass},
    Extension{"VERP", Display::kPass},
    Extension{"XVERP", Display::kPass},
    Extension{"ETRN", Display::kPass},
    Extension{"VRFY", Display::kPass},
    Extension{"EXPN", Display::kPass},
    Extension{"HELP", Display::kPass},
};

constexpr std::array<std::string_view, 8> kSecurityLayerMechanisms = {
    "GSSAPI",     "GSSAPI-PLUS",     "GSS-SPNEGO",  "GSS-SPNEGO-PLUS",
    "DIGEST-MD5", "DIGEST-MD5-PLUS", "KERBEROS_V4", "SRP",
};

struct Line {
  std::string_view keyword;
  std::string_view separator;  // behind the keyword: a blank, or '=' in the old form of AUTH
  std::string_view values;
};

Line SplitLine(std::string_view text) {
  text = core::Trim(text);
  std::string_view rest = text;
  const std::string_view word = NextWord(rest);
  const size_t end = std::min(word.find('='), word.size());
  const std::string_view behind = text.substr(end);
  return {word.substr(0, end), behind.substr(0, 1),
          core::Trim(behind.substr(std::min<size_t>(1, behind.size())))};
}

const Extension* FindExtension(std::string_view keyword) {
  const auto* found = std::find_if(kExtensions.begin(), kExtensions.end(), [&](const Extension& e) {
    return core::EqualsIgnoreCase(e.keyword, keyword);
  });
  return found == kExtensions.end() ? nullptr : found;
}

// The mechanisms that a session through a filter can use, each with a blank before it.
std::string UsableMechanisms(std::string_view mechanisms) {
  std::string usable;
  for (std::string_view mechanism = NextWord(mechanisms); !mechanism.empty();
       mechanism = NextWord(mechanisms)) {
    if (!HasSecurityLayer(mechanism) && !BindsToTls(mechanism)) core::Append(usable, ' ', mechanism);
  }
  return usable;
}

// 0 means "no limit" on either side.
uint64_t SmallerLimit(uint64_t a, uint64_t b) {
  if (a == 0 || b == 0) return std::max(a, b);
  return std::min(a, b);
}

void AppendLine(std::string& lines, std::string_view text) { core::Append(lines, "250-", text, "\r\n"); }

}  // namespace

bool HasSecurityLayer(std::string_view mechanism) {
  return std::any_of(kSecurityLayerMechanisms.begin(), kSecurityLayerMechanisms.end(),
                     [&](std::string_view m) { return core::EqualsIgnoreCase(m, mechanism); });
}

bool BindsToTls(std::string_view mechanism) {
  constexpr std::string_view kEnding = "-PLUS";
  return mechanism.size() > kEnding.size() &&
         core::EqualsIgnoreCase(mechanism.substr(mechanism.size() - kEnding.size()), kEnding);
}

std::optional<std::string_view> FindExtensionValues(std::string_view reply, std::string_view keyword) {
  bool greeting_seen = false;
  while (!reply.empty()) {
    const size_t end = std::min(reply.find("\r\n"), reply.size());
    const std::optional<ReplyLine> parsed = ParseReplyLine(reply.substr(0, end));
    reply.remove_prefix(std::min(end + 2, reply.size()));
    if (!std::exchange(greeting_seen, true) || !parsed.has_value()) continue;
    const Line line = SplitLine(parsed->text);
    if (core::EqualsIgnoreCase(line.keyword, keyword)) return line.values;
  }
  return std::nullopt;
}

EhloReply::EhloReply(std::string_view host_name, Options options) : options_(options) {
  AppendLine(lines_, host_name);
}

void EhloReply::Add(std::string_view text) {
  if (!greeting_seen_) {
    greeting_seen_ = true;
    return;
  }
  const Line line = SplitLine(text);
  const Extension* extension = FindExtension(line.keyword);
  if (extension == nullptr) return;

  bool repeated = false;
  if (extension->flag != nullptr) {
    repeated = server_.*(extension->flag);
    server_.*(extension->flag) = true;
  }
  switch (extension->display) {
    case Display::kPass:
      return AppendLine(lines_, text);
    case Display::kHide:
      return;
    case Display::kWithChunking:
      if (options_.chunking) AppendLine(lines_, text);
      return;
    case Display::kBinaryMime:
      if (repeated || !options_.chunking || !options_.binary_mime) return;
      // CHUNKING may still follow.
      binary_mime_at_ = lines_.size();
      return AppendLine(lines_, extension->keyword);
    case Display::kPipelining:
      if (!repeated) AppendLine(lines_, extension->keyword);
      return;
    case Display::kSize:
      if (repeated) return;
      server_.size_bytes = ParseNumber(line.values).value_or(0);
      return AppendSize();
    case Display::kAuth: {
      const std::string mechanisms = UsableMechanisms(line.values);
      if (mechanisms.empty()) return;
      // "AUTH=LOGIN PLAIN": here the '=' takes the place of the first blank.
      const std::string_view old_form = line.separator == "=" ? "=" : " ";
      return AppendLine(lines_,
                        core::Cat(extension->keyword, old_form, std::string_view(mechanisms).substr(1)));
    }
  }
}

std::string EhloReply::Finish() {
  if (binary_mime_at_.has_value() && !server_.chunking)
    lines_.erase(*binary_mime_at_, lines_.find('\n', *binary_mime_at_) + 1 - *binary_mime_at_);
  if (!server_.pipelining) AppendLine(lines_, "PIPELINING");
  if (!server_.size && options_.size_bytes_max != 0) AppendSize();
  const size_t last_line = lines_.rfind('\n', lines_.size() - 2) + 1;  // npos + 1 is 0
  lines_[last_line + 3] = ' ';
  return std::move(lines_);
}

void EhloReply::AppendSize() {
  AppendLine(lines_, core::Cat("SIZE ", SmallerLimit(server_.size_bytes, options_.size_bytes_max)));
}

}  // namespace bivalve::net
