// The one table of the replies that Bivalve makes itself; scripts elsewhere rely on their words. Every other
// reply is the server's own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace bivalve::appliance {

// One reply. Its line is composed at compile time.
class OwnReply {
 public:
  enum class Enhanced : uint8_t {
    kAlways,
    // Only if the server has promised an enhanced code in each reply (RFC 2034 section 4). For clamsmtpd's
    // texts, which scripts know without a code.
    kWherePromised,
  };

  // `code`: RFC 5321 section 4.2.3. `enhanced`: RFC 3463; empty: none. `text` has no line end.
  consteval OwnReply(uint16_t code, std::string_view enhanced, std::string_view text,
                     Enhanced when = Enhanced::kAlways)
      : code_(code), enhanced_(Join(code, enhanced, text)) {
    plain_ = when == Enhanced::kAlways ? enhanced_ : Join(code, "", text);
  }

  constexpr uint16_t code() const { return code_; }
  // The whole line with CRLF. `promised`: the server has promised enhanced codes, see kWherePromised.
  constexpr std::string_view line(bool promised = false) const {
    const Line& line = promised ? enhanced_ : plain_;
    return {line.text.data(), line.bytes};
  }

 private:
  struct Line {
    std::array<char, 96> text = {};
    uint8_t bytes = 0;

    constexpr void Add(std::string_view more) {
      for (const char c : more) text.at(bytes++) = c;
    }
  };

  static consteval Line Join(uint16_t code, std::string_view enhanced, std::string_view text) {
    const std::array<char, 3> digits = {static_cast<char>('0' + code / 100),
                                        static_cast<char>('0' + code / 10 % 10),
                                        static_cast<char>('0' + code % 10)};
    Line line;
    line.Add({digits.data(), digits.size()});
    line.Add(" ");
    line.Add(enhanced);
    if (!enhanced.empty()) line.Add(" ");
    line.Add(text);
    line.Add("\r\n");
    return line;
  }

  uint16_t code_;
  Line enhanced_;
  Line plain_ = {};
};

namespace replies {

inline constexpr OwnReply kBusy(421, "4.3.2", "Server busy, too many connections");
inline constexpr OwnReply kShutdown(421, "4.3.2", "Service is shutting down");
inline constexpr OwnReply kUnreachable(421, "4.3.0", "Mail server cannot be reached, try again later");
inline constexpr OwnReply kBadChunk(421, "4.5.0", "Chunk of unknown size, closing connection");
inline constexpr OwnReply kServerLost(421, "4.3.0",
                                      "Connection to the mail server was lost, try again later");
inline constexpr OwnReply kServerNonsense(421, "4.3.0", "Mail server broke the protocol, try again later");
inline constexpr OwnReply kServerTimeout(421, "4.4.2", "Mail server does not answer, closing connection");
inline constexpr OwnReply kClientTimeout(421, "4.4.2", "Timeout, closing connection");
inline constexpr OwnReply kTooSlow(421, "4.4.2", "Message data comes too slowly, closing connection");
inline constexpr OwnReply kTooManyConnections(421, "4.7.0", "Too many connections from your address");
inline constexpr OwnReply kTooManyErrors(421, "4.7.0", "Too many errors");
inline constexpr OwnReply kTooManyCommands(421, "4.7.0", "Too many commands without a message");
inline constexpr OwnReply kNotIntroduced(421, "4.3.0",
                                         "Mail server does not take the client's address, try again later");
inline constexpr OwnReply kClientLeft(451, "4.4.2", "Connection ended before the message was scanned");
inline constexpr OwnReply kLocalError(451, "4.3.0", "Local Error");
inline constexpr OwnReply kNoRoom(452, "4.3.1", "Insufficient room for the message, try again later");
inline constexpr OwnReply kTooManyRecipients(452, "4.5.3", "Too many recipients");
inline constexpr OwnReply kLineTooLong(500, "5.5.2", "Line too long");
inline constexpr OwnReply kBadLine(500, "5.5.2", "Control character in command");
inline constexpr OwnReply kBadArguments(501, "5.5.4", "Syntax error in arguments");
inline constexpr OwnReply kNotImplemented(502, "5.5.1", "Command not implemented");
inline constexpr OwnReply kBadSequence(503, "5.5.1", "Bad sequence of commands");
inline constexpr OwnReply kNoSuchMechanism(504, "5.5.4", "Authentication mechanism is not supported");
inline constexpr OwnReply kForbidden(554, "5.7.0", "Insufficient authorization");
inline constexpr OwnReply kNoBinaryMime(555, "5.5.4", "BODY=BINARYMIME is not supported");
inline constexpr OwnReply kNoRecipients(554, "5.5.1", "No valid recipients");
inline constexpr OwnReply kStartMail(354, "", "Start mail input; end with <CRLF>.<CRLF>");
inline constexpr OwnReply kGoodbye(221, "2.0.0", "Bye");
inline constexpr OwnReply kChunkTaken(250, "2.0.0", "Chunk received");
inline constexpr OwnReply kTooLarge(552, "5.3.4", "Message exceeds the size limit");
inline constexpr OwnReply kHeaderTooLarge(552, "5.3.4", "Header section exceeds the size limit");
inline constexpr OwnReply kAmbiguousEnd(550, "5.5.2",
                                        "Message has a line with a single dot whose line ends are not CRLF");
inline constexpr OwnReply kAmbiguousDot(550, "5.5.2", "Message has a dot behind a bare CR or LF");
inline constexpr OwnReply kBareNewline(550, "5.5.2", "Message has a bare CR or LF");
inline constexpr OwnReply kVirusDropped(250, "2.0.0", "Virus Detected; Discarded Email",
                                        OwnReply::Enhanced::kWherePromised);
inline constexpr OwnReply kVirusBounced(550, "5.7.1", "Virus Detected; Content Rejected",
                                        OwnReply::Enhanced::kWherePromised);

// Indexed by FailureCause.
inline constexpr std::array<OwnReply, 5> kScanTempfail = {
    OwnReply(451, "4.7.1", "Virus scanner is not available, try again later"),
    OwnReply(451, "4.7.1", "Virus scanner did not answer in time, try again later"),
    OwnReply(451, "4.7.1", "Message could not be scanned, try again later"),
    OwnReply(451, "4.7.1", "Message is larger than the virus scanner takes"),
    OwnReply(451, "4.7.1", "Message exceeds the limits of the virus scanner"),
};
inline constexpr std::array<OwnReply, 5> kScanReject = {
    OwnReply(554, "5.7.1", "Virus scanner is not available"),
    OwnReply(554, "5.7.1", "Virus scanner did not answer in time"),
    OwnReply(554, "5.7.1", "Message could not be scanned"),
    OwnReply(554, "5.7.1", "Message is larger than the virus scanner takes"),
    OwnReply(554, "5.7.1", "Message exceeds the limits of the virus scanner"),
};

}  // namespace replies

}  // namespace bivalve::appliance
