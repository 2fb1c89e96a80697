// Whole sessions in simulation: clients, Bivalve's own sessions and scanner pool, an SMTP server and
// scanners, over one SimIo. One seed decides the configuration, the messages, the faults, and the order of
// everything.
//
//   SessionSim sim(seed, chances);
//   sim.Run();
//   EXPECT_THAT(sim.problems(), IsEmpty());
//
// It checks properties, not transcripts:
//
//   1. Every session ends, in bounded time. Each descriptor is closed once. At the end no buffer is leased,
//      no body is in use and nothing is in flight.
//   2. A client gets one reply for each command, in order. The server's reply to one command is never passed
//      on as the reply to another. Nothing follows a 421. 354 comes only after the server has accepted MAIL
//      and a RCPT.
//   3. A message that was answered 250 was taken by the server exactly once, unchanged except for one header;
//      or it was infected and dropped, and then the server has no byte of it. No message is taken twice,
//      whatever was answered.
//   4. Nothing is delivered unless a scanner has said OK to exactly this content, or the configuration allows
//      it.
//   5. The server sees only well-formed commands, in sequence, pipelined only as far as it allows, and QUIT
//      before the end of every connection that it has not spoiled itself.
//   6. received = in_progress + the outcomes, at every turn of the loop. The log has one line for each
//      received message.
//   7. No scan that nobody waits for holds a place for ever, whatever the scanner answers. Seconds after the
//      scanner answers new scans, mail is scanned.
//   8. If nothing goes wrong, every message gets exactly the right answer, and every QUIT its 221.
//   9. When the service stops, a client without a transaction is told at once, and one with a transaction
//      only after its end.
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
  bool well_again = false;  // after the sessions the scanner is well, and one more client comes
  bool stops = false;       // the service is told to stop at some moment
  // Without faults, so that property 8 is checked. Odd clients, cuts and delays are allowed.
  bool calm = false;
};

class SessionSim {
 public:
  SessionSim(uint64_t seed, const SessionChances& chances, Mutation mutation = Mutation::kNone);
  ~SessionSim();

  void Run();
  const std::vector<std::string>& problems() const { return ledger_.problems; }

  // What has happened in the run, for tests that check which paths the simulation reaches.
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
    uint64_t places_kept = 0;      // by given-up scans, when the sessions had ended
    uint64_t sessions_closed = 0;  // sessions with scanners, for given-up scans
    uint64_t shut_down = 0;        // clients that were told of the shutdown
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
