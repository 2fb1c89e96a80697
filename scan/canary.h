// Canary: the test message by which a scanner proves itself. One with an empty database, a wrong limit or a
// descriptor that it cannot read answers "OK" to everything; only a virus that it must find tells it from one
// that works.
//
// The message is a mail with the EICAR string as a base64 attachment, so that it is found only by a scanner
// that reads what it was given, takes it for mail, takes it apart and has signatures. Its header section
// holds the magics of archives and disk images that libclamav looks for at fixed offsets, where they would be
// hit if the image's front were as long as one line or a few: behind such a front it would not be taken for
// mail. It is not a message: no counter but its own knows it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/body_pool.h"
#include "core/condition.h"
#include "core/task.h"

namespace bivalve::scan {

enum class CanaryMode : uint8_t {
  kOff,
  kOn,    // a scanner that does not find it gets no mail
  kWarn,  // it is only said
};

// What came of a scanner's last canary, as statistics show it.
enum class CanaryState : uint8_t { kOff, kPending, kFound, kMissed, kError };
constexpr std::string_view ToString(CanaryState state) {
  switch (state) {
    case CanaryState::kOff:
      return "off";
    case CanaryState::kPending:
      return "pending";
    case CanaryState::kFound:
      return "found";
    case CanaryState::kMissed:
      return "missed";
    case CanaryState::kError:
      return "error";
  }
  return "?";
}

// How the message begins: enough for a scanner of a benchmark to know it by.
inline constexpr std::string_view kCanaryMark = "X-Bivalve-Canary: ";

// The message, put together at run time: no file of ours, and no core of the program before it, holds the
// string.
const std::string& CanaryContent();

// A body with that content; null when there is no room for one. Suspends only where BodyPool::Acquire does.
core::Task<std::unique_ptr<core::Body>> MakeCanary(core::BodyPool& bodies);
// The same, with lines behind its last part that make an image of `image_bytes` of it, if it is not as large
// anyway. Made in steps, between which others run; `wake` is the caller's Condition. Suspends.
core::Task<std::unique_ptr<core::Body>> MakeCanary(core::BodyPool& bodies, core::Condition& wake,
                                                   uint64_t image_bytes);

}  // namespace bivalve::scan
