#include "net/delivery.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <span>
#include <utility>

#include "core/check.h"
#include "core/shrunken_file.h"
#include "core/text.h"
#include "net/end_of_data.h"
#include "net/reply_reader.h"
#include "net/smtp_reply.h"

namespace bivalve::net {
namespace {

// RFC 5321 section 4.2.4: 500 to 504 are about the command and its form.
bool IsUnknownCommand(uint16_t code) { return code >= 500 && code <= 504; }

iovec Piece(std::string_view text) { return {const_cast<char*>(text.data()), text.size()}; }

// After a last line without a line end, a header would become part of that line.
std::string_view LineEndBefore(const WholeMessage& message) {
  const bool inside_line = message.header_offset > 0 && message.content[message.header_offset - 1] != '\n';
  return inside_line && !message.header.empty() ? "\r\n" : "";
}

// Some servers remove a dot behind a bare LF as stuffing, and others do not. If the line end is CRLF, all
// servers remove it.
bool FollowsBareLf(std::string_view part, size_t dot) {
  return dot > 0 && part[dot - 1] == '\n' && (dot == 1 || part[dot - 2] != '\r');
}

// If there are many pieces, those shorter than this are copied: the copy is cheap compared with the work of a
// system call for one piece.
constexpr size_t kShortPieceBytes = 512;
// How much is searched and copied at once.
constexpr size_t kCopiedBlockBytes = 1024;
// For the copies of one batch; a longer batch would save little.
constexpr size_t kScratchBytes = size_t{64} << 10;

// The message as the pieces that are sent for DATA, in order. The pieces refer to the content. From the
// second batch on, where dots stand close together, they refer to a copy that contains the stuffing.
class WirePieces {
 public:
  WirePieces(std::span<const std::string_view> parts, bool stuffing) : stuffing_(stuffing), parts_(parts) {}

  // Fills `pieces` and returns their number; 0 after the end. The pieces of the previous call become invalid.
  size_t Next(std::span<iovec> pieces) {
    size_t count = 0;
    copied_ = 0;
    while (count + 2 < pieces.size() && part_ < parts_.size()) {
      const std::string_view part = parts_[part_];
      if (at_ == part.size()) {
        if (!part.empty()) at_line_start_ = part.ends_with("\r\n");
        ++part_;
        at_ = look_from_ = 0;
        continue;
      }
      const size_t dot = stuffing_ ? FindDot(part) : part.size();
      if (batches_ > 0 && dot < part.size() && dot - at_ < kShortPieceBytes) {
        if (copied_ + 1 + StuffedBytesMax(kCopiedBlockBytes) > kScratchBytes) break;
        AddCopied(CopyBlock(part), pieces, count);
        continue;
      }
      if (dot == part.size()) {
        pieces[count++] = Piece(part.substr(at_));
      } else if (FollowsBareLf(part, dot)) {
        pieces[count++] = Piece(part.substr(at_, dot - 1 - at_));
        pieces[count++] = Piece("\r\n.");
      } else {
        // Up to and including the dot; the next piece begins with the same dot again.
        pieces[count++] = Piece(part.substr(at_, dot + 1 - at_));
      }
      at_ = dot;
      look_from_ = dot + 1;
    }
    finished_ = part_ == parts_.size();
    ++batches_;
    return count;
  }
  // Whether the last call gave out the end of the message.
  bool finished() const { return finished_; }
  // The terminating line, with a line end before it if the content does not end with one.
  std::string_view end() const { return at_line_start_ ? ".\r\n" : "\r\n.\r\n"; }

 private:
  // The next dot to be stuffed, from look_from_ on; the part's size if there is none.
  size_t FindDot(std::string_view part) const {
    if (look_from_ == 0) return NextDot(part, at_line_start_);
    const size_t before = look_from_ - 1;
    return before + NextDot(part.substr(before), false);
  }

