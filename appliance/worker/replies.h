// The one table of the replies that Bivalve makes itself (CONTRACT, "Replies that Bivalve makes itself").
// Every other reply is the server's own.
#pragma once

#include <array>
#include <string_view>

namespace bivalve::appliance::replies {

inline constexpr std::string_view kBusy = "421 4.3.2 Server busy, too many connections\r\n";
inline constexpr std::string_view kShutdown = "421 4.3.2 Service is shutting down\r\n";
inline constexpr std::string_view kUnreachable =
    "421 4.3.0 Mail server cannot be reached, try again later\r\n";
inline constexpr std::string_view kBadChunk = "421 4.5.0 Chunk of unknown size, closing connection\r\n";
inline constexpr std::string_view kServerLost =
    "421 4.3.0 Connection to the mail server was lost, try again later\r\n";
inline constexpr std::string_view kServerNonsense =
    "421 4.3.0 Mail server broke the protocol, try again later\r\n";
inline constexpr std::string_view kServerTimeout =
    "421 4.4.2 Mail server does not answer, closing connection\r\n";
inline constexpr std::string_view kClientTimeout = "421 4.4.2 Timeout, closing connection\r\n";
inline constexpr std::string_view kTooSlow =
    "421 4.4.2 Message data comes too slowly, closing connection\r\n";
inline constexpr std::string_view kTooManyConnections =
    "421 4.7.0 Too many connections from your address\r\n";
inline constexpr std::string_view kTooManyErrors = "421 4.7.0 Too many errors\r\n";
inline constexpr std::string_view kTooManyCommands = "421 4.7.0 Too many commands without a message\r\n";
inline constexpr std::string_view kNotIntroduced =
    "421 4.3.0 Mail server does not take the client's address, try again later\r\n";
inline constexpr std::string_view kClientLeft =
    "451 4.4.2 Connection ended before the message was scanned\r\n";
inline constexpr std::string_view kLocalError = "451 4.3.0 Local Error\r\n";
inline constexpr std::string_view kNoRoom =
    "452 4.3.1 Insufficient room for the message, try again later\r\n";
inline constexpr std::string_view kTooManyRecipients = "452 4.5.3 Too many recipients\r\n";
inline constexpr std::string_view kLineTooLong = "500 5.5.2 Line too long\r\n";
inline constexpr std::string_view kBadLine = "500 5.5.2 Control character in command\r\n";
inline constexpr std::string_view kBadArguments = "501 5.5.4 Syntax error in arguments\r\n";
inline constexpr std::string_view kNotImplemented = "502 5.5.1 Command not implemented\r\n";
inline constexpr std::string_view kBadSequence = "503 5.5.1 Bad sequence of commands\r\n";
inline constexpr std::string_view kNoSuchMechanism =
    "504 5.5.4 Authentication mechanism is not supported\r\n";
inline constexpr std::string_view kForbidden = "554 5.7.0 Insufficient authorization\r\n";
inline constexpr std::string_view kNoBinaryMime = "555 5.5.4 BODY=BINARYMIME is not supported\r\n";
inline constexpr std::string_view kNoRecipients = "554 5.5.1 No valid recipients\r\n";
inline constexpr std::string_view kStartMail = "354 Start mail input; end with <CRLF>.<CRLF>\r\n";
inline constexpr std::string_view kGoodbye = "221 2.0.0 Bye\r\n";
inline constexpr std::string_view kChunkTaken = "250 2.0.0 Chunk received\r\n";
inline constexpr std::string_view kTooLarge = "552 5.3.4 Message exceeds the size limit\r\n";
inline constexpr std::string_view kHeaderTooLarge = "552 5.3.4 Header section exceeds the size limit\r\n";
inline constexpr std::string_view kAmbiguousEnd =
    "550 5.5.2 Message has a line with a single dot whose line ends are not CRLF\r\n";
inline constexpr std::string_view kAmbiguousDot = "550 5.5.2 Message has a dot behind a bare CR or LF\r\n";
inline constexpr std::string_view kBareNewline = "550 5.5.2 Message has a bare CR or LF\r\n";
// clamsmtpd's words; with an enhanced code where the server has promised one for every reply (RFC 2034
// section 4).
inline constexpr std::string_view kVirusDropped = "250 Virus Detected; Discarded Email\r\n";
inline constexpr std::string_view kVirusDroppedEnhanced = "250 2.0.0 Virus Detected; Discarded Email\r\n";
inline constexpr std::string_view kVirusBounced = "550 Virus Detected; Content Rejected\r\n";
inline constexpr std::string_view kVirusBouncedEnhanced = "550 5.7.1 Virus Detected; Content Rejected\r\n";

// By FailureCause.
inline constexpr std::array<std::string_view, 5> kScanTempfail = {
    "451 4.7.1 Virus scanner is not available, try again later\r\n",
    "451 4.7.1 Virus scanner did not answer in time, try again later\r\n",
    "451 4.7.1 Message could not be scanned, try again later\r\n",
    "451 4.7.1 Message is larger than the virus scanner takes\r\n",
    "451 4.7.1 Message exceeds the limits of the virus scanner\r\n",
};
inline constexpr std::array<std::string_view, 5> kScanReject = {
    "554 5.7.1 Virus scanner is not available\r\n",
    "554 5.7.1 Virus scanner did not answer in time\r\n",
    "554 5.7.1 Message could not be scanned\r\n",
    "554 5.7.1 Message is larger than the virus scanner takes\r\n",
    "554 5.7.1 Message exceeds the limits of the virus scanner\r\n",
};

}  // namespace bivalve::appliance::replies
