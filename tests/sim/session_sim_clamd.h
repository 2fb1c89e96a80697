// The scanner of simulated sessions: clamd's protocol, with verdicts about the bytes that it got. By chance
// it says ERROR or nonsense, falls silent or goes away. It never calls an infected message clean.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "core/fd.h"
#include "tests/sim/session_sim_ledger.h"
#include "tests/sim/sim_io.h"

namespace bivalve::sim {

struct ScannerChances {
  double error = 0;     // ERROR, a size limit, or a signature that means a limit
  double nonsense = 0;  // a reply that clamd does not write, or one whose number is not outstanding
  double vanish = 0;    // closes or resets and does not answer
  double silent = 0;    // never answers this scan, but answers others
  double late = 0.3;    // a verdict takes some time
};

class SimClamd final : public SimPeer {
 public:
  SimClamd(uint64_t seed, ScannerChances chances, Ledger& ledger)
      : random_(seed), chances_(chances), ledger_(ledger) {}

  void OnConnect(SimSocket& socket) override { dialogues_[&socket].socket = &socket; }
  void OnBytes(SimSocket& socket, std::string_view bytes) override;
  void OnDescriptor(SimSocket& socket, int fd) override;
  void OnClose(SimSocket& socket) override { dialogues_[&socket].over = true; }

  // From now on answers everything new at once. Earlier requests stay as they are.
  void BecomeWell() { chances_ = {.late = 0}; }

 private:
  struct Dialogue {
    SimSocket* socket = nullptr;
    bool over = false;
    bool session = false;
    std::string input;
    uint32_t commands = 0;
    std::deque<core::UniqueFd> descriptors;
    bool uploading = false;
    std::string upload;
  };
  struct Scan {
    Dialogue* dialogue = nullptr;
    uint32_t id = 0;
    core::UniqueFd descriptor;  // FILDES
    std::string image;          // as it was when it arrived
  };

  bool Command(Dialogue& d);
  bool TakeChunk(Dialogue& d);
  void Begin(std::shared_ptr<Scan> scan);
  void Answer(const Scan& scan);
  void Judge(const Scan& scan, std::string_view shape);

  Random random_;
  ScannerChances chances_;
  Ledger& ledger_;
  std::map<SimSocket*, Dialogue> dialogues_;
};

}  // namespace bivalve::sim
