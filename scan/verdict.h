// Verdict: what a scanner said of one message, or why nobody said anything.
#pragma once

#include <cstdint>
#include <string>

namespace bivalve::scan {

enum class VerdictKind : uint8_t { kClean, kInfected, kNone };

// Why there is no verdict.
enum class NoVerdict : uint8_t {
  kDown,     // no scanner answers
  kTimeout,  // no answer within the time, or one that took so long that it is not believed
  kError,    // the scanner said ERROR, or something that it must not say
  kSize,     // more than the scanner takes
  kLimits,   // the scanner stopped at one of its limits, other than time
};

struct Verdict {
  VerdictKind kind = VerdictKind::kNone;
  NoVerdict cause = NoVerdict::kDown;  // with kNone
  // kInfected: the signature name as the scanner wrote it (may hold anything but NUL and LF: escape it before
  // it enters a header, a reply or a log line). kNone: a sentence for the log.
  std::string text = {};
};

}  // namespace bivalve::scan
