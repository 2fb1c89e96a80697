// Receives mail data from a client into a body: by DATA, until the end of data, or a counted chunk of BDAT.
// Data that cannot be kept is read and thrown away, so that the dialogue goes on behind it.
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

// Why a message that came whole is not to be passed on. Of several, the first in this order.
enum class MailDataFault : uint8_t {
  kNone,
  kTooLarge,        // the body holds nothing
  kNoRoom,          // the body holds nothing
  kMemoryCut,       // a file was cut while bodies were in it. Whoever has the bodies finds that
  kAmbiguousEnd,    // DATA: a line "." which some servers take for the end. EndOfData::ambiguous()
  kAmbiguousDot,    // DATA: a dot which some servers take for stuffing. EndOfData::dot_after_bare_newline()
  kBareNewline,     // DATA: a CR or LF alone, where that was to be checked
  kHeaderTooLarge,  // the header section is. Whoever reads it finds that
};
inline constexpr size_t kMailDataFaults = static_cast<size_t>(MailDataFault::kHeaderTooLarge) + 1;

struct MailDataResult {
  enum class Status : uint8_t {
    kComplete,  // all of it was read
    kClientGone,
    kTimeout,
    kTooSlow,  // see core::Patience
  };
  Status status = Status::kComplete;
  MailDataFault fault = MailDataFault::kNone;  // with kComplete
  // Its lines may begin with dots, so that they need stuffing.
  bool has_stuffed_dots = false;

  // Notes one more fault.
  void Add(MailDataFault found) {
    if (fault == MailDataFault::kNone || (found != MailDataFault::kNone && found < fault)) fault = found;
  }
};

// Longest wait for room: RFC 5321 section 4.5.3.2.4 lets a client wait two minutes for the reply to DATA.
inline constexpr core::Duration kRoomWaitMax = std::chrono::seconds(100);

// Reads up to and including the end of data. What the client sent behind it stays in its stream. While there
// is no room for more, it does not read, for as long as `patience` allows silence. Suspends.
core::Task<MailDataResult> ReceiveData(core::Loop& loop, Connection& client, core::BodyPool& bodies,
                                       core::Body& body, EndOfData::Check check, MailDataLimits limits,
                                       core::Patience patience);

// Reads the `chunk_bytes` of one BDAT (RFC 3030) behind what `body` holds already. With `discard`, or without
// a body, it only reads. `patience` is the whole message's and was started. Suspends.
core::Task<MailDataResult> ReceiveChunk(core::Loop& loop, Connection& client, core::BodyPool& bodies,
                                        core::Body* body, uint64_t chunk_bytes, bool discard,
                                        MailDataLimits limits, core::Patience& patience);

}  // namespace bivalve::net
