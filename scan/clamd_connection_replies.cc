// The part of ClamdConnection that judges the scanner's replies: which are believed, and which end the
// session.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "core/text.h"
#include "scan/clamd_connection.h"

namespace bivalve::scan {

using core::Cat;

// False: nothing more is believed from this session.
bool ClamdConnection::TakeReplies() {
  while (!session_.over) {
    const Record record = NextRecord(stream_.input());
    if (record.state == RecordState::kIncomplete) break;
    if (record.state == RecordState::kTooLong) {
      EndNotUnderstood(stream_.input());
    } else if (!Accept(ParseReply(record.text))) {
      EndNotUnderstood(record.text);
    }
    stream_.Consume(record.bytes);
  }
  return !session_.over;
}

// False: the reply answers nothing that this session has asked.
bool ClamdConnection::Accept(const Reply& reply) {
  // This text ends the session, alone or attached to a scan's reply. On an idle session our PINGs came too
  // late.
  if (reply.kind == ReplyKind::kReadTimeOut) {
    End(EndOfSession::kScanner, "it was tired of waiting for a command");
    return true;
  }
  if (reply.kind == ReplyKind::kNonsense) return false;
  if (reply.id == 0) {
    // Only this complaint may come without a number, because believing it costs nothing.
    if (reply.kind != ReplyKind::kRefused || !AwaitsDescriptorReply()) return false;
    Refused(nullptr, reply.text);
    return true;
  }
  if (reply.id == session_.ping_id) {
    if (reply.kind != ReplyKind::kPong) return false;
    // The scanner has probably reloaded its database.
    if (stalled() && options_.canary != CanaryMode::kOff) session_.canary_due = loop_.Now();
    session_.ping_id = 0;
    session_.heard = session_.ping_sent;
    return true;
  }
  Slot* slot = Find(reply.id);
  return slot != nullptr && AcceptScanReply(*slot, reply);
}

bool ClamdConnection::AcceptScanReply(Slot& slot, const Reply& reply) {
  const ReplyShape shape = session_.sends_content ? ReplyShape::kStream : ReplyShape::kDescriptor;
  switch (reply.kind) {
    case ReplyKind::kOk:
    case ReplyKind::kFound:
      // A result for a message that the scanner does not have in full belongs to somebody else.
      if (reply.shape != shape || slot.state != SlotState::kSent) return false;
      if (!session_.sends_content) scanner_.descriptors_proven = true;
      if (slot.proof != nullptr) {
        CompleteProof(slot, ToVerdict(reply));
      } else if (reply.kind == ReplyKind::kFound || slot.canary) {
        Complete(slot, ToVerdict(reply));
      } else if (const std::optional<Verdict> disbelief = Disbelief(slot)) {
        Complete(slot, *disbelief);
      } else if (slot.request == nullptr || !IsInDoubt(slot)) {
        Complete(slot, ToVerdict(reply));
      } else if (!AskForProof(slot, ToVerdict(reply))) {
        Complete(slot, options_.canary == CanaryMode::kOn ? TooLargeToBelieve() : ToVerdict(reply));
      }
      return true;
    case ReplyKind::kRefused:
      if (AwaitsDescriptorReply()) {
        Refused(&slot, reply.text);
        return true;
      }
      [[fallthrough]];
    case ReplyKind::kError:
      if (reply.shape != ReplyShape::kNone && reply.shape != shape) return false;
      if (!slot.canary) scanner_.stats.counts.Add(ScannerCount::kErrors);
      slot.proof != nullptr ? CompleteProof(slot, ToVerdict(reply)) : Complete(slot, ToVerdict(reply));
      return true;
    case ReplyKind::kSizeLimit:
      if (!session_.sends_content) return false;
      slot.proof != nullptr ? CompleteProof(slot, ToVerdict(reply)) : Complete(slot, ToVerdict(reply));
      End(EndOfSession::kScanner, "it closes behind a message that is too large for it");
      return true;
    case ReplyKind::kPong:
    case ReplyKind::kReadTimeOut:
    case ReplyKind::kNonsense:
      break;
  }
  return false;
}

// The reason why an "OK" says nothing about this message, if there is one: clamd also says "OK" about content
// that it has not looked at. The time is counted from handing over the message, so a scan that waited long in
// clamd's own queue is doubted as well, which is the safe direction. The next try may be faster, so the cause
// is kTimeout.
std::optional<Verdict> ClamdConnection::Disbelief(const Slot& slot) const {
  const ScannerLimits& limits = scanner_.limits;
  const uint64_t bytes = slot.body->image_bytes();
  if (limits.file_bytes_max != 0 && bytes > limits.file_bytes_max) {
    return NoVerdictBecause(NoVerdict::kSize,
                            "the scanner's OK is not believed: the message is larger than its MaxFileSize");
  }
  if (limits.scan_bytes_max != 0 && bytes > limits.scan_bytes_max) {
    return NoVerdictBecause(NoVerdict::kSize,
                            "the scanner's OK is not believed: the message is larger than its MaxScanSize");
  }
  if (limits.scan_time_max.count() != 0 && loop_.Now() - slot.since >= limits.scan_time_max / 20 * 19) {
    return NoVerdictBecause(NoVerdict::kTimeout,
                            "the scanner's OK is not believed: the scan lasted as long as its MaxScanTime");
  }
  return std::nullopt;
}

// clamd can write one client's result to another one, so nothing else from such a session is believed. The
// operator sees the reply; the session's messages are scanned again.
void ClamdConnection::EndNotUnderstood(std::string_view text) {
  static constexpr size_t kExcerptBytesMax = 120;
  scanner_.stats.counts.Add(ScannerCount::kErrors);
  // The log escapes the text.
  const std::string why = Cat("its reply was not understood: \"", text.substr(0, kExcerptBytesMax), "\"");
  End(EndOfSession::kScanner, why);
  if (options_.say) {
    options_.say(true, Cat("scanner ", scanner_.options.name, ": ", why,
                           "; the session is closed and what was on it is scanned again"));
  }
}

// With kAuto everything on this session is scanned again without blame. With kFildes there is no other way:
// the scan that was refused fails (null: the reply named none, and the session ends), and the sentence tells
// the operator what to do.
void ClamdConnection::Refused(Slot* slot, std::string_view text) {
  scanner_.stats.counts.Add(ScannerCount::kErrors);
  if (scanner_.options.method == Method::kAuto) {
    RefuseDescriptors();
    End(EndOfSession::kRefused, "it takes no descriptors");
    return;
  }
  scanner_.takes_no_descriptors = true;
  const std::string why =
      Cat("it takes no open files (", text, "); with ClamMethod: auto it is sent the message itself");
  if (slot == nullptr) End(EndOfSession::kScanner, why);
  // We do not know which scan the complaint belongs to. A message gets one more try anyway, so the complaint
  // goes to a canary.
  const auto is_canary = [](const Slot& s) { return s.canary && s.state == SlotState::kSent; };
  const auto canary = std::find_if(slots_.begin(), slots_.end(), is_canary);
  if (slot == nullptr && canary != slots_.end()) slot = &*canary;
  if (slot != nullptr) Complete(*slot, NoVerdictBecause(NoVerdict::kError, why));
  session_.useful = false;  // otherwise it would reconnect at once
}

void ClamdConnection::RefuseDescriptors() {
  scanner_.refuses_descriptors = true;
  session_.useful = true;
  owner_.OnRefused(scanner_);
}

void ClamdConnection::Complete(Slot& slot, Verdict verdict) {
  session_.useful = true;
  if (!session_.sends_content && slot.state == SlotState::kSent && !slot.body->Untouched()) {
    scanner_.stats.counts.Add(ScannerCount::kErrors);
    verdict = NoVerdictBecause(NoVerdict::kError, "the message's memory was changed while it was scanned");
  }
  if (slot.canary) {
    Free(slot);
    CompleteCanary(verdict);
    return;
  }
  ++scanner_.answered_since_close;
  scanner_.stats.counts.Add(ScannerCount::kScans);
  scanner_.stats.latency_us.Record(core::Microseconds(loop_.Now() - slot.since));
  Request* request = slot.request;
  if (request != nullptr) {
    request->RemoveHolder(this);
    if (!request->done_) request->method_ = session_.sends_content ? Method::kInstream : Method::kFildes;
  }
  const uint64_t serial = slot.serial;
  Free(slot);
  owner_.OnScanEnded(scanner_, serial, &verdict, false);
  if (request != nullptr) owner_.OnAnswer(scanner_, *request, std::move(verdict));
}

}  // namespace bivalve::scan