  // Copies a block from at_ on. The block never ends before a dot for which the line end before it is needed.
  std::string_view CopyBlock(std::string_view part) {
    if (scratch_ == nullptr) scratch_ = std::make_unique_for_overwrite<char[]>(kScratchBytes);
    char* const begin = scratch_.get() + copied_;
    size_t end = std::min(at_ + kCopiedBlockBytes, part.size());
    if (end < part.size() && part[end] == '.' && part[end - 1] == '\n') --end;
    char* out = begin;
    if (look_from_ == 0 && at_line_start_ && part.starts_with('.')) *out++ = '.';
    out = CopyStuffed(part, at_, end, out);
    at_ = look_from_ = end;
    return {begin, static_cast<size_t>(out - begin)};
  }

  // Adjacent copies become one piece.
  void AddCopied(std::string_view text, std::span<iovec> pieces, size_t& count) {
    const char* const front = scratch_.get() + copied_;
    copied_ += text.size();
    if (count > 0) {
      iovec& last = pieces[count - 1];
      if (static_cast<const char*>(last.iov_base) + last.iov_len == front) {
        last.iov_len += text.size();
        return;
      }
    }
    pieces[count++] = Piece(text);
  }

  bool stuffing_;
  bool at_line_start_ = true;  // of the current part
  bool finished_ = false;
  size_t part_ = 0;
  size_t at_ = 0;         // offset in the part: given out next
  size_t look_from_ = 0;  // the same, or behind a dot at at_ that was stuffed already
  size_t batches_ = 0;
  size_t copied_ = 0;  // bytes copied for this batch
  std::unique_ptr<char[]> scratch_;
  std::span<const std::string_view> parts_;
};

// A longer message is first sent without its end: this gives the server time for a reply that is too early.
constexpr size_t kBytesAtOnceMax = size_t{256} << 10;

size_t Bytes(std::span<const iovec> pieces) {
  size_t bytes = 0;
  for (const iovec& piece : pieces) bytes += piece.iov_len;
  return bytes;
}

size_t Bytes(std::span<const std::string_view> parts) {
  size_t bytes = 0;
  for (const std::string_view part : parts) bytes += part.size();
  return bytes;
}

DeliveryResult TakenEarly() {
  DeliveryResult result;
  result.early = true;
  return result;
}

// A chunk as it is sent. Must live until it was sent.
class Chunk {
 public:
  Chunk(std::span<const std::string_view> parts, std::string_view last)
      : command_(core::Cat("BDAT ", Bytes(parts), last, "\r\n")) {
    BV_CHECK(parts.size() <= Delivery::kPartsMax);
    pieces_[count_++] = Piece(command_);
    for (const std::string_view part : parts) {
      if (!part.empty()) pieces_[count_++] = Piece(part);
    }
  }
  Chunk(const Chunk&) = delete;

  std::span<const iovec> pieces() const { return std::span(pieces_).first(count_); }
  // Removes the last byte and returns it.
  iovec CutLastByte() {
    iovec& last = pieces_[count_ - 1];
    return {static_cast<char*>(last.iov_base) + --last.iov_len, 1};
  }

