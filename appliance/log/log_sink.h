// LogSink: writes the lines of the log to standard error, or to syslog with facility mail. Lines are written
// through the ring, so that a reader that does not read delays neither signals nor statistics.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "appliance/log/event.h"
#include "appliance/settings/config.h"
#include "core/fd.h"
#include "core/loop.h"
#include "core/task.h"

namespace bivalve::appliance {

class LogSink {
 public:
  // `ident`: the program's name in the log.
  // Lines beyond `severity_max` are left out.
  LogSink(std::string ident, bool to_stderr, Severity severity_max, LogFormat format = LogFormat::kText)
      : ident_(std::move(ident)), to_stderr_(to_stderr), severity_max_(severity_max), format_(format) {}

  // Applies to what is added from now on.
  void set_format(LogFormat format) { format_ = format; }

  // Adds an event to the lines that Flush writes. Events beyond kPendingBytesMax are lost, counted, and
  // replaced by a line that says so.
  void Add(const Event& event);
  // The same for a sentence that does not belong to a session.
  void Add(Severity severity, std::string_view text);
  // Writes all added lines. Suspends.
  core::Task<void> Flush(core::Loop& loop);
  // The same without a loop, for the start and the end. Blocks.
  void FlushBlocking();

 private:
  static constexpr size_t kPendingBytesMax = size_t{4} << 20;
  bool ConnectSyslog();
  core::Task<bool> SendSyslog(core::Loop& loop, std::string& datagram);

  std::string ident_;
  bool to_stderr_;
  Severity severity_max_;
  LogFormat format_;
  std::string pending_;  // standard error: lines; syslog: datagrams, each ended by NUL
  uint64_t lost_ = 0;
  core::UniqueFd syslog_;
};

}  // namespace bivalve::appliance
