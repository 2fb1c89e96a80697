#include "net/smtp_reply.h"

namespace bivalve::net {
namespace {

constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::optional<ReplyLine> ParseReplyLine(std::string_view line) {
  if (line.size() < 3 || !IsDigit(line[0]) || !IsDigit(line[1]) || !IsDigit(line[2])) return std::nullopt;
  const auto code = static_cast<uint16_t>((line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0'));
  if (code < 200 || code > 599) return std::nullopt;
  if (line.size() == 3) return ReplyLine{.code = code, .last = true, .text = {}};
  if (line[3] != ' ' && line[3] != '-') return std::nullopt;
  return ReplyLine{.code = code, .last = line[3] == ' ', .text = line.substr(4)};
}

}  // namespace bivalve::net
