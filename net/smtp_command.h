// SMTP commands (RFC 5321 section 4.1.1): which verb a line holds, how a filter treats that command, and the
// paths in MAIL and RCPT. Does not know sessions.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace bivalve::net {

// Length of the longest accepted command line, CRLF included. RFC 5321 requires 512, and RFC 4954 12288 in
// AUTH.
inline constexpr size_t kCommandLineBytesMax = 12288;

enum class Verb : uint8_t {
  kHelo,
  kEhlo,
  kLhlo,
  kMail,
  kRcpt,
  kData,
  kBdat,
  kRset,
  kNoop,
  kQuit,
  kVrfy,
  kExpn,
  kHelp,
  kEtrn,
  kAuth,
  kStartTls,
  kXForward,
  kXClient,
  kXExch50,
  kBurl,
  kTurn,
  kAtrn,
  kCheckpoint,
  kVerb,
  kExchange,  // Exchange's own verbs, used between its servers
  kUnknown,
};

// What the filter does with a command; one table in smtp_command.cc says so for each verb.
enum class CommandKind : uint8_t {
  kPass,      // to the server, its reply to the client; may stand anywhere in a pipelined group
  kPassLast,  // the same, but nothing after it in the group is sent before its reply (RFC 2920 section 3.1)
  kOwn,       // the session handles it itself: HELO, EHLO, DATA, BDAT, AUTH, QUIT
  kRefuse,    // 502, because it starts something that would pass the scanner by
  kForbid,    // 554: XCLIENT from a client
};

struct Command {
  Verb verb = Verb::kUnknown;
  CommandKind kind = CommandKind::kPass;
  std::string_view arguments;  // what follows the verb and white space, trailing white space removed
};

// Parses one line, given without its line end. The case of the verb does not matter. The verb must be
// followed by white space or the end of the line ("MAIL FROM:" has the verb MAIL); but a refused or forbidden
// verb is recognised whatever follows its letters ("STARTTLS:"). Never fails: an unknown verb is kUnknown.
// The result borrows from `line`. Never suspends.
Command ParseCommand(std::string_view line);

// Takes the next word from the front of `text`, with the white space around it; empty at the end. White space
// is what the most lenient server accepts (blank, tab, CR, LF, VT, FF). All code that splits words uses this
// function, so that nothing hides behind a blank that only one of two programs sees.
std::string_view NextWord(std::string_view& text);

// True when the line may be handed to a server: no CR and no NUL inside.
bool LineIsClean(std::string_view line);

// The path of MAIL FROM:<path> or RCPT TO:<path>, given a command's arguments: without the angle brackets,
// without a source route ("@a,@b:") and without the parameters after it. Quoted local parts keep their quotes
// and may hold '>' and spaces (RFC 5321 section 4.1.2). A path without brackets and white space after the
// colon are accepted too, as servers do. nullopt if there is no "FROM:" or "TO:". Borrows.
std::optional<std::string_view> ParsePath(std::string_view arguments);

// The text behind the path of MAIL or RCPT, without white space around it: parameters (RFC 5321 section
// 4.1.2) separated by white space. Empty if there are none. Borrows.
std::string_view ParseParameters(std::string_view arguments);

// The value of a parameter (esmtp-keyword in any case) behind the path of MAIL or RCPT, such as SIZE or BODY.
// Empty for a parameter without "=value"; nullopt if the parameter is missing. Borrows.
std::optional<std::string_view> FindParameter(std::string_view arguments, std::string_view keyword);

// An unsigned decimal number that is the whole text; nullopt otherwise or if above 2^63-1.
std::optional<uint64_t> ParseNumber(std::string_view text);

struct BdatArguments {
  uint64_t chunk_bytes = 0;
  bool last = false;
};
// RFC 3030 section 2: "<size> [LAST]". nullopt for anything else.
std::optional<BdatArguments> ParseBdat(std::string_view arguments);

}  // namespace bivalve::net
