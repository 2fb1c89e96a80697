// SMTP replies (RFC 5321 section 4.2): single lines, and whole replies of several lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace bivalve::net {

// Length of the longest accepted reply line from a server, CRLF included (RFC 5321 requires 512; we allow
// more).
inline constexpr size_t kReplyLineBytesMax = 4096;
// Most lines in one reply.
inline constexpr size_t kReplyLinesMax = 512;

struct ReplyLine {
  uint16_t code = 0;      // 200..599
  bool last = true;       // "250 " ends the reply, "250-" continues it
  std::string_view text;  // without code, separator or CRLF; points into the input
};

// Parses one line, given without its line end. Accepts a bare code ("250"), as RFC 5321 section 4.2 asks of
// clients. Returns nullopt for any line that is not a reply line. Never suspends. The result borrows from
// `line`.
std::optional<ReplyLine> ParseReplyLine(std::string_view line);

// Codes after which the dialogue does not simply continue: RFC 5321 section 4.2.3, RFC 4954 section 4.
inline constexpr uint16_t kReady = 220;          // the server greets
inline constexpr uint16_t kAuthContinues = 334;  // the next line is a response, not a command
inline constexpr uint16_t kStartMail = 354;      // the next lines are mail data
inline constexpr uint16_t kClosing = 421;        // the server closes the connection (RFC 5321 section 3.8)

// The class of a reply code: RFC 5321 section 4.2.1.
constexpr bool IsPositive(uint16_t code) { return code >= 200 && code < 300; }
constexpr bool IsIntermediate(uint16_t code) { return code >= 300 && code < 400; }
constexpr bool IsTransient(uint16_t code) { return code >= 400 && code < 500; }
constexpr bool IsPermanent(uint16_t code) { return code >= 500 && code < 600; }

}  // namespace bivalve::net
