// The SMTP server of simulated sessions: RFC 5321 to the letter, with or without PIPELINING, CHUNKING and
// SIZE. It records every message that it takes, and every violation by its client. By chance it refuses,
// speaks nonsense, falls silent or goes away.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/session_sim_ledger.h"
#include "tests/sim/sim_io.h"

namespace bivalve::sim {

struct ServerChances {
  double refuse = 0;    // a command or a message: 4xx or 5xx
  double goodbye = 0;   // 421, and the end of the connection
  double nonsense = 0;  // something that is not a reply
  double vanish = 0;    // the end without a reply
  double silent = 0;    // no further reply
  double early = 0;     // 552 and the end in the middle of mail data
  double late = 0;      // the reply takes some time
  double idle = 0;      // the end, with a 421 or without a reply, some time after a reply
};

class SimSmtpServer final : public SimPeer {
 public:
  SimSmtpServer(uint64_t seed, ServerChances chances, Ledger& ledger);

  void OnConnect(SimSocket& socket) override;
  void OnBytes(SimSocket& socket, std::string_view bytes) override;
  void OnClose(SimSocket& socket) override;

  bool pipelining() const { return pipelining_; }
  bool chunking() const { return chunking_; }

 private:
  enum class Phase : uint8_t { kCommand, kAuth, kData, kChunk, kOver };
  struct Dialogue {
    SimSocket* socket = nullptr;
    Phase phase = Phase::kCommand;
    std::string input;
    bool reply_due = false;       // further commands have to wait
    bool may_be_followed = true;  // the last command may be followed by others before its reply
    bool spoiled = false;         // by the server's own reply or silence
    std::string last_line;
    bool greeted = false;
    bool extended = false;  // EHLO was used
    bool mail = false;
    std::string from;
    std::vector<std::string> to;
    std::string content;
    uint64_t chunk_left = 0;
    bool chunk_last = false;
    bool in_chunks = false;      // a chunk of this message has arrived, but not the last
    bool knows_no_bdat = false;  // although it lists CHUNKING
    int auth_left = 0;
  };

  void Process(Dialogue& d);
  void Command(Dialogue& d, std::string_view line);
  void Mail(Dialogue& d, std::string_view arguments);
  void Recipient(Dialogue& d, std::string_view arguments);
  void Bdat(Dialogue& d, std::string_view arguments);
  bool TakeData(Dialogue& d);
  bool TakeChunk(Dialogue& d);
  void FirstByte(Dialogue& d);
  void EndOfMessage(Dialogue& d);
  void Accept(Dialogue& d);
  void CheckContent(const Message& message, std::string_view content, bool by_data);
  void CheckUnfinished(const Dialogue& d);
  void Forget(Dialogue& d);
  std::string Number(const Dialogue& d) const;

  // Continues the fault that chance has chosen for this reply; true if no other answer follows.
  bool Misfortune(Dialogue& d, bool data = false);
  bool Strike(Dialogue& d, bool data);  // carries it out
  bool Refuse(Dialogue& d, std::string_view token);
  void Reply(Dialogue& d, uint16_t code, std::string_view text);
  void Say(Dialogue& d, std::string text);
  void LeaveLater(Dialogue& d);
  void Leave(Dialogue& d, std::string_view last_words);

  Random random_;
  const ServerChances chances_;
  Ledger& ledger_;
  const bool pipelining_;
  const bool chunking_;
  const bool size_;
  const bool late_;
  std::map<SimSocket*, Dialogue> dialogues_;
};

}  // namespace bivalve::sim
