#include "net/delivery.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <memory>
#include <span>

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

// A header behind a last line without line end would become part of that line.
std::string_view LineEndBefore(const Delivery& delivery) {
  const bool inside_line = delivery.header_offset > 0 && delivery.content[delivery.header_offset - 1] != '\n';
  return inside_line && !delivery.header.empty() ? "\r\n" : "";
}

// To some servers a line behind a bare LF is one whose dot is stuffing, and to some it is not. With CRLF in
// front it is to all.
bool FollowsBareLf(std::string_view part, size_t dot) {
  return dot > 0 && part[dot - 1] == '\n' && (dot == 1 || part[dot - 2] != '\r');
}

// A piece that is shorter is copied when there are many: beside a system call's work for one, the copy is
// nothing.
constexpr size_t kShortPieceBytes = 512;
// What is looked through and copied at once.
constexpr size_t kCopiedBlockBytes = 1024;
// For the copies of one batch; a longer batch would save little.
constexpr size_t kScratchBytes = size_t{64} << 10;

// The message as the pieces that go over the wire for DATA, one after the other. They refer to the content;
// from the second batch on, where dots stand close, to a copy with the stuffing in it.
class WirePieces {
 public:
  explicit WirePieces(const Delivery& d)
      : stuffing_(d.may_need_stuffing),
        parts_{d.content.substr(0, d.header_offset), LineEndBefore(d), d.header,
               d.content.substr(d.header_offset)} {}

  // Fills `pieces` and returns how many; 0 when all was given out. Those of the call before are not valid any
  // more.
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
        // Up to and including the dot; the rest, which begins with the same dot again, follows.
        pieces[count++] = Piece(part.substr(at_, dot + 1 - at_));
      }
      at_ = dot;
      look_from_ = dot + 1;
    }
    finished_ = part_ == parts_.size();
    ++batches_;
    return count;
  }
  // The last call gave out the end.
  bool finished() const { return finished_; }
  // The terminating line, with a line end in front of it where the content has none.
  std::string_view end() const { return at_line_start_ ? ".\r\n" : "\r\n.\r\n"; }

 private:
  // The next dot to be stuffed, from look_from_ on; the part's size when there is none.
  size_t FindDot(std::string_view part) const {
    if (look_from_ == 0) return NextDot(part, at_line_start_);
    const size_t before = look_from_ - 1;
    return before + NextDot(part.substr(before), false);
  }

  // Copies a block from at_ on. It ends in front of no dot that needs the line end before it.
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

  // Copies that follow each other are one piece.
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
  bool at_line_start_ = true;  // of the part that is given out
  bool finished_ = false;
  size_t part_ = 0;
  size_t at_ = 0;         // in the part: what is given out next
  size_t look_from_ = 0;  // the same, or behind a dot there that was stuffed already
  size_t batches_ = 0;
  size_t copied_ = 0;  // of this batch
  std::unique_ptr<char[]> scratch_;
  std::array<std::string_view, 4> parts_;
};

core::Task<DeliveryResult> AwaitFinalReply(Connection& server, core::Condition& wake, core::Duration timeout,
                                           std::string& text) {
  const size_t before = text.size();
  const Reply reply = co_await ReadReply(server, wake, timeout, text);
  DeliveryResult result;
  if (!reply.ok() || IsIntermediate(reply.code)) {
    text.resize(before);
    co_return result;
  }
  result.status = DeliveryResult::Status::kReplied;
  result.code = reply.code;
  co_return result;
}

// A server that refuses in mid-message says so and closes: a negative reply counts, anything else is a loss.
core::Task<DeliveryResult> AwaitReplyAfterFailure(Connection& server, core::Condition& wake,
                                                  std::string& text) {
  const size_t before = text.size();
  DeliveryResult result = co_await AwaitFinalReply(server, wake, std::chrono::seconds(1), text);
  if (result.status == DeliveryResult::Status::kReplied && !IsTransient(result.code) &&
      !IsPermanent(result.code)) {
    text.resize(before);
    result = DeliveryResult();
  }
  co_return result;
}

// What is longer is sent without its end at first: until then the server has time for a reply that is none.
constexpr size_t kBytesAtOnceMax = size_t{256} << 10;

size_t Bytes(std::span<const iovec> pieces) {
  size_t bytes = 0;
  for (const iovec& piece : pieces) bytes += piece.iov_len;
  return bytes;
}

// Looked at before the end of the message is sent, and not behind that: what is there then may be the reply
// to the message.
bool HasTakenItEarly(Connection& server) {
  const std::string_view input = server.stream().input();
  if (input.empty()) {
    server.stream().StartReading();
    return false;
  }
  return input.front() != '4' && input.front() != '5';
}

DeliveryResult TakenEarly() {
  DeliveryResult result;
  result.early = true;
  return result;
}

