// What bivalvectl top shows: figures from two looks at a daemon, and the lines made of them for a terminal of
// some size or for a log. Pure functions; top.cc asks the daemon and draws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/bivalvectl/daemon_client.h"

namespace bivalve::ctl {

// One look. `sessions` may be null, when the daemon has no such list.
struct TopSample {
  double time = 0;  // seconds, of a clock that never goes back
  double unix_time = 0;
  Json stats;
  Json sessions;
};

enum class SessionOrder : uint8_t { kAge, kPhaseTime, kBytes, kMessages, kClient };
SessionOrder Next(SessionOrder order);

struct TopChoices {
  SessionOrder order = SessionOrder::kAge;
  bool reverse = false;
  bool viruses_by_time = false;  // else by how often
};

// A line of the screen, without control characters.
struct TopLine {
  enum class Style : uint8_t { kPlain, kTitle, kAlarm };
  std::string text;
  Style style = Style::kPlain;
};

// Durations are of the time between the two looks as well, if the daemon serves histograms.
//
// The screen: at most `rows` lines of at most `columns`. `before`: the look that rates are counted from;
// without it, or when the daemon has been started anew since, there are none. `trouble`: why `now` is old;
// empty: it is not.
std::vector<TopLine> TopScreen(const std::optional<TopSample>& before, const TopSample& now,
                               const TopChoices& choices, const std::string& trouble, size_t columns,
                               size_t rows);

// One line for a log: name=value.
std::string TopLogLine(const std::optional<TopSample>& before, const TopSample& now);

}  // namespace bivalve::ctl
