// What smtp_sink is told to do, and the one table of its options.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>

#include "core/mono_time.h"
#include "tools/load/shared.h"

namespace bivalve::tools {

struct SinkSettings {
  std::string listen;
  uint64_t threads = 1;
  std::string host_name = "smtp-sink.test";
  bool pipelining = true;       // offered
  bool chunking = false;        // offered, and BDAT understood
  bool xclient = false;         // XCLIENT and XFORWARD offered and understood
  uint64_t size_bytes_max = 0;  // 0: no limit
  double reject_recipient_share = 0;
  double tempfail_share = 0;
  core::Duration delay{};                                 // before the reply to a message
  core::Duration delay_recipient{};                       // before the reply to RCPT
  uint64_t close_after = 0;                               // messages of one connection; 0: never
  core::Duration idle_timeout = std::chrono::minutes(5);  // RFC 5321 section 4.5.3.2.7
  std::string record_directory;                           // empty: nothing is recorded
  bool count = false;
  uint64_t seed = 1;
  bool help = false;
};

extern const std::span<const Option<SinkSettings>> kSinkOptions;

}  // namespace bivalve::tools
