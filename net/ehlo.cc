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

constexpr std::string_view kWhiteSpace = " \t";

enum class Display : uint8_t {
  kPass,          // word for word
  kHide,          // never: what it starts would go by the scanner, or we do not speak it
  kWithChunking,  // word for word when this filter takes BDAT
  kBinaryMime,    // word for word when its parts may pass
  kPipelining,    // ours
  kSize,          // the smaller of the server's and ours
  kAuth,          // without mechanisms that bring a security layer
};

struct Extension {
  std::string_view keyword;
  Display display;
  bool ServerExtensions::* flag = nullptr;  // set when the server has it
};

constexpr std::array kExtensions = {
    Extension{"PIPELINING", Display::kPipelining, &ServerExtensions::pipelining},
    Extension{"SIZE", Display::kSize, &ServerExtensions::size},
    Extension{"8BITMIME", Display::kPass, &ServerExtensions::eight_bit_mime},
    Extension{"ENHANCEDSTATUSCODES", Display::kPass, &ServerExtensions::enhanced_status_codes},
    Extension{"CHUNKING", Display::kWithChunking, &ServerExtensions::chunking},
    Extension{"BINARYMIME", Display::kBinaryMime, &ServerExtensions::binary_mime},
    Extension{"XFORWARD", Display::kPass, &ServerExtensions::xforward},
    Extension{"XCLIENT", Display::kHide, &ServerExtensions::xclient},
    Extension{"AUTH", Display::kAuth},
    Extension{"STARTTLS", Display::kHide},
    Extension{"XEXCH50", Display::kHide},
    Extension{"CHECKPOINT", Display::kHide},
    Extension{"BURL", Display::kHide},
    Extension{"TURN", Display::kHide},
    Extension{"ATRN", Display::kHide},
    Extension{"PRDR", Display::kHide},  // a reply for each recipient after the end of data
    // Early pipelining, as Exim has named it over time.
    Extension{"PIPECONNECT", Display::kHide},
    Extension{"PIPE_CONNECT", Display::kHide},
    Extension{"X_PIPE_CONNECT", Display::kHide},
};

constexpr std::array<std::string_view, 8> kSecurityLayerMechanisms = {
    "GSSAPI",     "GSSAPI-PLUS",     "GSS-SPNEGO",  "GSS-SPNEGO-PLUS",
    "DIGEST-MD5", "DIGEST-MD5-PLUS", "KERBEROS_V4", "SRP",
};

struct Line {
  std::string_view keyword;
  std::string_view separator;  // what stands behind the keyword: a blank, or '=' in the old form of AUTH
  std::string_view values;
};

Line SplitLine(std::string_view text) {
  text = core::Trim(text, kWhiteSpace);
  const size_t end = std::min(text.find_first_of(" \t="), text.size());
  const std::string_view behind = text.substr(end);
  return {text.substr(0, end), behind.substr(0, 1),
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
  while (!mechanisms.empty()) {
    const size_t end = std::min(mechanisms.find_first_of(kWhiteSpace), mechanisms.size());
    const std::string_view mechanism = mechanisms.substr(0, end);
    if (!HasSecurityLayer(mechanism)) core::Append(usable, ' ', mechanism);
    mechanisms = core::Trim(mechanisms.substr(end), kWhiteSpace);
  }
  return usable;
}

// 0 stands for "no limit" on either side.
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
  if (extension == nullptr) return AppendLine(lines_, text);

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
      if (options_.chunking && options_.binary_mime) AppendLine(lines_, text);
      return;
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
