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

MailDataResult::Status StatusOf(core::IoResult result) {
  return result.error() == ETIMEDOUT ? MailDataResult::Status::kTimeout : MailDataResult::Status::kClientGone;
}

// Makes room for at least kRoomBytesMin behind the content and the `held` bytes that follow it (they move along when
// the body does). False when the body cannot grow.
core::Task<bool> MakeRoom(core::BodyPool& bodies, core::Body& body, size_t held) {
  while (body.room().size() < held + kRoomBytesMin) {
    std::array<char, EndOfData::kHeldBytesMax> kept;
    std::memcpy(kept.data(), body.room().data(), held);
    const bool grown = co_await bodies.Grow(body);
    if (!grown) co_return false;
    std::memcpy(body.room().data(), kept.data(), held);
  }
  co_return true;
}

}  // namespace

core::Task<MailDataResult> ReceiveData(core::Loop& loop, Connection& client, core::BodyPool& bodies, core::Body& body,
                                       EndOfData::Check check, MailDataLimits limits) {
  MailDataResult result;
  EndOfData end(check);
  size_t held = 0;
  for (;;) {
    const bool has_room = co_await MakeRoom(bodies, body, held);
    if (!has_room) {
      // Throws away what there is and goes on in its place.
      result.no_room = true;
      std::array<char, EndOfData::kHeldBytesMax> kept;
      std::memcpy(kept.data(), body.room().data(), held);
      body.Clear();
      std::memcpy(body.room().data(), kept.data(), held);
    }
    const std::span<char> room = body.room();
    const core::IoResult received =
        co_await client.stream().Receive(room.subspan(held, std::min(room.size() - held, kReceiveBytesMax)),
                                         loop.Now() + limits.timeout);
    if (!received.ok() || received.eof()) {
      result.status = StatusOf(received);
      co_return result;
    }
    const std::span<char> block = room.first(held + received.value());
    const EndOfData::Result found = end.Process(block);
    held = found.held_bytes;
    if (limits.message_bytes_max != 0 && body.content_bytes() + found.content_bytes > limits.message_bytes_max) {
      result.too_large = true;
    }
    if (found.ended) {
      client.stream().Unread({block.data() + found.rest_offset, block.size() - found.rest_offset});
      if (!result.too_large && !result.no_room) body.Extend(found.content_bytes);
      break;
    }
    if (result.too_large || result.no_room) {
      body.Clear();
      std::memmove(body.room().data(), block.data() + found.content_bytes, held);
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

core::Task<MailDataResult> ReceiveChunk(core::Loop& loop, Connection& client, core::BodyPool& bodies, core::Body& body,
                                        uint64_t chunk_bytes, bool discard, MailDataLimits limits) {
  MailDataResult result;
  if (limits.message_bytes_max != 0 && body.content_bytes() + chunk_bytes > limits.message_bytes_max) {
    result.too_large = discard = true;
  }
  for (uint64_t left = chunk_bytes; left > 0;) {
    if (!discard) {
      const bool has_room = co_await MakeRoom(bodies, body, 0);
      if (!has_room) result.no_room = discard = true;
    }
    if (discard) body.Clear();
    const size_t bytes = std::min({body.room().size(), kReceiveBytesMax, static_cast<size_t>(left)});
    const core::IoResult received =
        co_await client.stream().Receive(body.room().first(bytes), loop.Now() + limits.timeout);
    if (!received.ok() || received.eof()) {
      result.status = StatusOf(received);
      co_return result;
    }
    if (!discard) body.Extend(received.value());
    left -= received.value();
  }
  co_return result;
}

}  // namespace bivalve::net
