// ClamdConnection: one session (IDSESSION) with one scanner, and what is outstanding on it. It connects,
// serves and connects again in one coroutine until it is stopped; the pool hands it messages and gets back
// those that it could not bring to an end.
//
// A reply is believed only when its number is outstanding and its shape is right. Anything else poisons the
// session, because clamd can write one client's result to another: it is closed and what was on it is scanned
// again.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/body_pool.h"
#include "core/condition.h"
#include "core/loop.h"
#include "core/stream.h"
#include "core/task.h"
#include "scan/clamd_pool.h"
#include "scan/clamd_protocol.h"

namespace bivalve::scan {

class ClamdConnection;

// One scanner, as its connections share it.
struct Scanner {
  Scanner(int index_in_pool, const ScannerOptions& options_of_it, ScannerStats& stats_of_it)
      : index(index_in_pool),
        options(options_of_it),
        stats(stats_of_it),
        limits(options_of_it.limits),
        outstanding_max(options_of_it.outstanding_max) {}

  // Every attempt to reach it has failed since it was last heard of.
  bool down() const;
  // It has just shown that it does not find what it must, and gets no mail for that.
  bool failed_canary() const { return canary == CanaryState::kMissed || canary == CanaryState::kError; }
  // Whether the reason why it gets no mail is one that waiting does not mend. One that takes connections and
  // says nothing loads its database (systemd holds the socket meanwhile), and is waited for.
  bool gone(CanaryMode mode, core::MonoTime now) const {
    return (down() && now >= silent_until) || (mode == CanaryMode::kOn && failed_canary());
  }
  // Whether a connection to an address of `family` sends content (INSTREAM) instead of descriptors.
  bool sends_content(int family) const {
    return family != AF_UNIX || options.method == Method::kInstream || refuses_descriptors;
  }
  // It runs more scans that were given up than it may be left with: what it gets now grows from one message
  // at a time, by one with each that it answers.
  bool exhausted() const { return given_up + left_behind.size() > given_up_max; }
  // How many more it may be handed, whatever its sessions have places for.
  size_t room() const;

  const int index;  // no other scanner of the pool has or had it
  ScannerOptions options;
  ScannerStats& stats;
  ScannerLimits limits;      // the options' at first
  uint32_t outstanding_max;  // the same
  std::vector<std::unique_ptr<ClamdConnection>> connections;
  bool removed = false;  // gets no mail any more, and its statistics are another's
  size_t tasks = 0;      // its coroutines that have not ended
  uint32_t in_flight = 0;
  bool answered = false;             // gets mail, and was not found down since
  bool descriptors_proven = false;   // it has answered a scan by descriptor
  bool refuses_descriptors = false;  // with kAuto; forgotten when it is down
  bool wanted = false;               // messages wait for the next attempt to reach it
  core::MonoTime silent_until = {};  // its connections stay silent; waited for until then
  std::string last_failure;          // why the last attempt to reach it, or its last canary, failed
  CanaryState canary = CanaryState::kOff;
  uint32_t canary_misses = 0;  // in a row

  bool takes_no_descriptors = false;  // the same as refuses_descriptors, with kFildes

  // Of scans that were given up: how many before it is exhausted; those it has, of in_flight; and those whose
  // session was closed, as the time until which each is reckoned with.
  uint32_t given_up_max = 1;
  uint32_t given_up = 0;
  std::deque<core::MonoTime> left_behind;

