#include "appliance/worker/message_scan.h"

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>

#include "appliance/worker/session_limits.h"
#include "core/text.h"
#include "net/plain_mime.h"
#include "net/transfer_encoding.h"

namespace bivalve::appliance {
namespace {

// A verdict for a reading that cannot be shown to a scanner.
scan::Verdict CannotBeShown(std::string_view why, scan::NoVerdict cause = scan::NoVerdict::kLimits) {
  scan::Verdict verdict;
  verdict.cause = cause;
  verdict.text = core::Cat("the message cannot be scanned as all its readers see it: ", why);
  return verdict;
}

// The content is moved to the start of its file in steps of this size. Each takes less than a millisecond.
constexpr size_t kMoveBytesMax = size_t{4} << 20;
// A part is decoded in steps of this size, for the same reason.
constexpr size_t kDecodeBytesMax = size_t{512} << 10;

}  // namespace

// One infected reading makes the message infected, even if an earlier reading has no verdict, because a
// message without a verdict may be let through (ScanFailure).
core::Task<MessageScan::End> MessageScan::Run(core::Body& body, const net::HeaderSection& header,
                                              core::MonoTime deadline) {
  deadline_ = deadline;
  image_.emplace(body);
  const net::LineSurvey survey = net::SurveyLines(body.content());
  verdict_.kind = scan::VerdictKind::kClean;
  End end = co_await AsMail(body, header, survey);
  if (survey.bare_cr && end == End::kVerdict && !Settled()) {
    // Exim and some mail programs take a CR for a line end.
    if (image_->BareCrAsLf()) {
      const net::HeaderSection by_cr =
          net::ExamineHeaderSection(body.content(), limits::kHeaderSectionBytesMax);
      end = co_await AsMail(body, by_cr, net::SurveyLines(body.content()));
      if (end == End::kVerdict) image_->RestoreBareCr();
    } else {
      Combine(CannotBeShown("it has too many CR without LF"));
    }
  }
  if (!header.well_formed && end == End::kVerdict && !Settled()) {
    // The message as a file, with nothing in front. The content stays there, and is delivered from there.
    while (!image_->MoveToStart(kMoveBytesMax)) (void)co_await wake_.Wait(services_.loop.Now());
    end = co_await Image(whole_, body);
  }
  co_return end;
}

// Scans the body as mail, with its present line ends, in all readings of its header section. If readers may
// find other parts in it than the scanner does, each part is scanned as a file of its own too.
core::Task<MessageScan::End> MessageScan::AsMail(core::Body& body, const net::HeaderSection& header,
                                                 net::LineSurvey survey) {
  const bool plain = header.well_formed && net::IsPlainMime(body.content(), survey);
  // In these cases the body itself changes from one reading to the next.
  if (survey.bare_cr || !header.well_formed) whole_.SetSeveralReadings();
  const End end = co_await Heads(body, header);
  if (plain || end != End::kVerdict || Settled()) co_return end;
  const net::MimeParts parts = net::FindMimeParts(body.content());
  if (parts.too_many) Combine(CannotBeShown("it has too many parts"));
  co_return co_await Parts(body, parts);
}

// Scans the readings of one header section.
core::Task<MessageScan::End> MessageScan::Heads(core::Body& body, const net::HeaderSection& header) {
  static constexpr net::Reading kAsItIs;
  const std::span<const net::Reading> readings =
      header.well_formed ? std::span(&kAsItIs, 1) : std::span<const net::Reading>(header.readings);
  for (const net::Reading& reading : readings) {
    if (!reading.as_it_is) image_->ReplaceHead(reading.head_bytes, net::ReadHead(body.content(), reading));
    const End end = co_await Image(whole_, body);
    // A scanner may still read the image, so it is left as it is.
    if (end != End::kVerdict) co_return end;
    image_->RestoreHead();
    if (Settled()) break;
  }
  co_return End::kVerdict;
}

// Scans each part as a file of its own, decoded into a second body.
core::Task<MessageScan::End> MessageScan::Parts(const core::Body& body, const net::MimeParts& parts) {
  End end = End::kVerdict;
  scan::Request request(wake_);
  request.SetSeveralReadings();
  current_ = &request;
  std::unique_ptr<core::Body> decoded = co_await services_.bodies.AcquireInTime(0, deadline_);
  bool has_room = decoded != nullptr;
  // A part that is a message itself has the front before it, as mail has. Such parts come first.
  for (const bool messages : {true, false}) {
    if (has_room && !messages) decoded->BeginWithoutFront();
    for (const net::MimePart& part : parts.parts) {
      if (part.message != messages || !has_room || end != End::kVerdict || Settled()) continue;
      has_room = co_await DecodePart(body, part, *decoded);
      if (has_room && decoded->content_bytes() > 0) end = co_await Image(request, *decoded);
    }
  }
  if (!has_room) Combine(CannotBeShown("there is no room for a part of it", scan::NoVerdict::kError));
  services_.scanners.Release(request, std::move(decoded));
  current_ = &whole_;
  co_return end;
}

core::Task<bool> MessageScan::DecodePart(const core::Body& body, const net::MimePart& part,
                                         core::Body& decoded) {
  decoded.Clear();
  net::TransferDecoder decoder(part.encoding, body.content().substr(part.begin, part.end - part.begin));
  for (;;) {
    while (decoded.room().size() < net::TransferDecoder::kRoomBytesMin) {
      const bool grown = co_await services_.bodies.GrowInTime(decoded, deadline_);
      if (!grown) co_return false;
    }
    const std::span<char> room = decoded.room();
    const size_t bytes = decoder.Decode(room.first(std::min(room.size(), kDecodeBytesMax)));
    if (bytes == 0) co_return true;
    decoded.Extend(bytes);
    if (bytes + net::TransferDecoder::kRoomBytesMin > kDecodeBytesMax)
      (void)co_await wake_.Wait(services_.loop.Now());
  }
}

// Waits for the verdict as long as the client is there.
core::Task<MessageScan::End> MessageScan::Image(scan::Request& request, core::Body& image) {
  services_.scanners.Submit(request, image);
  while (!request.done()) {
    if (client_.PeerLeft()) co_return End::kClientLeft;
    // If the client has already sent its next commands, we do not read from it: we would learn nothing, and
    // the commands must stay where they are.
    if (client_.stream().input().empty()) client_.stream().StartReading();
    // What the server says now is no reply to the message. The delivery checks for it.
    if (!server_.HasSpoken()) server_.Listen();
    const bool in_time = co_await wake_.Wait(deadline_);
    if (!in_time && !request.done()) co_return End::kTimeout;
  }
  Combine(request.verdict());
  co_return End::kVerdict;
}

void MessageScan::Combine(const scan::Verdict& found) {
  const bool first = verdict_.kind == scan::VerdictKind::kClean;
  if (first || found.kind == scan::VerdictKind::kInfected) verdict_ = found;
}

bool MessageScan::Settled() const {
  return verdict_.kind == scan::VerdictKind::kInfected ||
         (verdict_.kind == scan::VerdictKind::kNone && verdict_.cause == scan::NoVerdict::kDown);
}

}  // namespace bivalve::appliance
