// Verdict: what a scanner said about a message, or why there is no verdict.
#pragma once

#include <cstdint>
#include <string>

namespace bivalve::scan {

enum class VerdictKind : uint8_t { kClean, kInfected, kNone };

// Why there is no verdict.
enum class NoVerdict : uint8_t {
  kDown,     // no scanner answers
  kTimeout,  // no answer in time, or one that took too long to be believed
  kError,    // the scanner said ERROR, or something that it must not say
  kSize,     // more than the scanner accepts
  kLimits,   // the scanner stopped at one of its limits, other than time
};

struct Verdict {
  VerdictKind kind = VerdictKind::kNone;
  NoVerdict cause = NoVerdict::kDown;  // with kNone
  // kInfected: the signature name as the scanner wrote it (it may contain anything except NUL and LF: escape
  // it before it enters a header, a reply or a log line). kNone: a sentence for the log.
  std::string text = {};
};

}  // namespace bivalve::scan