 private:
  std::string command_;
  std::array<iovec, Delivery::kPartsMax + 1> pieces_ = {};
  size_t count_ = 0;
};

}  // namespace

core::Task<bool> Delivery::Begin() {
  ended_ = true;
  if (!server_.stream().input().empty()) {
    // The server has said something unasked. If we took a "250" for the reply to this message, it would be
    // lost.
    result_ = co_await AwaitReplyAfterFailure();
    if (result_.status == DeliveryResult::Status::kReplied)
      result_.status = DeliveryResult::Status::kRefusedData;
    co_return false;
  }
  if (!options_.chunking) {
    server_.stream().Write("DATA\r\n");
    server_.stream().Flush();
    const size_t before = text_.size();
    const Reply start = co_await ReadReply(server_, wake_, options_.timeout, text_);
    if (start.ok() && (IsTransient(start.code) || IsPermanent(start.code))) {
      result_.status = DeliveryResult::Status::kRefusedData;
      result_.code = start.code;
      co_return false;
    }
    text_.resize(before);
    if (!start.ok() || start.code != kStartMail) co_return false;
  }
  ended_ = false;
  co_return true;
}

core::Task<bool> Delivery::Feed(std::span<const std::string_view> parts) {
  BV_CHECK(options_.chunking && parts.size() <= kPartsMax);
  if (ended_) co_return false;
  std::array<std::string_view, kPartsMax> rest;
  std::copy(parts.begin(), parts.end(), rest.begin());
  const std::span<std::string_view> left = std::span(rest).first(parts.size());
  const bool taken = co_await FeedFirstByte(left);
  if (!taken) co_return false;
  if (Bytes(left) == 0) co_return true;
  co_return co_await SendChunk(left);
}

core::Task<DeliveryResult> Delivery::End(std::span<const std::string_view> parts) {
  if (ended_) co_return result_;
  ended_ = true;
  if (options_.chunking) co_return co_await EndByBdat(parts);
  co_return co_await EndByData(parts);
}

// For a server that has not taken a chunk before: sends the first byte of the message as a chunk of its own.
// A server that does not know BDAT then has the start of a line, which is not a command. Postfix refuses
// chunks of no bytes.
core::Task<bool> Delivery::FeedFirstByte(std::span<std::string_view> parts) {
  if (options_.chunking_proven || chunk_sent_ || Bytes(parts) < 2) co_return true;
  std::string_view& first =
      *std::find_if(parts.begin(), parts.end(), [](std::string_view part) { return !part.empty(); });
  const std::array<std::string_view, 1> byte = {first.substr(0, 1)};
  first.remove_prefix(1);
  co_return co_await SendChunk(byte);
}

core::Task<bool> Delivery::SendChunk(std::span<const std::string_view> parts) {
  const bool taken = co_await TakeChunkReply();
  if (!taken) co_return false;
  const Chunk chunk(parts, "");
  server_.stream().StartReading();
  chunk_sent_ = chunk_unanswered_ = true;
  patience_.Start(wake_.loop().Now());
  const core::IoResult sent = co_await server_.stream().SendPieces(chunk.pieces(), patience_);
  if (sent.ok()) co_return true;
  ended_ = true;
  result_ = co_await AwaitReplyAfterFailure();
  co_return false;
}

// Reads the reply to the last chunk. True: the server has taken it.
core::Task<bool> Delivery::TakeChunkReply() {
  if (!std::exchange(chunk_unanswered_, false)) co_return true;
  const size_t before = text_.size();
  result_ = co_await AwaitFinalReply(options_.timeout);
  if (result_.status == DeliveryResult::Status::kReplied) {
    if (IsPositive(result_.code)) {
      text_.resize(before);
      result_ = DeliveryResult();
      co_return true;
    }
    result_.status = DeliveryResult::Status::kRefusedData;
    if (IsUnknownCommand(result_.code)) {
      // The server's next reply may be to a line of the chunk.
      text_.resize(before);
      result_.status = DeliveryResult::Status::kLost;
      result_.no_chunking = true;
    }
  }
  ended_ = true;
  co_return false;
}

core::Task<DeliveryResult> Delivery::EndByBdat(std::span<const std::string_view> parts) {
  std::array<std::string_view, kPartsMax> rest;
  std::copy(parts.begin(), parts.end(), rest.begin());
  const std::span<std::string_view> left = std::span(rest).first(parts.size());
  bool taken = co_await FeedFirstByte(left);
  if (taken) taken = co_await TakeChunkReply();
  if (!taken) co_return result_;
  if (chunk_sent_ && HasTakenItEarly()) co_return TakenEarly();
  Chunk chunk(left, " LAST");
  std::array<iovec, 1> end = {};
  if (Bytes(left) > kBytesAtOnceMax) end[0] = chunk.CutLastByte();
  server_.stream().StartReading();
  patience_.Start(wake_.loop().Now());
  core::IoResult sent = co_await server_.stream().SendPieces(chunk.pieces(), patience_);
  if (sent.ok() && end[0].iov_len > 0) {
    if (HasTakenItEarly()) co_return TakenEarly();
    sent = co_await server_.stream().SendPieces(end, patience_);
  }
  if (!sent.ok()) co_return co_await AwaitReplyAfterFailure();
  DeliveryResult result = co_await AwaitFinalReply(options_.timeout);
  result.no_chunking = result.status == DeliveryResult::Status::kReplied && IsUnknownCommand(result.code);
  co_return result;
}

core::Task<DeliveryResult> Delivery::EndByData(std::span<const std::string_view> parts) {
  WirePieces wire(parts, options_.may_need_stuffing);
  patience_.Start(wake_.loop().Now());
  std::array<iovec, 32> pieces;
  for (bool more = true; more;) {
    size_t count = wire.Next(std::span(pieces).first(pieces.size() - 1));
    // The last batch contains the terminating line.
    more = !wire.finished();
    // If a body's file was cut short since the message began, some of the content sent may be zeros: do not
    // end it.
    if (!more && core::ShrunkenFilesMet() != options_.shrunken_files) co_return DeliveryResult();
    const bool alone = !more && Bytes(std::span<const iovec>(pieces).first(count)) > kBytesAtOnceMax;
    if (!more && !alone) pieces[count++] = Piece(wire.end());
    if (HasTakenItEarly()) co_return TakenEarly();
    core::IoResult sent = co_await server_.stream().SendPieces(std::span(pieces).first(count), patience_);
    if (sent.ok() && alone) {
      if (HasTakenItEarly()) co_return TakenEarly();
      const std::array<iovec, 1> end = {Piece(wire.end())};
      sent = co_await server_.stream().SendPieces(end, patience_);
    }
    if (!sent.ok()) co_return co_await AwaitReplyAfterFailure();
  }
  co_return co_await AwaitFinalReply(options_.timeout);
}

core::Task<DeliveryResult> Delivery::AwaitFinalReply(core::Duration timeout) {
  const size_t before = text_.size();
  const Reply reply = co_await ReadReply(server_, wake_, timeout, text_);
  DeliveryResult result;
  if (!reply.ok() || IsIntermediate(reply.code)) {
    text_.resize(before);
    co_return result;
  }
  result.status = DeliveryResult::Status::kReplied;
  result.code = reply.code;
  co_return result;
}

// A server that refuses in the middle of a message says so and closes. A negative reply counts; anything else
// is a loss.
core::Task<DeliveryResult> Delivery::AwaitReplyAfterFailure() {
  const size_t before = text_.size();
  DeliveryResult result = co_await AwaitFinalReply(std::chrono::seconds(1));
  if (result.status == DeliveryResult::Status::kReplied && !IsTransient(result.code) &&
      !IsPermanent(result.code)) {
    text_.resize(before);
    result = DeliveryResult();
  }
  co_return result;
}

// Checked before the end of the message is sent and not after it: a reply that is there afterwards may be the
// reply to the message.
bool Delivery::HasTakenItEarly() {
  const std::string_view input = server_.stream().input();
  if (input.empty()) {
    server_.stream().StartReading();
    return false;
  }
  return input.front() != '4' && input.front() != '5';
}

core::Task<DeliveryResult> Deliver(Connection& server, core::Condition& wake, const WholeMessage& message,
                                   const DeliveryOptions& options, std::string& text) {
  const std::array<std::string_view, 4> parts = {message.content.substr(0, message.header_offset),
                                                 LineEndBefore(message), message.header,
                                                 message.content.substr(message.header_offset)};
  Delivery delivery(server, wake, options, text);
  (void)co_await delivery.Begin();
  co_return co_await delivery.End(parts);
}

}  // namespace bivalve::net