  uint64_t answered_since_close = 0;         // messages, since a session was closed for such scans
  core::MonoTime full_since = core::kNever;  // none of its sessions takes another message
  core::MonoTime given_up_said = {};         // to the operator, the last time
  uint64_t given_up_sessions_unsaid = 0;     // closed since
};

// The scans on a session that nobody waits for any more, late canaries among them.
struct GivenUpScans {
  size_t scans = 0;
  size_t messages = 0;                  // of these
  size_t others = 0;                    // on the same session, and wanted
  core::MonoTime since = core::kNever;  // when the first of them was given up
};

// What a connection tells its pool. Called from the connection's coroutine; must not suspend.
class ConnectionOwner {
 public:
  // The connection may take more, or should be preferred or avoided from now on.
  virtual void OnChange() = 0;
  // A session with the scanner is open.
  virtual void OnOpened(Scanner& scanner, ClamdConnection& connection) = 0;
  // An attempt to reach it has failed.
  virtual void OnFailed(Scanner& scanner) = 0;
  // The scanner has answered a canary. `text`: what it said.
  virtual void OnCanary(Scanner& scanner, CanaryState state, std::string_view text) = 0;
  // Its scanner takes no descriptors.
  virtual void OnRefused(Scanner& scanner) = 0;
  // A session is closed because of these scans, which were given up.
  virtual void OnGivenUp(Scanner& scanner, const GivenUpScans& scans) = 0;
  // What it says of a message; the connection does not have it any more.
  virtual void OnAnswer(Scanner& scanner, Request& request, Verdict verdict) = 0;
  // A scan that owner knows by this number is over: with what verdict, null: without one. `blameless`: for a
  // reason that is none of its doing.
  virtual void OnScanEnded(Scanner& scanner, uint64_t serial, const Verdict* verdict, bool blameless) = 0;
  // The connection has ended before it answered, and does not have the message any more. `why`: which one,
  // and what happened.
  virtual void OnReturned(Request& request, std::string_view why) = 0;

 protected:
  ~ConnectionOwner() = default;
};

// A body whose session has done with it while scanners may still read it. They share it; the last one gives
// it back.
class KeptBody {
 public:
  KeptBody(core::BodyPool& bodies, std::unique_ptr<core::Body> body)
      : bodies_(bodies), body_(std::move(body)) {}
  KeptBody(const KeptBody&) = delete;
  ~KeptBody() { discard_ ? bodies_.Discard(std::move(body_)) : bodies_.Release(std::move(body_)); }
  // Somebody may have it open for longer: its memory is not to be used again.
  void Discard() { discard_ = true; }

 private:
  core::BodyPool& bodies_;
  std::unique_ptr<core::Body> body_;
  bool discard_ = false;
};

// The sentence is for the log.
inline Verdict NoVerdictBecause(NoVerdict cause, std::string text) {
  Verdict verdict;
  verdict.cause = cause;
  verdict.text = std::move(text);
  return verdict;
}

class ClamdConnection {
 public:
  // `number`: among its scanner's connections. The first one looks for a scanner that is down, for all of
  // them.
  ClamdConnection(core::Loop& loop, core::BodyPool& bodies, const ClamdPool::Options& options,
                  Scanner& scanner, ConnectionOwner& owner, size_t number);
  ClamdConnection(const ClamdConnection&) = delete;
  ~ClamdConnection();  // Run() has returned

  // Holds a session to the scanner until Stop(). Suspends.
  core::Task<void> Run();
  // Makes Run() return soon, whatever it awaits.
  void Stop();
  // Takes nothing more, and makes Run() return once what it has is answered.
  void Finish();
  bool finishing() const { return finishing_; }
  // Connects now instead of after the pause after a failure.
  void Hurry();
  // The pool's options have another canary mode.
  void CanaryModeChanged();
  // The same, but not before a pause that grows and jitters has passed: a message waits for what comes of it.
  void Probe() { wake_.Notify(); }

  // The last attempt to connect has failed.
  bool failed() const { return failed_; }
  bool ready() const { return session_.ready; }
  const Scanner& scanner() const { return scanner_; }
  // Of an open session: whom the scanner runs as, as far as its socket tells.
  std::optional<uid_t> peer_user() const { return stream_.peer_user(); }
  bool proven() const { return session_.ready && session_.proven; }
  // It is open, and its scanner has proven itself on it where that is asked for.
  bool usable() const { return session_.ready && (session_.proven || options_.canary != CanaryMode::kOn); }
  // Sends a canary as soon as there is room, or at `when`. What was proven before remains so.
  void WantCanary(core::MonoTime when) {
    session_.canary_due = std::min(session_.canary_due, when), wake_.Notify();
  }
  // Another session's canary was not found: takes no mail until a canary of its own is.
  void Doubt(core::MonoTime next_canary);
  // How many requests it can take now.
  size_t room() const;
  size_t outstanding() const { return used_; }
  // A PING is unanswered for long: the scanner reloads its database, or is dead.
  bool stalled() const {
    return session_.ready && session_.ping_id != 0 && loop_.Now() >= session_.ping_sent + stall_time();
  }

