#include "net/mail_data.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>

namespace bivalve::net {
namespace {

// A receive into less room than this is not worth a system call.
constexpr size_t kReceiveBytesMin = 4096;
// One receive takes at most this much, so that little is received beyond the end of the message.
constexpr size_t kReceiveBytesMax = size_t{1} << 20;

// What a receive may take beyond the room of a body whose file is short: at least the line ".".
constexpr size_t kSpillBytes = core::Body::kRoomBytesMin - EndOfData::kHeldBytesMax;

// Data that is thrown away without a body is read in pieces of this size.
constexpr size_t kDiscardBytes = 4096;

MailDataResult::Status StatusOf(core::IoResult result) {
  return result.error() == ETIMEDOUT ? MailDataResult::Status::kTimeout : MailDataResult::Status::kClientGone;
}

// One receive, limited by silence and by rate.
core::Task<core::IoResult> ReceiveInTime(core::Loop& loop, Connection& client, std::span<char> room,
                                         std::span<char> spill, core::Patience& patience,
                                         MailDataResult& result) {
  const core::IoResult received =
      co_await client.stream().Receive(room, spill, patience.Deadline(loop.Now()));
  if (received.ok()) patience.Add(received.value());
  if (!received.ok() || received.eof()) {
    result.status = StatusOf(received);
    if (received.error() == ETIMEDOUT && !patience.silent()) result.status = MailDataResult::Status::kTooSlow;
  } else if (!patience.Check(loop.Now())) {
    result.status = MailDataResult::Status::kTooSlow;
  }
  co_return received;
}

// Makes room for at least `wanted` bytes behind the content and the `held` bytes that follow it (they are
// moved with the body). False if the body cannot grow in time.
core::Task<bool> MakeRoom(core::Loop& loop, core::BodyPool& bodies, core::Body& body, size_t held,
                          size_t wanted, core::Patience& patience) {
  while (body.room().size() < held + wanted) {
    std::array<char, EndOfData::kHeldBytesMax> kept;
    std::memcpy(kept.data(), body.room().data(), held);
    const core::MonoTime began = loop.Now();
    const bool grown = co_await bodies.GrowInTime(body, began + std::min(patience.silence(), kRoomWaitMax));
    if (loop.Now() > began) patience.Start(loop.Now());
    if (!grown) co_return false;
    std::memcpy(body.room().data(), kept.data(), held);
  }
  co_return true;
}

// Throws away the content and the room of a body that cannot be kept; the `held` bytes stay at its front.
void DropContent(core::BodyPool& bodies, core::Body& body, const char* held_bytes, size_t held) {
  std::array<char, EndOfData::kHeldBytesMax> kept;
  std::memcpy(kept.data(), held_bytes, held);
  bodies.Shrink(body);
  std::memcpy(body.room().data(), kept.data(), held);
}

}  // namespace

core::Task<MailDataResult> ReceiveData(core::Loop& loop, Connection& client, core::BodyPool& bodies,
                                       core::Body& body, EndOfData::Check check, MailDataLimits limits,
                                       core::Patience patience) {
  MailDataResult result;
  EndOfData end(check);
  EndOfData::Result found;
  patience.Start(loop.Now());
  // Receives what does not fit into a short file. Its front has place for the bytes that were held back.
  std::array<char, EndOfData::kHeldBytesMax + kSpillBytes> beside;
  const std::span<char> spill = std::span(beside).subspan(EndOfData::kHeldBytesMax);
  const auto kept = [&] { return result.fault == MailDataFault::kNone; };
  const auto process = [&](std::span<char> block) {
    found = end.Process(block);
    if (limits.message_bytes_max != 0 &&
        body.content_bytes() + found.content_bytes > limits.message_bytes_max) {
      result.Add(MailDataFault::kTooLarge);
    }
  };
  // Turns the bytes found in `block` into content; bytes that are held back follow the content in the room.
  const auto settle = [&](std::span<char> block) {
    if (kept()) {
      body.Extend(found.content_bytes);
    } else {
      DropContent(bodies, body, block.data() + found.content_bytes, found.held_bytes);
    }
  };
  while (!found.ended) {
    const bool short_file = body.short_file();
    const bool has_room =
        co_await MakeRoom(loop, bodies, body, found.held_bytes, short_file ? 1 : kReceiveBytesMin, patience);
    if (!has_room) {
      // Continues in the room that there is.
      result.Add(MailDataFault::kNoRoom);
      DropContent(bodies, body, body.room().data(), found.held_bytes);
    }
    const std::span<char> room = body.room();
    const size_t empty_bytes = std::min(room.size() - found.held_bytes, kReceiveBytesMax);
    const core::IoResult received =
        co_await ReceiveInTime(loop, client, room.subspan(found.held_bytes, empty_bytes),
                               body.short_file() ? spill : std::span<char>(), patience, result);
    if (!received.ok() || received.eof()) co_return result;
    const size_t placed_bytes = std::min<size_t>(received.value(), empty_bytes);
    std::span<char> spilled = spill.first(received.value() - placed_bytes);
    std::span<char> block = room.first(found.held_bytes + placed_bytes);
    process(block);
    if (!found.ended && !spilled.empty()) {
      settle(block);
      block = {spilled.data() - found.held_bytes, spilled.size() + found.held_bytes};
      std::memcpy(block.data(), body.room().data(), found.held_bytes);
      spilled = {};
      process(block);
      const size_t used_bytes = found.content_bytes + found.held_bytes;
      if (kept() && used_bytes > 0) {
        const bool grown = co_await MakeRoom(loop, bodies, body, 0, used_bytes, patience);
        if (grown) std::memcpy(body.room().data(), block.data(), used_bytes);
        if (!grown) result.Add(MailDataFault::kNoRoom);
      }
    }
    if (found.ended) {
      client.stream().Unread({spilled.data(), spilled.size()});
      client.stream().Unread({block.data() + found.rest_offset, block.size() - found.rest_offset});
    }
    settle(block);
    if (!found.ended && result.status == MailDataResult::Status::kTooSlow) co_return result;
  }
  result.status = MailDataResult::Status::kComplete;
  if (end.ambiguous()) result.Add(MailDataFault::kAmbiguousEnd);
  if (end.dot_after_bare_newline() && limits.bare_dot_is_ambiguous) result.Add(MailDataFault::kAmbiguousDot);
  if (end.bare_newline()) result.Add(MailDataFault::kBareNewline);
  result.has_stuffed_dots = end.may_need_stuffing();
  co_return result;
}

core::Task<MailDataResult> ReceiveChunk(core::Loop& loop, Connection& client, core::BodyPool& bodies,
                                        core::Body* body, uint64_t chunk_bytes, bool discard,
                                        MailDataLimits limits, core::Patience& patience) {
  MailDataResult result;
  const uint64_t before = body != nullptr ? body->content_bytes() : 0;
  if (limits.message_bytes_max != 0 && before + chunk_bytes > limits.message_bytes_max) {
    result.Add(MailDataFault::kTooLarge);
    discard = true;
  }
  std::array<char, kDiscardBytes> nowhere;
  for (uint64_t left = chunk_bytes; left > 0;) {
    if (!discard && body != nullptr) {
      const size_t wanted = std::min(static_cast<uint64_t>(kReceiveBytesMin), left);
      const bool has_room = co_await MakeRoom(loop, bodies, *body, 0, wanted, patience);
      if (!has_room) {
        result.Add(MailDataFault::kNoRoom);
        discard = true;
      }
    }
    if (discard && body != nullptr) bodies.Shrink(*body);
    const std::span<char> room = body != nullptr ? body->room() : std::span<char>(nowhere);
    const size_t bytes = std::min({room.size(), kReceiveBytesMax, static_cast<size_t>(left)});
    const core::IoResult received =
        co_await ReceiveInTime(loop, client, room.first(bytes), std::span<char>(), patience, result);
    if (!received.ok() || received.eof()) co_return result;
    if (!discard && body != nullptr) body->Extend(received.value());
    left -= received.value();
    if (result.status == MailDataResult::Status::kTooSlow && left > 0) co_return result;
  }
  result.status = MailDataResult::Status::kComplete;
  co_return result;
}

}  // namespace bivalve::net
