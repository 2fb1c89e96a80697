// MessageAccount: counts and logs the messages of one session. Each message that was received gets exactly
// one outcome. Worker-local; never suspends.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "appliance/stats/metrics.h"
#include "appliance/worker/session_services.h"
#include "appliance/worker/transaction.h"
#include "core/mono_time.h"
#include "core/shrunken_file.h"
#include "net/xforward.h"
#include "scan/clamd_pool.h"

namespace bivalve::appliance {

// How a received message ended. The metric `received` is the sum of these.
enum class Outcome : uint8_t { kDelivered, kRefused, kDropped, kBounced, kTempfailed, kRejected, kLost };

// What is found out about a message on its way, for the log. Its views borrow until Conclude().
struct MessageRecord {
  uint64_t content_bytes = 0;
  std::string_view virus = {};
  std::string_view scanner = {};
  scan::Method method = scan::Method::kAuto;  // kAuto: no scanner got it
  std::string_view cause = {};                // why the message has no verdict
  std::string_view reply = {};                // the reply that the client got
  bool reply_is_servers = false;
  core::Duration receive = {};
  core::Duration wait = {};  // waiting for a scanner
  core::Duration scan = {};
  core::Duration deliver = {};
};

// The client that sent a message, and its transaction. All members borrow.
struct MessageOrigin {
  std::string_view client;
  std::string_view helo;
  const net::OriginalClient& original_client;
  const Transaction& transaction;
};

class MessageAccount {
 public:
  // `session` is the number for the log. The services outlive the account.
  MessageAccount(SessionServices& services, uint64_t session) : services_(services), session_(session) {}

  // The client is about to be asked for a message, or has begun to send one in chunks.
  void Begin();
  // The whole message was received. From now on it is in progress.
  void Received(uint64_t content_bytes);
  // Gives the message in progress its outcome, in the counters and in the log. `status` is the log's word for
  // it. `infected_passed`: the message has a virus, and if it was delivered, it was delivered in spite of
  // that.
  void Conclude(Outcome outcome, std::string_view status, bool infected_passed, const MessageOrigin& origin);

  // The time of the last Begin().
  core::MonoTime began_at() const { return began_at_; }
  // core::ShrunkenFilesMet() at the last Begin().
  uint64_t shrunken_files() const { return shrunken_files_; }
  // True if some body's file was cut short since Begin(); it may have been this message's.
  bool MemoryWasCut() const { return core::ShrunkenFilesMet() != shrunken_files_; }
  // The record of the message in progress; emptied by Conclude().
  MessageRecord& record() { return record_; }

  // Counts of the whole session, complete messages only.
  uint64_t messages() const { return messages_; }
  uint64_t content_bytes() const { return content_bytes_; }

 private:
  void Log(Metric outcome, std::string_view status, const MessageOrigin& origin);

  SessionServices& services_;
  uint64_t session_;
  bool in_progress_ = false;  // a message was received and has no outcome yet
  core::MonoTime began_at_{};
  uint64_t shrunken_files_ = 0;
  MessageRecord record_ = {};
  uint64_t messages_ = 0;
  uint64_t content_bytes_ = 0;
};

}  // namespace bivalve::appliance
