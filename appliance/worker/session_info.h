// SessionInfo: a description of a running session, as a plain value that may go to another thread. For GET
// /sessions and bivalvectl.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bivalve::appliance {

// What a session waits for.
enum class SessionPhase : uint8_t {
  kStart,    // before the greeting: PROXY header, connection to the server
  kCommand,  // the client's next command
  kServer,   // the server's replies to commands
  kRoom,     // memory for a message
  kReceive,  // mail data
  kWait,     // a scanner that is free
  kScan,     // the verdict of the scanner that has the message
  kDeliver,  // the server's reply to the message
  kEnd,      // farewell, and the close of both sides
};
inline constexpr std::array<std::string_view, 9> kSessionPhaseNames = {
    "start", "command", "server", "room", "receive", "wait", "scan", "deliver", "end"};

struct SessionInfo {
  uint64_t number = 0;  // as in the log
  size_t worker = 0;
  std::string client = {};
  std::string helo = {};  // its HELO or EHLO name; empty: not sent yet
  SessionPhase phase = SessionPhase::kStart;
  double age_seconds = 0;
  double phase_seconds = 0;
  uint64_t messages = 0;     // complete ones
  uint64_t bytes = 0;        // content of these, and of the one that is being received
  std::string from = {};     // "<>": the null reverse-path; empty: no transaction
  std::string scanner = {};  // in kScan, as configured
};

// One worker's sessions at one moment.
struct WorkerSessions {
  size_t total = 0;
  std::vector<SessionInfo> longest = {};  // the oldest ones, oldest first
};

}  // namespace bivalve::appliance
