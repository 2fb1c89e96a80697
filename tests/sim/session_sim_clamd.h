// The scanner of simulated sessions: clamd's protocol, and a verdict that is about the bytes it got. By
// chance it says ERROR or nonsense, falls silent or goes away; it never calls an infected message clean.
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
  double nonsense = 0;  // a reply that clamd does not write, or with a number that is not outstanding
  double vanish = 0;    // closes or resets instead of answering
  double silent = 0;    // never answers this scan, and goes on with the others
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

  // Answers everything that comes from now on, at once. What it was given before stays as it is.
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
    std::string image;          // as it was when it came
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
