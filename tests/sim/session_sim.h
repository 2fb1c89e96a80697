// Whole sessions in simulation: clients, Bivalve's own sessions and scanner pool, an SMTP server and
// scanners, over one SimIo. One seed decides the configuration, the messages, what goes wrong, and the order
// of everything.
//
//   SessionSim sim(seed, chances);
//   sim.Run();
//   EXPECT_THAT(sim.problems(), IsEmpty());
//
// What is checked are properties, not transcripts:
//
//   1. Every session ends, in bounded time; each descriptor is closed once; no buffer is leased, no body
//      is out and nothing is in flight at the end.
//   2. A client gets one reply for each command, in order; what the server says to one command is not
//      given as the reply to another; nothing follows a 421. 354 comes only when the server has accepted
//      MAIL and a RCPT.
//   3. A message that was answered 250 was taken by the server exactly once, unchanged but for one
//      header; or it was infected and dropped, and then the server has no byte of it. No message is taken
//      twice, whatever was answered.
//   4. Nothing is delivered without an OK that a scanner said to exactly this content, unless the
//      configuration says so.
//   5. The server sees only well-formed commands, in sequence, pipelined only as far as it allows, and QUIT
//      before the end of every connection that it has not spoiled itself.
//   6. received = in_progress + the outcomes, at every turn of the loop; the log has one line for each
//      message received.
//   7. No place with a scanner is held for ever by a scan that nobody waits for any more, whatever the
//   scanner
//      answers or does not answer; and seconds after it answers new scans, mail is scanned.
//   8. When nothing goes wrong, every message gets exactly the answer that it deserves, and every QUIT
//      its 221.
//   9. When the service stops, a client without a transaction is told so at once, and one with a
//      transaction not before its end.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "scan/canary.h"
#include "tests/sim/session_sim_clamd.h"
#include "tests/sim/session_sim_client.h"
#include "tests/sim/session_sim_ledger.h"
#include "tests/sim/session_sim_server.h"
#include "tests/sim/sim_io.h"

namespace bivalve::sim {

struct SessionChances {
  SimOptions io;
  ServerChances server;
  ScannerChances scanner;
  ClientChances client;
  scan::CanaryMode canary = scan::CanaryMode::kOff;
  bool well_again = false;  // when the sessions have ended the scanner is well, and one more client comes
  bool stops = false;       // the service is told to stop at some moment
  // Nothing that goes wrong is in here: property 8 is checked. Oddities of clients are allowed, and cuts and
  // delays.
  bool calm = false;
};

class SessionSim {
 public:
  SessionSim(uint64_t seed, const SessionChances& chances, Mutation mutation = Mutation::kNone);
  ~SessionSim();

  void Run();
  const std::vector<std::string>& problems() const { return ledger_.problems; }

  // What the run has seen, for tests that ask whether the simulation gets around.
  struct Seen {
    uint64_t messages = 0;
    uint64_t delivered = 0;
    uint64_t dropped = 0;
    uint64_t bounced = 0;
    uint64_t passed = 0;
    uint64_t refused = 0;
    uint64_t tempfailed = 0;
    uint64_t rejected = 0;
    uint64_t lost = 0;
    uint64_t aborted = 0;
    uint64_t places_kept = 0;      // by scans that were given up, when the sessions had ended
    uint64_t sessions_closed = 0;  // with scanners, for such scans
    uint64_t shut_down = 0;        // clients that were told so
  };
  const Seen& seen() const { return seen_; }

 private:
  struct World;
  void MakeConfig();
  void MakeMessages();
  Message& MakeMessage();
  std::string MakeContent(int number);
  void CheckTurn();
  void CheckPlaces();
  void CheckWellAgain();
  void CheckEnd();
  void CheckMessage(const Message& message);
  uint16_t Deserved(const Message& message) const;

  const SessionChances chances_;
  Random random_;
  Ledger ledger_;
  Seen seen_;
  bool identity_broken_ = false;
  uint64_t places_kept_ = 0;
  uint64_t sessions_closed_ = 0;
  std::unique_ptr<World> world_;
};

}  // namespace bivalve::sim
