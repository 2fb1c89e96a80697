// Shared by the peers of simulated sessions: the messages that clients want to send, what happened to each of
// them, and the problems found.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "appliance/settings/config.h"
#include "core/mono_time.h"
#include "core/text.h"

namespace bivalve::sim {

// The scanner's signature: content with these bytes is infected; all other content is clean.
inline constexpr std::string_view kVirusMark = "X5O!SIMULATED-VIRUS";
inline constexpr std::string_view kVirusName = "Sim.Virus-1";
// The header that Bivalve adds to scanned mail.
inline constexpr std::string_view kUsualHeader = "X-Virus-Scanned: by simulation\r\n";

// Deliberate errors, by which tests prove that the checks detect what they should detect.
enum class Mutation : uint8_t {
  kNone,
  kServerForgets,  // says 250 and takes nothing
  kServerTakesTwice,
  kServerLosesAByte,       // of what it took
  kServerSpeaksTwice,      // one reply too many to RCPT
  kScannerIsBlind,         // OK to everything
  kServerHasNoPipelining,  // lists it, but does not accept it
};

struct Message {
  int number = 0;  // its reverse-path is <m<number>@sim.example>
  std::string content;
  bool infected = false;
  bool smuggles = false;      // has a dot line that is not CRLF "." CRLF
  bool bare_newline = false;  // has a CR or LF alone
  bool by_bdat = false;

  // What happened to it.
  bool whole = false;               // the client has sent all of it
  int accepted = 0;                 // how often the server took it with a 2xx
  std::vector<std::string> unread;  // images that no scanner has said OK to yet; all of them once it is whole
  bool read = false;                // that list was made
  uint16_t answer = 0;              // the reply to the end of data
  std::string answer_text;
};

struct Ledger {
  std::deque<Message> messages;
  std::vector<std::string> problems;
  Mutation mutation = Mutation::kNone;
  appliance::VirusPolicy action = appliance::VirusPolicy::kDrop;
  appliance::FailurePolicies scan_failure = {};
  appliance::BareNewline bare_newline = appliance::BareNewline::kGuard;
  core::MonoTime stopped_at = core::kNever;  // when the service was told to stop
  bool connections_break = false;            // by chance

  template <typename... Pieces>
  void Problem(const Pieces&... pieces) {
    problems.push_back(core::Cat(pieces...));
  }

  bool PassesUnscanned() const {
    return std::ranges::count(scan_failure, appliance::FailurePolicy::kPass) > 0;
  }

  // The message whose number is in "m17@…" (or in "m17.2@…", a recipient); null if there is none.
  Message* Find(std::string_view path) {
    size_t number = 0;
    size_t at = path.starts_with("<") ? 2 : 1;
    if (path.size() <= at || path[at - 1] != 'm') return nullptr;
    for (; at < path.size() && path[at] >= '0' && path[at] <= '9'; ++at) {
      number = number * 10 + static_cast<size_t>(path[at] - '0');
    }
    return number < messages.size() ? &messages[number] : nullptr;
  }
};

// A dot behind a bare LF as a server gets it by DATA.
inline std::string WithCrBeforeDots(std::string_view content) {
  std::string all;
  for (size_t i = 0; i < content.size(); ++i) {
    if (content.substr(i).starts_with("\n.") && (i == 0 || content[i - 1] != '\r')) all += '\r';
    all += content[i];
  }
  return all;
}

// The content as it must reach the server, with `header` at the end of its header section. Written a second
// time, independently of net/.
inline std::string WithHeader(std::string_view content, std::string_view header) {
  size_t line = 0;
  while (line < content.size()) {
    const std::string_view rest = content.substr(line);
    const std::string_view text = rest.substr(0, rest.find('\n'));
    const size_t colon = text.find(':');
    const bool folded =
        line > 0 && text.starts_with(' ') && text.find_first_not_of(" \r") != std::string_view::npos;
    const bool field = colon != 0 && colon != std::string_view::npos && text.find_first_of(" \r") > colon;
    if (!folded && !field) break;
    const size_t end = rest.find('\n');
    line = end == std::string_view::npos ? content.size() : line + end + 1;
  }
  const bool cut_line = line > 0 && content[line - 1] != '\n';
  return core::Cat(content.substr(0, line), cut_line ? "\r\n" : "", header, content.substr(line));
}

}  // namespace bivalve::sim
