// One client's connection to smtp_sink: ESMTP as a mail server speaks it (RFC 5321, 1870, 2920, 3030 and
// Postfix's XCLIENT and XFORWARD), except that mail is only counted, or recorded where that was asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "core/condition.h"
#include "core/counters.h"
#include "core/loop.h"
#include "core/task.h"
#include "net/connection.h"
#include "net/smtp_command.h"
#include "tools/load/shared.h"
#include "tools/load/smtp_sink_recorder.h"
#include "tools/load/smtp_sink_settings.h"

namespace bivalve::tools {

enum class SinkCount : uint8_t {
  kConnections,
  kMessages,  // accepted
  kBytes,     // of their content
  kRejected,  // messages refused after their end
  kRejectedRecipients,
  kLost,  // connections that a client ended, or left silent, without QUIT
  kCount,
};
using SinkCounters = core::Counters<SinkCount>;

// Buffers that mail data is received into. A connection has one only while it receives a message, so that few
// buffers stay warm in the cache. Worker-local.
class ScratchBuffers {
 public:
  static constexpr size_t kBytes = size_t{128} << 10;
  std::unique_ptr<char[]> Take();
  void Return(std::unique_ptr<char[]> buffer) { kept_.push_back(std::move(buffer)); }

 private:
  std::vector<std::unique_ptr<char[]>> kept_;
};

class SinkSession;

// What the sessions of one worker share.
struct SinkServices {
  core::Loop& loop;
  const SinkSettings& settings;
  const std::string& ehlo_reply;
  SinkCounters& counters;
  SinkRecorder* recorder;  // nullptr: nothing is recorded
  Random random;
  ScratchBuffers scratch = {};
  std::unordered_set<SinkSession*> sessions = {};
  bool stopping = false;
};

// The whole reply to EHLO.
std::string MakeEhloReply(const SinkSettings& settings);

class SinkSession {
 public:
  // Takes ownership of the descriptor; returns when the connection is closed. Suspends.
  static core::Task<void> Serve(SinkServices& services, int fd);

  SinkSession(SinkServices& services, int fd);
  SinkSession(const SinkSession&) = delete;
  ~SinkSession();

  // Ends the connection soon, whatever it is doing. Never suspends.
  void Abort();

  // Where the dialogue is; which commands may stand where is a table in smtp_sink_session.cc.
  enum Phase : uint8_t {
    kStart = 1,   // no EHLO or HELO yet
    kReady = 2,   // no mail transaction
    kMail = 4,    // MAIL was accepted
    kChunks = 8,  // a BDAT was, and not the last
  };

 private:
  // What a command leaves to be done, because it may wait.
  enum class Step : uint8_t { kReplied, kPauseAndReply, kReceiveData, kReceiveChunk, kClose };

  core::Task<void> Run();
  // Runs one command. Never suspends.
  Step Execute(const net::Command& command);
  Step Hello(const net::Command& command);
  Step Mail(std::string_view arguments);
  Step Recipient(std::string_view arguments);
  Step Bdat(std::string_view arguments);
  Step XClient();
  Step Refuse(std::string_view reply);

  // False when the connection is over.
  core::Task<bool> ReceiveData();
  core::Task<bool> ReceiveChunk();
  // The reply to a whole message. False when the connection is over.
  core::Task<bool> AnswerMessage();
  std::string_view JudgeMessage();
  core::Task<void> Pause(core::Duration time);

  void Reply(std::string_view line);
  void TakeContent(std::string_view content);
  // Forgets the mail transaction.
  void Reset();
  void Note(std::string_view name, std::string_view value);
  core::MonoTime Deadline() const { return services_.loop.Now() + services_.settings.idle_timeout; }

  SinkServices& services_;
  core::Condition wake_;
  net::Connection connection_;
  Phase phase_ = kStart;
  bool binary_ = false;         // BODY=BINARYMIME
  bool leaving_ = false;        // the client said QUIT, or we hang up as configured
  uint64_t recipients_ = 0;     // accepted, of this transaction
  uint64_t content_bytes_ = 0;  // of this message
  uint64_t messages_ = 0;       // accepted on this connection
  net::BdatArguments chunk_;
  std::string_view pending_reply_;
  // Only when recording.
  std::string session_lines_;
  std::string envelope_;
  std::string content_;
};

}  // namespace bivalve::tools
