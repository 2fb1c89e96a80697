// KeepAlive: keeps a server from giving up while its client sends a message or a scanner looks at it. Sends
// NOOP (RFC 5321 section 4.1.1.9) every so often and takes the replies, beside the coroutine that owns the
// connection; never more than one is unanswered, so a server without PIPELINING is content too. Worker-local.
#pragma once

#include "core/condition.h"
#include "core/loop.h"
#include "core/task.h"
#include "net/connection.h"

namespace bivalve::net {

class KeepAlive final : private core::Timer {
 public:
  KeepAlive(Connection& server, core::Condition& wake) : server_(server), wake_(wake) {}

  // The first NOOP goes out after `interval`. Zero: none ever. Until Settle or Stop nobody else may use the
  // server.
  void Start(core::Duration interval);
  // For the end of the connection: a reply that is still to come will not be waited for.
  void Stop() { Drop(); }
  // Stops, and waits for the reply that is still to come. False when the server is lost: it closed, was
  // silent for `timeout`, said 421, or spoke nonsense. Suspends.
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