  // Takes a request to be sent; there is room(). Never suspends.
  void Take(Request& request, uint64_t serial);
  // The session has done with it; the body is kept until the scanner has, too.
  void Release(Request& request, std::shared_ptr<KeptBody> body);
  // Another scanner has answered for it: takes it back if it was not sent yet.
  void Withdraw(Request& request);
  GivenUpScans given_up() const;
  // Whether the scanner has answered a PING on this session that was sent after `then`.
  bool heard_since(core::MonoTime then) const { return session_.heard > then; }
  // Sends a PING soon.
  void AskPing();
  // Whether it has a place for one more, were its scanner to get it.
  bool has_place() const;
  // It will take nothing more, or not before it has opened another session.
  bool ending() const { return !session_.ready || TakesNoMore(); }
  // Takes nothing more on this session.
  void Retire();
  // Closes the session, the only way to cancel a scan, and opens another one. What else is on it comes back
  // blamelessly.
  void CloseForGivenUp();
  // Calls visit(serial, content) for each scan of a whole message that was handed over before `then` and that
  // somebody waits for.
  template <typename Visit>
  void VisitOlder(core::MonoTime then, Visit visit) const {
    for (const Slot& slot : slots_) {
      if (slot.request != nullptr && !slot.several_readings && slot.since <= then)
        visit(slot.serial, slot.body->content());
    }
  }
  // Calls visit(serial) for each scan of a message that was given up before `then`.
  template <typename Visit>
  void VisitGivenUp(core::MonoTime then, Visit visit) const {
    for (const Slot& slot : slots_) {
      if (slot.given_up_at <= then) visit(slot.serial);
    }
  }
  void CountHedge() { scanner_.stats.counts.Add(ScannerCount::kHedges); }
  // Adds the requests that it was given before `then`.
  void CollectOlder(core::MonoTime then, std::vector<Request*>& out) const;

 private:
  static constexpr core::Duration kStallMax = std::chrono::seconds(3);
  // The longest pause between two attempts for which messages wait.
  static constexpr core::Duration kProbePauseMax = std::chrono::seconds(1);
  static constexpr int kPingsToDeath = 6;            // ping intervals without an answer
  static constexpr uint32_t kIdMax = 1'000'000'000;  // then a new session

  enum class SlotState : uint8_t { kFree, kTaken, kSending, kSent };
  struct Slot {
    SlotState state = SlotState::kFree;
    uint32_t id = 0;
    core::MonoTime since;
    uint64_t serial = 0;  // of this scan, in its pool
    core::MonoTime given_up_at = core::kNever;
    Request* request = nullptr;  // null: abandoned
    core::Body* body = nullptr;
    std::shared_ptr<KeptBody> kept;  // the abandoned one's body, or the canary's
    bool canary = false;             // without a request
    bool several_readings = false;   // the request's
    // Its verdict, while a canary of the message's size is scanned in its place (clamd_connection_size.cc).
    std::optional<Verdict> if_proven;
    core::Body* proof = nullptr;  // that canary
    std::shared_ptr<KeptBody> proof_kept;
    core::Body& scanned() const { return proof != nullptr ? *proof : *body; }
  };

  // Of images, where the scanner's limits are not known: what is smaller than all limits that anybody sets
  // needs no proof.
  static constexpr uint64_t kBelievedBytes = uint64_t{64} << 10;

  // Why a session ends.
  enum class EndOfSession : uint8_t {
    kNone,      // it goes on
    kScanner,   // the scanner has closed it, or said something that ends it, or nothing any more
    kRefused,   // the scanner takes no descriptors: what is on it is sent again, as content
    kGivenUp,   // it is closed for scans that were given up
    kFinished,  // it takes nothing more, and everything is answered
  };
  // What is true of one session, and of no other one.
  struct Session {
    bool ready = false;             // open; ends before the session does
    bool sends_content = false;     // INSTREAM, instead of descriptors
    bool may_change_bodies = true;  // the scanner runs as root, as our user, or as nobody knows whom
    bool uploading = false;         // a scan's content is on its way
    bool useful = false;            // it has answered a scan
    bool retiring = false;          // takes nothing more
    bool over = false;              // no further reply of it is believed
    EndOfSession end = EndOfSession::kNone;
    std::string end_text = {};  // for a message that was on it
    int family = 0;             // of the address
    core::MonoTime opened = {};