// Takes one byte off the front of the message, as a chunk of its own. A server that does not know BDAT has
// then the start of a line, which is no command; Postfix refuses chunks of no bytes. kReplied: the server
// took it.
core::Task<DeliveryResult> SendFirstByte(Connection& server, core::Condition& wake, std::span<iovec> message,
                                         core::Duration timeout, std::string& text) {
  static constexpr std::string_view kCommand = "BDAT 1\r\n";
  const size_t before = text.size();
  iovec& first = *std::find_if(message.begin(), message.end(), [](const iovec& p) { return p.iov_len > 0; });
  const std::array<iovec, 2> pieces = {Piece(kCommand), {first.iov_base, 1}};
  first = {static_cast<char*>(first.iov_base) + 1, first.iov_len - 1};
  server.stream().StartReading();
  const core::IoResult sent = co_await server.stream().SendPieces(pieces, timeout);
  if (!sent.ok()) co_return co_await AwaitReplyAfterFailure(server, wake, text);
  DeliveryResult result = co_await AwaitFinalReply(server, wake, timeout, text);
  if (result.status != DeliveryResult::Status::kReplied) co_return result;
  if (IsPositive(result.code)) {
    text.resize(before);
    co_return result;
  }
  result.status = DeliveryResult::Status::kRefusedData;
  if (IsUnknownCommand(result.code)) {
    // Its next reply may be one to that byte.
    text.resize(before);
    result.status = DeliveryResult::Status::kLost;
    result.no_chunking = true;
  }
  co_return result;
}

core::Task<DeliveryResult> DeliverByBdat(Connection& server, core::Condition& wake, const Delivery& d,
                                         std::string& text) {
  const std::string_view line_end = LineEndBefore(d);
  std::array<iovec, 5> pieces = {iovec{}, Piece(d.content.substr(0, d.header_offset)), Piece(line_end),
                                 Piece(d.header), Piece(d.content.substr(d.header_offset))};
  const std::span<iovec> message = std::span(pieces).subspan(1);
  if (!d.chunking_proven && Bytes(message) > 1) {
    const DeliveryResult taken = co_await SendFirstByte(server, wake, message, d.timeout, text);
    if (taken.status != DeliveryResult::Status::kReplied || !IsPositive(taken.code)) co_return taken;
  }
  const std::string command = core::Cat("BDAT ", Bytes(message), " LAST\r\n");
  pieces[0] = Piece(command);
  std::string_view end;
  if (Bytes(message) > kBytesAtOnceMax) {
    iovec& last =
        *std::find_if(message.rbegin(), message.rend(), [](const iovec& p) { return p.iov_len > 0; });
    end = {static_cast<const char*>(last.iov_base) + --last.iov_len, 1};
  }
  server.stream().StartReading();
  core::IoResult sent = co_await server.stream().SendPieces(pieces, d.timeout);
  if (sent.ok() && !end.empty()) {
    if (HasTakenItEarly(server)) co_return TakenEarly();
    const std::array<iovec, 1> last = {Piece(end)};
    sent = co_await server.stream().SendPieces(last, d.timeout);
  }
  if (!sent.ok()) co_return co_await AwaitReplyAfterFailure(server, wake, text);
  DeliveryResult result = co_await AwaitFinalReply(server, wake, d.timeout, text);
  result.no_chunking = result.status == DeliveryResult::Status::kReplied && IsUnknownCommand(result.code);
  co_return result;
}

core::Task<DeliveryResult> DeliverByData(Connection& server, core::Condition& wake, const Delivery& d,
                                         std::string& text) {
  server.stream().Write("DATA\r\n");
  server.stream().Flush();
  const size_t before = text.size();
  const Reply start = co_await ReadReply(server, wake, d.timeout, text);
  DeliveryResult result;
  if (!start.ok() || start.code != kStartMail) {
    if (start.ok() && (IsTransient(start.code) || IsPermanent(start.code))) {
      result.status = DeliveryResult::Status::kRefusedData;
      result.code = start.code;
    } else {
      text.resize(before);
    }
    co_return result;
  }
  text.resize(before);

  WirePieces wire(d);
  std::array<iovec, 32> pieces;
  for (bool more = true; more;) {
    size_t count = wire.Next(std::span(pieces).first(pieces.size() - 1));
    // The last batch takes the terminating line along.
    more = !wire.finished();
    // What was read of the content since the message began may be zeros: it gets no end.
    if (!more && core::ShrunkenFilesMet() != d.shrunken_files) co_return DeliveryResult();
    const bool alone = !more && Bytes(std::span(pieces).first(count)) > kBytesAtOnceMax;
    if (!more && !alone) pieces[count++] = Piece(wire.end());
    if (HasTakenItEarly(server)) co_return TakenEarly();
    core::IoResult sent = co_await server.stream().SendPieces(std::span(pieces).first(count), d.timeout);
    if (sent.ok() && alone) {
      if (HasTakenItEarly(server)) co_return TakenEarly();
      const std::array<iovec, 1> end = {Piece(wire.end())};
      sent = co_await server.stream().SendPieces(end, d.timeout);
    }
    if (!sent.ok()) co_return co_await AwaitReplyAfterFailure(server, wake, text);
  }
  co_return co_await AwaitFinalReply(server, wake, d.timeout, text);
}

}  // namespace

core::Task<DeliveryResult> Deliver(Connection& server, core::Condition& wake, const Delivery& delivery,
                                   std::string& text) {
  if (!server.stream().input().empty()) {
    // It has said something unasked. Taken for the reply to this message, a "250" would lose the message.
    DeliveryResult result = co_await AwaitReplyAfterFailure(server, wake, text);
    if (result.status == DeliveryResult::Status::kReplied)
      result.status = DeliveryResult::Status::kRefusedData;
    co_return result;
  }
  if (delivery.chunking) co_return co_await DeliverByBdat(server, wake, delivery, text);
  co_return co_await DeliverByData(server, wake, delivery, text);
}

}  // namespace bivalve::net
