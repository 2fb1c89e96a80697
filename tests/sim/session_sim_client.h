// The client of one simulated session. It sends its messages by DATA or BDAT: step by step, in pipelined
// groups, or without waiting at all, and with commands in between that it should not send. It checks that
// Bivalve sends one reply for each command, in order. By chance it leaves or falls silent at any point.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "tests/sim/session_sim_ledger.h"
#include "tests/sim/sim_io.h"

namespace bivalve::sim {

struct ClientChances {
  double oddity = 0;  // something else between two transactions
  double vanish = 0;  // closes, resets or falls silent, at any byte
  double blind = 0;   // sends everything at once and ends its side
  double pause = 0;   // says nothing for some seconds between two transactions
};

class SimClient final : public SimPeer {
 public:
  // `size_limit`: the SIZE that Bivalve announces; 0: none.
  SimClient(uint64_t seed, ClientChances chances, Ledger& ledger, uint64_t size_limit);

  // Adds a message to send. Call before the session begins.
  void Add(Message& message) { to_send_.push_back(&message); }

  void OnConnect(SimSocket& socket) override;
  void OnBytes(SimSocket& socket, std::string_view bytes) override;
  void OnClose(SimSocket& socket) override;

  // The client has sent everything that it wanted, and every reply has arrived.
  bool satisfied() const { return quit_answered_ && awaited_.empty(); }
  // The client has left or fallen silent by itself.
  bool gone() const { return gone_; }
  // The client was told that the service shuts down.
  bool shut_down() const { return shut_down_; }

 private:
  enum class Kind : uint8_t {
    kGreeting,
    kHello,
    kMail,
    kRecipient,
    kData,
    kContent,
    kChunk,
    kLastChunk,
    kReset,
    kPassed,
    kOwn,
    kAuth,
    kQuit,
  };
  // Something that must be answered.
  struct Sent {
    Kind kind;
    std::string token;      // text in brackets in the server's reply to it
    uint16_t own_code = 0;  // kOwn: the code of Bivalve's own answer
  };
  enum class Step : uint8_t {
    kHello,
    kBetween,
    kMail,
    kRecipients,
    kData,
    kContent,
    kChunks,
    kResponse,
    kDone
  };

  void Advance();
  bool MayGoOn() const;
  // One step each: append to unit_ and awaited_.
  void Hello();
  void Between();
  void Pause();
  void Oddity();
  void Mail();
  void Recipient();
  void Data();
  void Content();
  void Chunk();

  void Command(Kind kind, std::string_view line, std::string token, uint16_t own_code = 0);
  void Flush();
  void Vanish();

  void OnReply(uint16_t code, std::string_view text);
  void OnGoodbye(std::string_view text);
  void OnHello(uint16_t code, std::string_view text);
  void OnFinal(uint16_t code, std::string_view text);
  void CheckToken(const Sent& sent, std::string_view text);

  Random random_;
  const ClientChances chances_;
  Ledger& ledger_;
  const uint64_t size_limit_;
  const bool blind_;
  const bool pipelines_;  // sends groups
  const bool eager_;      // does not wait at the end of a group either
  SimSocket* socket_ = nullptr;
  std::deque<Message*> to_send_;
  std::deque<Sent> awaited_;
  Step step_ = Step::kHello;
  std::string unit_;
  Message* completes_ = nullptr;  // the message that is complete after unit_
  std::string input_;
  std::string reply_;
  uint16_t reply_code_ = 0;

  bool gone_ = false;
  bool reads_ = true;
  bool goodbye_ = false;  // after 421, a refusing greeting or QUIT: nothing may follow
  bool quit_answered_ = false;
  bool shut_down_ = false;
  bool pausing_ = false;
  bool extended_ = false;
  bool chunking_ = false;
  bool needs_reset_ = false;  // a transaction may be open
  uint32_t counter_ = 0;

  Message* message_ = nullptr;       // of the open transaction
  std::deque<Message*> unanswered_;  // messages whose end has been sent
  bool mail_accepted_ = false;       // as far as replies have come
  bool in_transaction_ = false;      // no command that may have ended the transaction was answered since
  uint32_t recipients_accepted_ = 0;
  uint32_t recipients_left_ = 0;
  size_t chunk_offset_ = 0;
  uint32_t chunks_accepted_ = 0;
};

}  // namespace bivalve::sim
