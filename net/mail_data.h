// Receives mail data from a client into a body: by DATA, until the end of data, or one counted chunk of BDAT.
// Data that cannot be kept is read and thrown away, so that the dialogue can continue behind it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "core/body.h"
#include "core/body_pool.h"
#include "core/loop.h"
#include "core/patience.h"
#include "core/task.h"
#include "net/connection.h"
#include "net/end_of_data.h"

namespace bivalve::net {

struct MailDataLimits {
  uint64_t message_bytes_max = 0;      // 0: none
  bool bare_dot_is_ambiguous = false;  // see MailDataFault::kAmbiguousDot
};

// Why a completely received message must not be passed on. Of several faults the first in this order counts.
enum class MailDataFault : uint8_t {
  kNone,
  kTooLarge,        // the body is empty
  kNoRoom,          // the body is empty
  kMemoryCut,       // a file was cut short while it held bodies. Set by the owner of the bodies
  kAmbiguousEnd,    // DATA: a line "." that some servers take for the end. EndOfData::ambiguous()
  kAmbiguousDot,    // DATA: a dot that some servers take for stuffing. EndOfData::dot_after_bare_newline()
  kBareNewline,     // DATA: a CR or LF alone, if that is checked
  kHeaderTooLarge,  // the header section is too large. Set by the reader of the header section
};
inline constexpr size_t kMailDataFaults = static_cast<size_t>(MailDataFault::kHeaderTooLarge) + 1;

struct MailDataResult {
  enum class Status : uint8_t {
    kComplete,  // everything was read
    kClientGone,
    kTimeout,
    kTooSlow,  // see core::Patience
  };
  Status status = Status::kComplete;
  MailDataFault fault = MailDataFault::kNone;  // with kComplete
  // Lines of the content may begin with dots and then need stuffing.
  bool has_stuffed_dots = false;

  // Records one more fault.
  void Add(MailDataFault found) {
    if (fault == MailDataFault::kNone || (found != MailDataFault::kNone && found < fault)) fault = found;
  }
};

// Longest wait for room: by RFC 5321 section 4.5.3.2.4 a client waits two minutes for the reply to DATA.
inline constexpr core::Duration kRoomWaitMax = std::chrono::seconds(100);

// Reads up to and including the end of data. What the client sent behind it stays in its stream. While there
// is no room for more, it does not read, for as long as `patience` allows silence. Suspends.
core::Task<MailDataResult> ReceiveData(core::Loop& loop, Connection& client, core::BodyPool& bodies,
                                       core::Body& body, EndOfData::Check check, MailDataLimits limits,
                                       core::Patience patience);

// Reads the `chunk_bytes` of one BDAT (RFC 3030) and appends them to `body`. With `discard`, or without a
// body, it only reads. `patience` belongs to the whole message and must have been started. Suspends.
core::Task<MailDataResult> ReceiveChunk(core::Loop& loop, Connection& client, core::BodyPool& bodies,
                                        core::Body* body, uint64_t chunk_bytes, bool discard,
                                        MailDataLimits limits, core::Patience& patience);

}  // namespace bivalve::net
