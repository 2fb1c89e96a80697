// Canary: the test message by which a scanner proves itself. A scanner with an empty database, a wrong limit
// or a descriptor that it cannot read answers "OK" to everything. Only a virus that it must find shows
// whether it works.
//
// The message is a mail with the EICAR string as a base64 attachment. So it is found only by a scanner that
// reads what it was given, recognises it as mail, takes it apart and has signatures. Its header section holds
// the magics of archives and disk images that libclamav looks for at fixed offsets. They would match if the
// image's front were only one line or a few lines long, and the message would then not be recognised as mail.
// A canary does not count as a message: it has a counter of its own and appears in no other.
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
  kWarn,  // a miss is only logged
};

// The result of a scanner's last canary, as statistics show it.
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

// How the message begins: enough for a benchmark's scanner to recognise it.
inline constexpr std::string_view kCanaryMark = "X-Bivalve-Canary: ";

// The message, put together at run time, so that neither a file of ours nor a core dump taken earlier holds
// the string.
const std::string& CanaryContent();

// A body with that content; null if there is no room for one. Suspends only where BodyPool::Acquire does.
core::Task<std::unique_ptr<core::Body>> MakeCanary(core::BodyPool& bodies);
// The same with lines behind its last part, so that the image has at least `image_bytes`. Made in steps, and
// others run between them; `wake` is the caller's Condition. Suspends.
core::Task<std::unique_ptr<core::Body>> MakeCanary(core::BodyPool& bodies, core::Condition& wake,
                                                   uint64_t image_bytes);

}  // namespace bivalve::scan
