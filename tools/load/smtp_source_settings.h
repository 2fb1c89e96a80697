// What smtp_source is told to do, and the one table of its options.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/mono_time.h"
#include "tools/load/shared.h"

namespace bivalve::tools {

struct SourceSettings {
  std::string server;
  uint64_t sessions = 1;
  uint64_t threads = 1;
  uint64_t messages = 0;      // 0: no limit
  core::Duration duration{};  // 0: no limit
  core::Duration warmup{};
  double rate = 0;  // messages/s over all threads; 0: closed loop
  bool fixed = false;
  core::Duration drain = std::chrono::seconds(30);

  struct Size {
    uint64_t bytes = 0;
    double weight = 1;
  };
  std::vector<Size> sizes = {Size{.bytes = 1024, .weight = 1}};
  double infected_share = 0;
  bool random_content = false;
  uint64_t recipients = 1;
  std::string from = "source@example.com";
  std::string to = "sink@example.net";
  std::string helo = "smtp-source.test";

  uint64_t per_session = 1;  // messages of one connection; 0: no limit
  bool pipelining = false;
  bool bdat = false;
  core::Duration timeout = std::chrono::seconds(30);

  uint64_t seed = 1;
  bool progress = false;
  bool json = false;
  bool tolerate = false;
  bool help = false;

  bool open_loop() const { return rate > 0; }
};

extern const std::span<const Option<SourceSettings>> kSourceOptions;

// "10k", or "1k:60,10k:30,1m:10": sizes and their weights.
absl::Status SetSizes(std::vector<SourceSettings::Size>& sizes, std::string_view text);

}  // namespace bivalve::tools
