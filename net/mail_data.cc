#include "net/mail_data.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>

namespace bivalve::net {
namespace {

// Less room than this in front of a receive is not worth a system call.
constexpr size_t kRoomBytesMin = 4096;
// One receive takes at most this much, so that what a client sends behind its message stays small.
constexpr size_t kReceiveBytesMax = size_t{1} << 20;

// What is thrown away without a body is read in such pieces.
constexpr size_t kDiscardBytes = 4096;

MailDataResult::Status StatusOf(core::IoResult result) {
  return result.error() == ETIMEDOUT ? MailDataResult::Status::kTimeout : MailDataResult::Status::kClientGone;
}

// One receive, bounded by silence and by the rate.
core::Task<core::IoResult> ReceiveInTime(core::Loop& loop, Connection& client, std::span<char> room,
                                         core::Duration timeout, DataRate& rate, MailDataResult& result) {
  const core::MonoTime deadline = std::min(loop.Now() + timeout, rate.Deadline());
  const core::IoResult received = co_await client.stream().Receive(room, deadline);
  if (received.ok()) rate.Add(received.value());
  if (!received.ok() || received.eof()) {
    result.status = StatusOf(received);
    if (received.error() == ETIMEDOUT && !rate.silent()) result.status = MailDataResult::Status::kTooSlow;
  } else if (!rate.Check(loop.Now())) {
    result.status = MailDataResult::Status::kTooSlow;
  }
  co_return received;
}

// Makes room for at least kRoomBytesMin behind the content and the `held` bytes that follow it (they move
// along when the body does). False when the body cannot grow in time.
core::Task<bool> MakeRoom(core::Loop& loop, core::BodyPool& bodies, core::Body& body, size_t held,
                          core::Duration timeout, DataRate& rate) {
  while (body.room().size() < held + kRoomBytesMin) {
    std::array<char, EndOfData::kHeldBytesMax> kept;
    std::memcpy(kept.data(), body.room().data(), held);
    const core::MonoTime began = loop.Now();
    const bool grown = co_await bodies.GrowInTime(body, began + std::min(timeout, kRoomWaitMax));
    if (loop.Now() > began) rate.Forgive(loop.Now());
    if (!grown) co_return false;
    std::memcpy(body.room().data(), kept.data(), held);
  }
  co_return true;
}

// Throws away the content of a body that cannot be kept, and its room; the `held` bytes stay in front.
void DropContent(core::BodyPool& bodies, core::Body& body, const char* held_bytes, size_t held) {
  std::array<char, EndOfData::kHeldBytesMax> kept;
  std::memcpy(kept.data(), held_bytes, held);
  bodies.Shrink(body);
  std::memcpy(body.room().data(), kept.data(), held);
}

}  // namespace

core::Task<MailDataResult> ReceiveData(core::Loop& loop, Connection& client, core::BodyPool& bodies,
                                       core::Body& body, EndOfData::Check check, MailDataLimits limits) {
  MailDataResult result;
  EndOfData end(check);
  DataRate rate;
  rate.Start(loop.Now(), limits.timeout);
  size_t held = 0;
  for (;;) {
    const bool has_room = co_await MakeRoom(loop, bodies, body, held, limits.timeout, rate);
    if (!has_room) {
      // Goes on in the place of what there is.
      result.no_room = true;
      DropContent(bodies, body, body.room().data(), held);
    }
    const std::span<char> room = body.room();
    const core::IoResult received = co_await ReceiveInTime(
        loop, client, room.subspan(held, std::min(room.size() - held, kReceiveBytesMax)), limits.timeout,
        rate, result);
    if (!received.ok() || received.eof()) co_return result;
    const std::span<char> block = room.first(held + received.value());
    const EndOfData::Result found = end.Process(block);
    held = found.held_bytes;
    if (limits.message_bytes_max != 0 &&
        body.content_bytes() + found.content_bytes > limits.message_bytes_max) {
      result.too_large = true;
    }
    if (found.ended) {
      result.status = MailDataResult::Status::kComplete;
      client.stream().Unread({block.data() + found.rest_offset, block.size() - found.rest_offset});
      if (!result.too_large && !result.no_room) body.Extend(found.content_bytes);
      break;
    }
    if (result.status == MailDataResult::Status::kTooSlow) co_return result;
    if (result.too_large || result.no_room) {
      DropContent(bodies, body, block.data() + found.content_bytes, held);
    } else {
      body.Extend(found.content_bytes);
    }
  }
  if (result.too_large || result.no_room) body.Clear();
  result.ambiguous = end.ambiguous();
  result.bare_newline = end.bare_newline();
  result.has_stuffed_dots = end.stuffed_dots() > 0;
  co_return result;
}

core::Task<MailDataResult> ReceiveChunk(core::Loop& loop, Connection& client, core::BodyPool& bodies,
                                        core::Body* body, uint64_t chunk_bytes, bool discard,
                                        MailDataLimits limits, DataRate& rate) {
  MailDataResult result;
  const uint64_t before = body != nullptr ? body->content_bytes() : 0;
  if (limits.message_bytes_max != 0 && before + chunk_bytes > limits.message_bytes_max) {
    result.too_large = discard = true;
  }
  std::array<char, kDiscardBytes> nowhere;
  for (uint64_t left = chunk_bytes; left > 0;) {
    if (!discard && body != nullptr) {
      const bool has_room = co_await MakeRoom(loop, bodies, *body, 0, limits.timeout, rate);
      if (!has_room) result.no_room = discard = true;
    }
    if (discard && body != nullptr) bodies.Shrink(*body);
    const std::span<char> room = body != nullptr ? body->room() : std::span<char>(nowhere);
    const size_t bytes = std::min({room.size(), kReceiveBytesMax, static_cast<size_t>(left)});
    const core::IoResult received =
        co_await ReceiveInTime(loop, client, room.first(bytes), limits.timeout, rate, result);
    if (!received.ok() || received.eof()) co_return result;
    if (!discard && body != nullptr) body->Extend(received.value());
    left -= received.value();
    if (result.status == MailDataResult::Status::kTooSlow && left > 0) co_return result;
  }
  result.status = MailDataResult::Status::kComplete;
  co_return result;
}

}  // namespace bivalve::net
