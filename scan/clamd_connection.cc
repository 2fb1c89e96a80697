#include "scan/clamd_connection.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/text.h"

namespace bivalve::scan {
namespace {

using core::Cat;
using core::MonoTime;

// clamd compares a chunk's size with its limit before it reads the chunk. So the fewer the chunks, the
// earlier it says that a message is too large.
constexpr size_t kChunkBytesMax = size_t{1} << 30;

// Errors of a send that concern the connection and not the descriptor that was sent.
bool IsConnectionError(int error) {
  return error == EPIPE || error == ECONNRESET || error == ETIMEDOUT || error == ECANCELED ||
         error == ENOTCONN;
}

}  // namespace

bool Scanner::down() const {
  return std::all_of(connections.begin(), connections.end(), [](const auto& c) { return c->failed(); });
}

ClamdConnection::ClamdConnection(core::Loop& loop, core::BodyPool& bodies, const ClamdPool::Options& options,
                                 Scanner& scanner, ConnectionOwner& owner, size_t number)
    : loop_(loop),
      bodies_(bodies),
      options_(options),
      scanner_(scanner),
      owner_(owner),
      number_(number),
      wake_(loop),
      stream_(loop, wake_),
      slots_(options.outstanding_max),
      backoff_(options.retry_min),
      // No two connections pause alike, but in a simulation the pauses are the same each time.
      random_(static_cast<uint64_t>(loop.Now().time_since_epoch().count()) ^
              (static_cast<uint64_t>(scanner.index) << 40 | static_cast<uint64_t>(number) << 20)) {}

ClamdConnection::~ClamdConnection() { BV_CHECK(!running_ && used_ == 0); }

core::Task<void> ClamdConnection::Run() {
  running_ = true;
  while (!stopping_ && !finishing_) {
    session_ = Session();
    hurry_ = false;
    const bool opened = co_await Open();
    if (opened) {
      Begin();
      co_await Serve();
      session_.ready = false;
      scanner_.stats.counts.Subtract(ScannerCount::kConnections);
      // A security module can remove the descriptor from the message; clamd then closes without an answer.
      if (stream_.ended() && session_.end == EndOfSession::kNone && !scanner_.descriptors_proven &&
          scanner_.options.method == Method::kAuto && AwaitsDescriptorReply())
        RefuseDescriptors();
    }
    End(EndOfSession::kScanner, HowItBroke());
    co_await stream_.Close();
    ReturnAll();
    if (!stopping_ && !finishing_) co_await Pause();
  }
  running_ = false;
}

void ClamdConnection::Stop() {
  stopping_ = true;
  // Completes a connect, and a send that a stalled scanner does not accept.
  stream_.Shutdown();
  wake_.Notify();
}

void ClamdConnection::Finish() {
  finishing_ = true;
  if (used_ == 0) {
    Stop();
  } else {
    wake_.Notify();
  }
}

void ClamdConnection::Hurry() {
  hurry_ = true;
  wake_.Notify();
}

size_t ClamdConnection::room() const {
  if (!usable() || stopping_ || TakesNoMore()) return 0;
  return std::min(FreeSlots(), scanner_.room());
}

size_t ClamdConnection::FreeSlots() const {
  const size_t most = session_.sends_content ? 1 : slots_.size();
  return most - std::min(most, used_);
}

ClamdConnection::Slot* ClamdConnection::FreeSlot() {
  const auto slot =
      std::find_if(slots_.begin(), slots_.end(), [](const Slot& s) { return s.state == SlotState::kFree; });
  BV_CHECK(slot != slots_.end());
  return &*slot;
}

bool ClamdConnection::TakesNoMore() const {
  return finishing_ || session_.retiring || session_.end != EndOfSession::kNone || stream_.ended() ||
         stream_.write_error() != 0 || session_.next_id >= kIdMax ||
         session_.sends_content != scanner_.sends_content(session_.family);
}

void ClamdConnection::Take(Request& request, uint64_t serial) {
  Slot* slot = FreeSlot();
  slot->state = SlotState::kTaken;
  slot->request = &request;
  slot->body = request.body_;
  slot->several_readings = request.several_readings_;
  slot->since = loop_.Now();
  slot->serial = serial;
  slot->given_up_at = core::kNever;
  request.AddHolder(this);
  ++used_;
  ++scanner_.in_flight;
  scanner_.stats.counts.Add(ScannerCount::kInFlight);
  wake_.Notify();
}

void ClamdConnection::Release(Request& request, std::shared_ptr<KeptBody> body) {
  const auto slot =
      std::find_if(slots_.begin(), slots_.end(), [&request](const Slot& s) { return s.request == &request; });
  BV_CHECK(slot != slots_.end());
  slot->request = nullptr;
  slot->kept = std::move(body);
  request.RemoveHolder(this);
  if (slot->state == SlotState::kTaken) {
    const uint64_t serial = slot->serial;
    Free(*slot);
    owner_.OnScanEnded(scanner_, serial, nullptr, false);
    owner_.OnChange();
    return;
  }
  slot->given_up_at = loop_.Now();
  ++scanner_.given_up;
  scanner_.stats.counts.Add(ScannerCount::kGivenUp);
  if (slot->state == SlotState::kSending && session_.uploading) {
    // Nobody waits for the rest of this upload, and an upload can be ended in no other way.
    session_.useful = true;
    stream_.Shutdown();
  }
}

void ClamdConnection::Withdraw(Request& request) {
  for (Slot& slot : slots_) {
    if (slot.request != &request || slot.state != SlotState::kTaken) continue;
    request.RemoveHolder(this);
    const uint64_t serial = slot.serial;
    Free(slot);
    owner_.OnScanEnded(scanner_, serial, nullptr, false);
  }
}

void ClamdConnection::CollectOlder(MonoTime then, std::vector<Request*>& out) const {
  for (const Slot& slot : slots_) {
    if (slot.request != nullptr && slot.since <= then) out.push_back(slot.request);
  }
}

// --- The session, from top to bottom.

core::Task<bool> ClamdConnection::Open() {
  sockaddr_storage address = {};
  const socklen_t address_bytes = scanner_.options.address(address);
  if (address_bytes == 0) {
    Fail("its address is not known");
    co_return false;
  }
  session_.family = address.ss_family;
  const MonoTime deadline = loop_.Now() + options_.connect_timeout;
  const core::IoResult connected =
      co_await stream_.Connect(reinterpret_cast<const sockaddr*>(&address), address_bytes, deadline);
  if (!connected.ok()) {
    Fail(std::strerror(connected.error()));
    co_return false;
  }
  session_.sends_content = scanner_.sends_content(session_.family);
  stream_.Write(kOpenSession);
  stream_.Flush();
  while (!stopping_) {
    const Record record = NextRecord(stream_.input());
    if (record.state == RecordState::kWhole) {
      const Reply reply = ParseReply(record.text);
      if (reply.kind != ReplyKind::kPong || reply.id != 1) break;
      stream_.Consume(record.bytes);
      co_return true;
    }
    if (record.state == RecordState::kTooLong) break;
    if (stream_.ended() || stream_.write_error() != 0) {
      Fail("it closed the connection instead of answering PING");
      co_return false;
    }
    if (loop_.Now() >= deadline) {
      const MonoTime patience = loop_.Now() + kPingsToDeath * options_.ping_interval;
      const MonoTime silent_until = scanner_.silent_until;
      Fail("it does not answer PING", silent_until == MonoTime() ? patience : silent_until);
      co_return false;
    }
    stream_.StartReading();
    (void)co_await wake_.Wait(deadline);
  }
  Fail("it does not speak clamd's protocol");
  co_return false;
}

core::Task<void> ClamdConnection::Serve() {
  bool whole = true;  // nothing has gone wrong on our sending side
  while (!stopping_) {
    if (!TakeReplies()) co_return;
    // Before anything new is sent: the last answers have made room.
    owner_.OnChange();
    if (session_.end != EndOfSession::kNone) co_return;
    if (!whole || stream_.write_error() != 0) {
      co_await ReadRest();
      co_return;
    }
    if (stream_.ended()) co_return;
    if (used_ == 0 && TakesNoMore()) {
      session_.useful = true;
      End(EndOfSession::kFinished, "it was finished");
      co_return;
    }
    if (Slot* slot = NextTaken(); slot != nullptr) {
      if (slot->if_proven.has_value() && slot->proof == nullptr) {
        co_await MakeProof(*slot);
        continue;
      }
      whole = co_await Send(*slot);
      continue;
    }
    if (loop_.Now() >= CanaryTime()) {
      co_await TakeCanary();
      continue;
    }
    if (dead()) {
      scanner_.stats.counts.Add(ScannerCount::kErrors);
      End(EndOfSession::kScanner, "it answers no PING any more");
      co_return;
    }
    if (session_.ping_id == 0 &&
        (session_.ping_wanted || loop_.Now() >= session_.ping_sent + options_.ping_interval))
      Ping();
    stream_.StartReading();
    (void)co_await wake_.Wait(NextEvent());
  }
}

core::MonoTime ClamdConnection::NextEvent() const {
  const MonoTime canary = CanaryTime();
  if (session_.ping_id == 0) return std::min(canary, session_.ping_sent + options_.ping_interval);
  const MonoTime stall = session_.ping_sent + stall_time();
  return std::min(canary,
                  loop_.Now() < stall ? stall : session_.ping_sent + kPingsToDeath * options_.ping_interval);
}

void ClamdConnection::Ping() {
  session_.ping_id = session_.next_id++;
  session_.ping_sent = loop_.Now();
  session_.ping_wanted = false;
  stream_.Write(kPing);
  stream_.Flush();
}

core::Task<bool> ClamdConnection::Send(Slot& slot) {
  slot.state = SlotState::kSending;
  slot.since = loop_.Now();
  slot.id = session_.next_id++;
  if (!session_.sends_content) co_return co_await SendDescriptor(slot);
  const uint64_t stream_bytes_max = scanner_.limits.stream_bytes_max;
  if (stream_bytes_max != 0 && slot.scanned().image_bytes() > stream_bytes_max) {
    --session_.next_id;
    Complete(slot,
             NoVerdictBecause(NoVerdict::kSize, "the message is larger than the scanner's StreamMaxLength"));
    co_return true;
  }
  session_.uploading = true;
  const bool sent = co_await Upload(slot);
  session_.uploading = false;
  co_return sent;
}

core::Task<bool> ClamdConnection::SendDescriptor(Slot& slot) {
  const int descriptor = slot.scanned().SealForScan(session_.may_change_bodies);
  if (descriptor < 0) {
    --session_.next_id;
    Complete(slot,
             NoVerdictBecause(NoVerdict::kError, "the message's file cannot be opened for the scanner"));
    co_return true;
  }
  // The few bytes that are outstanding on a session always fit into the socket, even if the scanner does not
  // read.
  const core::IoResult result =
      co_await stream_.SendDescriptor(kFildes, descriptor, loop_.Now() + options_.connect_timeout);
  if (result.ok()) {
    slot.state = SlotState::kSent;
    if (slot.request != nullptr && slot.proof == nullptr) ++slot.request->attempts_;
    co_return true;
  }
  if (!IsConnectionError(result.error())) {
    // The system does not let us pass the descriptor.
    if (scanner_.options.method == Method::kAuto) {
      RefuseDescriptors();
      End(EndOfSession::kRefused, "no descriptor can be passed to it");
    } else {
      scanner_.stats.counts.Add(ScannerCount::kErrors);
      Complete(slot,
               NoVerdictBecause(NoVerdict::kError, Cat("the message's file cannot be passed to the scanner: ",
                                                       std::string_view(std::strerror(result.error())))));
    }
  }
  co_return false;
}

// Sends the image from the memory of the body's file.
core::Task<bool> ClamdConnection::Upload(Slot& slot) {
  static constexpr ChunkHeader kEnd = MakeChunkHeader(0);
  if (slot.request != nullptr && slot.proof == nullptr) ++slot.request->attempts_;
  const uint32_t id = slot.id;
  // A scanner that reloads its database accepts nothing for as long as it does not answer PING.
  const core::Duration patience = kPingsToDeath * options_.ping_interval;
  stream_.Write(kInstream);
  std::string_view image = slot.scanned().image();
  size_t chunk_bytes = 0;  // of the current chunk, not sent yet
  bool ended = false;
  while (!ended) {
    if (chunk_bytes == 0 && !image.empty()) {
      chunk_bytes = std::min(image.size(), kChunkBytesMax);
      const ChunkHeader header = MakeChunkHeader(static_cast<uint32_t>(chunk_bytes));
      stream_.Write({header.data(), header.size()});
    }
    const size_t bytes = std::min(chunk_bytes, core::Stream::kSendStepBytes);
    std::array<iovec, 2> pieces = {};
    size_t count = 0;
    if (bytes > 0) pieces[count++] = {const_cast<char*>(image.data()), bytes};
    image.remove_prefix(bytes);
    chunk_bytes -= bytes;
    if (image.empty()) {
      pieces[count++] = {const_cast<char*>(kEnd.data()), kEnd.size()};
      ended = true;
    }
    stream_.StartReading();
    const std::span<const iovec> step(pieces.data(), count);
    const core::IoResult result = co_await stream_.SendPieces(step, patience);
    if (!result.ok()) co_return false;
    if (ended) break;
    // An answer before the whole message has arrived can only be an error; the scanner then reads no further.
    const bool good = TakeReplies();
    const bool wanted = slot.request != nullptr || slot.canary;
    if (!good || slot.state != SlotState::kSending || slot.id != id || !wanted || stopping_) {
      co_return false;
    }
  }
  slot.state = SlotState::kSent;
  co_return true;
}

// The scanner accepts nothing more. Its last words may be the reason and can still be read.
core::Task<void> ClamdConnection::ReadRest() {
  const MonoTime deadline = loop_.Now() + options_.connect_timeout;
  while (!stopping_ && session_.end == EndOfSession::kNone && used_ > 0 &&
         stream_.write_error() != ETIMEDOUT && loop_.Now() < deadline) {
    stream_.StartReading();
    if (!TakeReplies() || stream_.ended()) co_return;
    (void)co_await wake_.Wait(deadline);
  }
}

// After a failure: longer each time, with jitter, so that connections and workers do not retry at the same
// moment. If the session was useful, the next one is opened at once.
core::Task<void> ClamdConnection::Pause() {
  if (!failed_ && (session_.useful || loop_.Now() >= session_.opened + options_.retry_max)) {
    backoff_ = options_.retry_min;
    co_return;
  }
  random_ = random_ * 6364136223846793005u + 1442695040888963407u;
  const core::Duration half = backoff_ / 2;
  const core::Duration jitter = half * static_cast<int64_t>(random_ >> 48) / 65536;
  // Only one connection tries to reach a scanner that is down.
  const bool look = number_ == 0 || !scanner_.down();
  const MonoTime until = look ? loop_.Now() + half + jitter : core::kNever;
  // If a message waits for the scanner, the pause is short.
  const MonoTime soon = std::min(until, loop_.Now() + std::min(half + jitter, kProbePauseMax));
  backoff_ = std::min(backoff_ * 2, options_.retry_max);
  for (;;) {
    const MonoTime end = look && scanner_.wanted ? soon : until;
    if (stopping_ || finishing_ || hurry_ || loop_.Now() >= end) co_return;
    (void)co_await wake_.Wait(end);
  }
}

std::string ClamdConnection::HowItBroke() const {
  if (stream_.write_error() != 0) return std::strerror(stream_.write_error());
  return stream_.ended() ? "it closed the connection" : "the connection was closed";
}

// --- Slots.

ClamdConnection::Slot* ClamdConnection::NextTaken() {
  Slot* first = nullptr;
  for (Slot& slot : slots_) {
    if (slot.state != SlotState::kTaken) continue;
    if (slot.canary) return &slot;
    if (first == nullptr || slot.request->number_ < first->request->number_) first = &slot;
  }
  return first;
}

// The slot that awaits this reply, or null.
ClamdConnection::Slot* ClamdConnection::Find(uint32_t id) {
  for (Slot& slot : slots_) {
    const bool awaits = slot.state == SlotState::kSending || slot.state == SlotState::kSent;
    if (awaits && slot.id == id) return &slot;
  }
  return nullptr;
}

bool ClamdConnection::AwaitsDescriptorReply() const {
  return !session_.sends_content && !stopping_ &&
         std::any_of(slots_.begin(), slots_.end(), [](const Slot& s) { return s.state == SlotState::kSent; });
}

void ClamdConnection::Free(Slot& slot) {
  if (slot.kept != nullptr) {
    // After a descriptor was sent, the scanner may still have it open.
    if (slot.state != SlotState::kTaken && !session_.sends_content) slot.kept->Discard();
    slot.kept.reset();
  }
  if (slot.proof_kept != nullptr && slot.state != SlotState::kTaken && !session_.sends_content)
    slot.proof_kept->Discard();
  slot.proof_kept.reset();
  slot.proof = nullptr;
  slot.if_proven.reset();
  slot.state = SlotState::kFree;
  slot.request = nullptr;
  slot.body = nullptr;
  --used_;
  if (std::exchange(slot.canary, false)) return;
  if (std::exchange(slot.given_up_at, core::kNever) != core::kNever) {
    --scanner_.given_up;
    scanner_.stats.counts.Subtract(ScannerCount::kGivenUp);
  }
  --scanner_.in_flight;
  scanner_.stats.counts.Subtract(ScannerCount::kInFlight);
}

void ClamdConnection::ReturnAll() {
  for (Slot& slot : slots_) {
    if (slot.state != SlotState::kFree) ReturnSlot(slot);
  }
}

void ClamdConnection::ReturnSlot(Slot& slot) {
  Request* request = slot.request;
  if (request != nullptr) {
    request->RemoveHolder(this);
    // A scanner keeps what it was given, even if the session ends.
    request->lingers_ = request->lingers_ || (slot.state != SlotState::kTaken && !session_.sends_content);
    if (slot.state != SlotState::kTaken && session_.blameless()) {
      if (slot.state == SlotState::kSent) --request->attempts_;
    } else if (slot.state != SlotState::kTaken) {
      request->avoid_ = scanner_.index;
    }
  }
  const uint64_t serial = slot.serial;
  const bool canary = slot.canary;
  if (session_.end == EndOfSession::kGivenUp && slot.state == SlotState::kSent &&
      slot.given_up_at != core::kNever)
    LeaveBehind();
  Free(slot);
  if (!canary) owner_.OnScanEnded(scanner_, serial, nullptr, session_.blameless() && request != nullptr);
  if (request != nullptr) owner_.OnReturned(*request, Cat(scanner_.options.name, ": ", session_.end_text));
}

// The program at the other end has to prove itself again, whatever the last session has proven.
void ClamdConnection::Begin() {
  session_.ready = true;
  session_.ping_sent = session_.opened = session_.heard = loop_.Now();
  if (options_.canary != CanaryMode::kOff) session_.canary_due = loop_.Now();
  const std::optional<uid_t> user = peer_user();
  session_.may_change_bodies = !user.has_value() || *user == 0 || *user == geteuid();
  failed_ = scanner_.wanted = false;
  scanner_.silent_until = {};
  scanner_.stats.counts.Add(ScannerCount::kConnects);
  scanner_.stats.counts.Add(ScannerCount::kConnections);
  owner_.OnOpened(scanner_, *this);
}

void ClamdConnection::End(EndOfSession end, std::string_view text) {
  session_.over = session_.over || end != EndOfSession::kGivenUp;
  if (session_.end != EndOfSession::kNone) return;
  session_.end = end;
  session_.end_text.assign(text);
}

void ClamdConnection::Fail(std::string_view why, MonoTime silent_until) {
  if (stopping_) return;
  scanner_.silent_until = silent_until;
  scanner_.last_failure.assign(why);
  failed_ = true;
  owner_.OnFailed(scanner_);
}

}  // namespace bivalve::scan