    uint32_t next_id = 2;  // 1 is the PING that goes with IDSESSION
    uint32_t ping_id = 0;  // of the PING that is unanswered, 0: none
    bool ping_wanted = false;
    core::MonoTime ping_sent = {};
    core::MonoTime heard = {};  // when the last PING that was answered was sent

    bool proven = false;        // its last canary was found
    uint32_t canaries_out = 0;  // under way on it: more than one when they are not answered
    core::MonoTime canary_due = core::kNever;
    core::MonoTime canary_again = core::kNever;  // the same, while one is out
    // Of images, where the scanner's limits are not known: found up to here, and not found from here on.
    uint64_t proven_bytes = kBelievedBytes;
    uint64_t unproven_bytes = UINT64_MAX;

    // It ends for a reason that is not the messages' doing.
    bool blameless() const {
      return end == EndOfSession::kRefused || end == EndOfSession::kGivenUp || end == EndOfSession::kFinished;
    }
  };

  // The steps of Run(). Those that return false have met the end of the session.
  core::Task<bool> Open();
  core::Task<void> Serve();
  core::Task<void> TakeCanary();
  core::Task<bool> Send(Slot& slot);
  core::Task<bool> SendDescriptor(Slot& slot);
  core::Task<bool> Upload(Slot& slot);
  core::Task<void> ReadRest();
  core::Task<void> Pause();

  bool TakeReplies();
  bool Accept(const Reply& reply);
  bool AcceptScanReply(Slot& slot, const Reply& reply);
  void EndNotUnderstood(std::string_view text);
  // The first end that is told counts. After every one but kGivenUp no further reply is believed.
  void End(EndOfSession end, std::string_view text);
  std::string HowItBroke() const;
  void Refused(Slot* slot, std::string_view text);
  void Ping();
  // The scanner's last word on it, except where somebody has changed what it was about.
  void Complete(Slot& slot, Verdict verdict);
  std::optional<Verdict> Disbelief(const Slot& slot) const;
  void CompleteCanary(const Verdict& verdict);
  bool IsInDoubt(const Slot& slot) const;
  bool AskForProof(Slot& slot, Verdict verdict);
  core::Task<void> MakeProof(Slot& slot);
  void CompleteProof(Slot& slot, const Verdict& verdict);
  void ProveAgain(Slot& slot);
  static Verdict TooLargeToBelieve();
  static Verdict UnprovenBecause(const Verdict& verdict);
  void ReturnAll();
  void ReturnSlot(Slot& slot);
  void Free(Slot& slot);
  void LeaveBehind();
  void Fail(std::string_view why, core::MonoTime silent_until = {});
  void Begin();
  void RefuseDescriptors();

  bool LateCanary(const Slot& slot) const;
  core::Duration CanaryPatience() const;
  core::MonoTime CanaryTime() const;
  size_t FreeSlots() const;
  Slot* FreeSlot();
  Slot* NextTaken();
  Slot* Find(uint32_t id);
  bool AwaitsDescriptorReply() const;
  bool TakesNoMore() const;  // it ends when nothing is outstanding
  core::Duration stall_time() const { return std::min(kStallMax, options_.ping_interval); }
  bool dead() const {
    return session_.ping_id != 0 &&
           loop_.Now() >= session_.ping_sent + kPingsToDeath * options_.ping_interval;
  }
  core::MonoTime NextEvent() const;

  core::Loop& loop_;
  core::BodyPool& bodies_;
  const ClamdPool::Options& options_;
  Scanner& scanner_;
  ConnectionOwner& owner_;
  const size_t number_;
  core::Condition wake_;
  core::Stream stream_;
  std::vector<Slot> slots_;  // outstanding_max of them
  size_t used_ = 0;
  Session session_;
  bool running_ = false;
  bool stopping_ = false;
  bool finishing_ = false;
  bool hurry_ = false;
  bool failed_ = false;
  uint32_t canary_silences_ = 0;  // sessions in a row that were closed for it
  core::Duration backoff_;
  uint64_t random_;
};

}  // namespace bivalve::scan
