// The part of ClamdConnection that judges what its scanner says: what is believed, and what ends the session.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "core/text.h"
#include "scan/clamd_connection.h"

namespace bivalve::scan {

using core::Cat;

// False: the session is at its end, and whatever else it says is not believed.
bool ClamdConnection::TakeReplies() {
  while (!over_) {
    const Record record = NextRecord(stream_.input());
    if (record.state == RecordState::kIncomplete) break;
    const bool too_long = record.state == RecordState::kTooLong;
    over_ = too_long ? !Poison() : !Accept(ParseReply(record.text));
    if (poisoned_) SayNotUnderstood(too_long ? stream_.input() : record.text);
    stream_.Consume(record.bytes);
  }
  return !over_;
}

bool ClamdConnection::Accept(const Reply& reply) {
  // Glued to a scan's reply or alone, it ends the session: on an idle one because our PINGs came too late.
  if (reply.kind == ReplyKind::kReadTimeOut) {
    ending_ = "it was tired of waiting for a command";
    return false;
  }
  if (reply.kind == ReplyKind::kNonsense) return Poison();
  if (reply.id == 0) {
    // Only this complaint may come without a number, because it costs nothing to believe it.
    if (reply.kind == ReplyKind::kRefused && AwaitsDescriptorReply()) return Refused(nullptr, reply.text);
    return Poison();
  }
  if (reply.id == ping_id_) {
    if (reply.kind != ReplyKind::kPong) return Poison();
    // It has probably loaded its database anew.
    if (stalled() && options_.canary != CanaryMode::kOff) canary_due_ = loop_.Now();
    ping_id_ = 0;
    heard_ = ping_sent_;
    return true;
  }
  Slot* slot = Find(reply.id);
  return slot != nullptr ? AcceptScanReply(*slot, reply) : Poison();
}

bool ClamdConnection::AcceptScanReply(Slot& slot, const Reply& reply) {
  const ReplyShape shape = sends_content_ ? ReplyShape::kStream : ReplyShape::kDescriptor;
  switch (reply.kind) {
    case ReplyKind::kOk:
    case ReplyKind::kFound:
      // A result of what it does not have in full is somebody else's.
      if (reply.shape != shape || slot.state != SlotState::kSent) return Poison();
      if (!sends_content_) scanner_.descriptors_proven = true;
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
      if (AwaitsDescriptorReply()) return Refused(&slot, reply.text);
      [[fallthrough]];
    case ReplyKind::kError:
      if (reply.shape != ReplyShape::kNone && reply.shape != shape) return Poison();
      if (!slot.canary) scanner_.stats.counts.Add(ScannerCount::kErrors);
      slot.proof != nullptr ? CompleteProof(slot, ToVerdict(reply)) : Complete(slot, ToVerdict(reply));
      return true;
    case ReplyKind::kSizeLimit:
      if (!sends_content_) return Poison();
      slot.proof != nullptr ? CompleteProof(slot, ToVerdict(reply)) : Complete(slot, ToVerdict(reply));
      return false;  // clamd closes
    case ReplyKind::kPong:
    case ReplyKind::kReadTimeOut:
    case ReplyKind::kNonsense:
      break;
  }
  return Poison();
}

// Why its "OK" says nothing about this message, if so: clamd says the same of what it has not looked at. The
// time is that since the message was handed over, so a scan that waited long in clamd's own line is doubted
// as well: the safe side. It is quicker next time perhaps, so the cause is kTimeout.
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

bool ClamdConnection::Poison() {
  scanner_.stats.counts.Add(ScannerCount::kErrors);
  poisoned_ = true;
  return false;
}

// The operator sees what was said; what was on the session is scanned again.
void ClamdConnection::SayNotUnderstood(std::string_view text) {
  static constexpr size_t kExcerptBytesMax = 120;
  // The log escapes it.
  ending_ = Cat("its reply was not understood: \"", text.substr(0, kExcerptBytesMax), "\"");
  if (options_.say) {
    options_.say(true, Cat("scanner ", scanner_.options.name, ": ", ending_,
                           "; the session is closed and what was on it is scanned again"));
  }
}

// With kAuto everything on this session is scanned again, and that is not held against it. With kFildes there
// is no other way: the scan that it was said of fails (null: it was said of none, and the session ends), and
// the sentence says what the operator can do.
bool ClamdConnection::Refused(Slot* slot, std::string_view text) {
  scanner_.stats.counts.Add(ScannerCount::kErrors);
  if (scanner_.options.method == Method::kAuto) {
    RefuseDescriptors();
    blameless_ = true;
    return false;
  }
  scanner_.takes_no_descriptors = true;
  ending_ = Cat("it takes no open files (", text, "); with ClamMethod: auto it is sent the message itself");
  const bool goes_on = slot != nullptr;
  // A message is tried once more: whose complaint it is is not known.
  const auto is_canary = [](const Slot& s) { return s.canary && s.state == SlotState::kSent; };
  const auto canary = std::find_if(slots_.begin(), slots_.end(), is_canary);
  if (!goes_on && canary != slots_.end()) slot = &*canary;
  if (slot != nullptr) Complete(*slot, NoVerdictBecause(NoVerdict::kError, ending_));
  useful_ = false;  // or it would be asked again at once
  return goes_on;
}

void ClamdConnection::RefuseDescriptors() {
  scanner_.refuses_descriptors = true;
  useful_ = true;
  owner_.OnRefused(scanner_);
}

void ClamdConnection::Complete(Slot& slot, Verdict verdict) {
  useful_ = true;
  if (!sends_content_ && slot.state == SlotState::kSent && !slot.body->Untouched()) {
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
    if (!request->done_) request->method_ = sends_content_ ? Method::kInstream : Method::kFildes;
  }
  const uint64_t serial = slot.serial;
  Free(slot);
  owner_.OnScanEnded(scanner_, serial, &verdict, false);
  if (request != nullptr) owner_.OnAnswer(scanner_, *request, std::move(verdict));
}

}  // namespace bivalve::scan
