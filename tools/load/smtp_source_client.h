// The sending side of one SMTP connection, as smtp_source needs it: opens a session, sends messages, says
// what became of each. Takes no time itself; whoever calls it does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/condition.h"
#include "core/loop.h"
#include "core/task.h"
#include "net/address.h"
#include "net/connection.h"
#include "net/reply_reader.h"
#include "tools/load/smtp_source_message.h"
#include "tools/load/smtp_source_settings.h"

namespace bivalve::tools {

// What a connection says, made once for all of them.
struct SourceScript {
  explicit SourceScript(const SourceSettings& settings);
  bool pipelining;
  bool bdat;
  core::Duration timeout;
  std::string hello;
  std::string mail;
  std::vector<std::string> recipients;
};

struct SendOutcome {
  enum class Result : uint8_t {
    kAccepted,
    kRejected,       // `code` is the reply that refused it, or refused the session
    kConnectFailed,  // `error` says why
    kLost,           // the connection ended in the middle
    kTimeout,
    kGarbage,     // the server's answer was no reply
    kNotOffered,  // the server lacks an extension that was asked for
  };
  Result result = Result::kLost;
  uint16_t code = 0;
  int error = 0;
  bool answered = false;  // by the final reply, after all of the content: its time counts
  uint32_t recipients_rejected = 0;
};

class SourceClient {
 public:
  // `script` outlives the client.
  SourceClient(core::Loop& loop, const SourceScript& script);
  SourceClient(const SourceClient&) = delete;

  bool open() const { return connection_.stream().open(); }
  core::Condition& wake() { return wake_; }

  // Connects and says EHLO. kAccepted when messages can be sent; otherwise the connection is closed.
  // Suspends.
  core::Task<SendOutcome> Open(const net::SocketAddress& server);
  // Sends one message. When the connection is of no use afterwards, it is closed. Suspends.
  core::Task<SendOutcome> Send(const SourceMessage& message);
  // Says QUIT, waits for the reply a little, and closes. Suspends.
  core::Task<void> Quit();
  // Suspends.
  core::Task<void> Close();

 private:
  core::Task<SendOutcome> Hello();
  core::Task<SendOutcome> Transact(const SourceMessage& message);
  // Sends the message's pieces and `end` behind what was written. 0 or a negated errno.
  core::Task<core::IoResult> SendContent(const SourceMessage& message, std::string_view end);
  core::Task<net::Reply> ReadReply();

  core::Condition wake_;
  const SourceScript& script_;
  net::Connection connection_;
  std::string reply_text_;
};

}  // namespace bivalve::tools
