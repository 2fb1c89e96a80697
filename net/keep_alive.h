// KeepAlive: keeps a server from giving up while its client sends a message or a scanner reads it. It sends
// NOOP (RFC 5321 section 4.1.1.9) at intervals and reads the replies, beside the coroutine that owns the
// connection. At most one NOOP is unanswered, so servers without PIPELINING accept this too. Worker-local.
#pragma once

#include "core/condition.h"
#include "core/loop.h"
#include "core/task.h"
#include "net/connection.h"

namespace bivalve::net {

class KeepAlive final : private core::Timer {
 public:
  KeepAlive(Connection& server, core::Condition& wake) : server_(server), wake_(wake) {}

  // The first NOOP is sent after `interval`. Zero: none is sent. Until Settle or Stop nobody else may use the
  // server.
  void Start(core::Duration interval);
  // For the end of the connection: does not wait for an outstanding reply.
  void Stop() { Drop(); }
  // Stops, and waits for the outstanding reply. False if the server is lost: it closed, was silent for
  // `timeout`, said 421, or answered nonsense. Suspends.
  core::Task<bool> Settle(core::Duration timeout);

 private:
  void OnTimer() override;
  void TakeReply();

  Connection& server_;
  core::Condition& wake_;
  core::Duration interval_{};
  bool unanswered_ = false;
  bool failed_ = false;
};

}  // namespace bivalve::net
