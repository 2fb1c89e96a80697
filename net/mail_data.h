// Receives mail data from a client into a body: by DATA, until the end of data, or a counted chunk of BDAT.
// Data that cannot be kept is read and thrown away, so that the dialogue goes on behind it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "core/body.h"
#include "core/body_pool.h"
#include "core/loop.h"
#include "core/task.h"
#include "net/connection.h"
#include "net/data_rate.h"
#include "net/end_of_data.h"

namespace bivalve::net {

struct MailDataLimits {
  uint64_t message_bytes_max = 0;  // 0: none
  core::Duration timeout{};        // longest silence of the client; and a wait for room
};

struct MailDataResult {
  enum class Status : uint8_t {
    kComplete,  // all of it was read
    kClientGone,
    kTimeout,
    kTooSlow,  // see DataRate
  };
  Status status = Status::kComplete;
  // With kComplete, why the body does not hold the message (it holds nothing then).
  bool too_large = false;
  bool no_room = false;
  // DATA only: see EndOfData.
  bool ambiguous = false;
  bool bare_newline = false;
  bool dot_after_bare_newline = false;
  // Its lines may begin with dots, so that they need stuffing.
  bool has_stuffed_dots = false;
};

// Longest wait for room: RFC 5321 section 4.5.3.2.4 lets a client wait two minutes for the reply to DATA.
inline constexpr core::Duration kRoomWaitMax = std::chrono::seconds(100);

// Reads up to and including the end of data. What the client sent behind it stays in its stream. While there
// is no room for more, it does not read. Suspends.
core::Task<MailDataResult> ReceiveData(core::Loop& loop, Connection& client, core::BodyPool& bodies,
                                       core::Body& body, EndOfData::Check check, MailDataLimits limits);

// Reads the `chunk_bytes` of one BDAT (RFC 3030) behind what `body` holds already. With `discard`, or without
// a body, it only reads. `rate` belongs to the whole message and was started. Suspends.
core::Task<MailDataResult> ReceiveChunk(core::Loop& loop, Connection& client, core::BodyPool& bodies,
                                        core::Body* body, uint64_t chunk_bytes, bool discard,
                                        MailDataLimits limits, DataRate& rate);

}  // namespace bivalve::net
