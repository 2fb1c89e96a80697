// ClamdConnection: one session (IDSESSION) with one scanner, and the scans that are outstanding on it. One
// coroutine connects, serves and connects again until it is stopped. The pool hands it messages and gets back
// those that it could not finish.
//
// A reply is believed only if its number is outstanding and its shape is right. Any other reply makes the
// session unusable, because clamd can write one client's result to another: the session is closed and its
// messages are scanned again.
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

// One scanner; its connections share this.
struct Scanner {
  Scanner(int index_in_pool, const ScannerOptions& options_of_it, ScannerStats& stats_of_it)
      : index(index_in_pool),
        options(options_of_it),
        stats(stats_of_it),
        limits(options_of_it.limits),
        outstanding_max(options_of_it.outstanding_max) {}

  // Every attempt to reach the scanner has failed since its last answer.
  bool down() const;
  // The scanner has just missed its canary, and gets no mail because of that.
  bool failed_canary() const { return canary == CanaryState::kMissed || canary == CanaryState::kError; }
  // Whether the scanner gets no mail for a reason that does not pass by waiting. A scanner that accepts
  // connections and says nothing is loading its database (systemd holds the socket meanwhile), and is waited
  // for.
  bool gone(CanaryMode mode, core::MonoTime now) const {
    return (down() && now >= silent_until) || (mode == CanaryMode::kOn && failed_canary());
  }
  // Whether a connection to an address of `family` sends content (INSTREAM) and not descriptors.
  bool sends_content(int family) const {
    return family != AF_UNIX || options.method == Method::kInstream || refuses_descriptors;
  }
  // The scanner runs more given-up scans than it is allowed to have. From now on it gets one message at a
  // time, and one more with each answer.
  bool exhausted() const { return given_up + left_behind.size() > given_up_max; }
  // How many more messages the scanner may get, whatever room its sessions have.
  size_t room() const;

  const int index;  // no other scanner of the pool ever has the same
  ScannerOptions options;
  ScannerStats& stats;
  ScannerLimits limits;      // at first those of the options
  uint32_t outstanding_max;  // the same
  std::vector<std::unique_ptr<ClamdConnection>> connections;
  bool removed = false;  // gets no mail any more; its statistics belong to another one
  size_t tasks = 0;      // coroutines of it that have not ended
  uint32_t in_flight = 0;
  bool answered = false;             // gets mail, and was not found down since
  bool descriptors_proven = false;   // it has answered a scan by descriptor
  bool refuses_descriptors = false;  // with kAuto; reset when it is down
  bool wanted = false;               // messages wait for the next attempt to reach it
  core::MonoTime silent_until = {};  // its connections are silent; it is waited for until then
  std::string last_failure;          // reason of the last failed connect or canary
  CanaryState canary = CanaryState::kOff;
  uint32_t canary_misses = 0;  // in a row

  bool takes_no_descriptors = false;  // the same as refuses_descriptors, with kFildes

  // Given-up scans: how many make the scanner exhausted; how many of in_flight are given up; and, for those
  // whose session was closed, the time until which each is counted.
  uint32_t given_up_max = 1;
  uint32_t given_up = 0;
  std::deque<core::MonoTime> left_behind;

  uint64_t answered_since_close = 0;         // messages, since a session was closed for given-up scans
  core::MonoTime full_since = core::kNever;  // since then no session takes another message
  core::MonoTime given_up_said = {};         // last time that the operator was told
  uint64_t given_up_sessions_unsaid = 0;     // closed since then
};

// The scans on a session for which nobody waits any more, late canaries included.
struct GivenUpScans {
  size_t scans = 0;
  size_t messages = 0;                  // of these, how many are messages
  size_t others = 0;                    // on the same session, still wanted
  core::MonoTime since = core::kNever;  // when the first one was given up
};

// Events that a connection reports to its pool. Called from the connection's coroutine; must not suspend.
class ConnectionOwner {
 public:
  // The connection may take more, or should now be preferred or avoided.
  virtual void OnChange() = 0;
  // A session with the scanner is open.
  virtual void OnOpened(Scanner& scanner, ClamdConnection& connection) = 0;
  // An attempt to reach the scanner has failed.
  virtual void OnFailed(Scanner& scanner) = 0;
  // The scanner has answered a canary. `text`: its answer.
  virtual void OnCanary(Scanner& scanner, CanaryState state, std::string_view text) = 0;
  // The connection's scanner does not take descriptors.
  virtual void OnRefused(Scanner& scanner) = 0;
  // A session is closed because of these given-up scans.
  virtual void OnGivenUp(Scanner& scanner, const GivenUpScans& scans) = 0;
  // The scanner's answer about a message, which the connection no longer has.
  virtual void OnAnswer(Scanner& scanner, Request& request, Verdict verdict) = 0;
  // The scan that the owner knows by this number is over. `verdict`: null if there is none. `blameless`: it
  // ended for a reason that it did not cause.
  virtual void OnScanEnded(Scanner& scanner, uint64_t serial, const Verdict* verdict, bool blameless) = 0;
  // The connection has ended without an answer, and no longer has the message. `why`: which connection, and
  // what happened.
  virtual void OnReturned(Request& request, std::string_view why) = 0;

 protected:
  ~ConnectionOwner() = default;
};

// A body that its session no longer needs while scanners may still read it. The scanners share it, and the
// last one gives it back.
class KeptBody {
 public:
  KeptBody(core::BodyPool& bodies, std::unique_ptr<core::Body> body)
      : bodies_(bodies), body_(std::move(body)) {}
  KeptBody(const KeptBody&) = delete;
  ~KeptBody() { discard_ ? bodies_.Discard(std::move(body_)) : bodies_.Release(std::move(body_)); }
  // Somebody may have the body open for longer: its memory must not be used again.
  void Discard() { discard_ = true; }

 private:
  core::BodyPool& bodies_;
  std::unique_ptr<core::Body> body_;
  bool discard_ = false;
};

// The text is a sentence for the log.
inline Verdict NoVerdictBecause(NoVerdict cause, std::string text) {
  Verdict verdict;
  verdict.cause = cause;
  verdict.text = std::move(text);
  return verdict;
}

class ClamdConnection {
 public:
  // `number`: index among its scanner's connections. If the scanner is down, the first connection alone tries
  // to reach it.
  ClamdConnection(core::Loop& loop, core::BodyPool& bodies, const ClamdPool::Options& options,
                  Scanner& scanner, ConnectionOwner& owner, size_t number);
  ClamdConnection(const ClamdConnection&) = delete;
  ~ClamdConnection();  // Run() must have returned

  // Holds a session to the scanner until Stop(). Suspends.
  core::Task<void> Run();
  // Makes Run() return soon, whatever it is waiting for.
  void Stop();
  // Takes nothing more, and makes Run() return when all outstanding scans are answered.
  void Finish();
  bool finishing() const { return finishing_; }
  // Connects now and does not wait for the end of the pause after a failure.
  void Hurry();
  // The pool's options have another canary mode.
  void CanaryModeChanged();
  // A message waits for the result: connects early, but not before a pause that grows and has jitter.
  void Probe() { wake_.Notify(); }

  // The last attempt to connect has failed.
  bool failed() const { return failed_; }
  bool ready() const { return session_.ready; }
  const Scanner& scanner() const { return scanner_; }
  // On an open session: the scanner's user, if the socket knows it.
  std::optional<uid_t> peer_user() const { return stream_.peer_user(); }
  bool proven() const { return session_.ready && session_.proven; }
  // The session is open, and its scanner has proven itself on it if that is required.
  bool usable() const { return session_.ready && (session_.proven || options_.canary != CanaryMode::kOn); }
  // Sends a canary as soon as there is room, but not before `when`. Earlier proofs stay valid.
  void WantCanary(core::MonoTime when) {
    session_.canary_due = std::min(session_.canary_due, when), wake_.Notify();
  }
  // A canary on another session was missed: takes no mail until its own canary is found.
  void Doubt(core::MonoTime next_canary);
  // How many more requests the connection can take now.
  size_t room() const;
  size_t outstanding() const { return used_; }
  // A PING has been unanswered for long: the scanner reloads its database, or is dead.
  bool stalled() const {
    return session_.ready && session_.ping_id != 0 && loop_.Now() >= session_.ping_sent + stall_time();
  }

  // Takes a request to be sent; the caller has checked room(). Never suspends.
  void Take(Request& request, uint64_t serial);
  // The session no longer needs the request. The body is kept until the scanner no longer needs it either.
  void Release(Request& request, std::shared_ptr<KeptBody> body);
  // Another scanner has answered the request: takes it back if it was not sent yet.
  void Withdraw(Request& request);
  GivenUpScans given_up() const;
  // Whether the scanner has answered a PING that was sent on this session after `then`.
  bool heard_since(core::MonoTime then) const { return session_.heard > then; }
  // Sends a PING soon.
  void AskPing();
  // Whether the session has room for one more message, if its scanner may get one.
  bool has_place() const;
  // The connection takes nothing more, or only after it has opened another session.
  bool ending() const { return !session_.ready || TakesNoMore(); }
  // Lets the session take nothing more.
  void Retire();
  // Closes the session, because a scan cannot be cancelled in any other way, and opens another one. The
  // session's other scans come back without blame.
  void CloseForGivenUp();
  // Calls visit(serial, content) for each scan of a whole message that was handed over before `then` and for
  // which somebody still waits.
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
  // Appends the requests that the connection got before `then`.
  void CollectOlder(core::MonoTime then, std::vector<Request*>& out) const;

 private:
  static constexpr core::Duration kStallMax = std::chrono::seconds(3);
  // The longest pause between two attempts while messages wait.
  static constexpr core::Duration kProbePauseMax = std::chrono::seconds(1);
  static constexpr int kPingsToDeath = 6;            // ping intervals without an answer
  static constexpr uint32_t kIdMax = 1'000'000'000;  // after this number a new session is opened

  enum class SlotState : uint8_t { kFree, kTaken, kSending, kSent };
  struct Slot {
    SlotState state = SlotState::kFree;
    uint32_t id = 0;
    core::MonoTime since;
    uint64_t serial = 0;  // number of this scan in its pool
    core::MonoTime given_up_at = core::kNever;
    Request* request = nullptr;  // null: given up
    core::Body* body = nullptr;
    std::shared_ptr<KeptBody> kept;  // the body of a given-up scan or of a canary
    bool canary = false;             // there is no request
    bool several_readings = false;   // as the request says
    // The message's verdict, while a canary of the message's size is scanned in its place
    // (clamd_connection_size.cc).
    std::optional<Verdict> if_proven;
    core::Body* proof = nullptr;  // that canary
    std::shared_ptr<KeptBody> proof_kept;
    core::Body& scanned() const { return proof != nullptr ? *proof : *body; }
  };

  // Size of images for which no proof is needed even if the scanner's limits are not known: it is below any
  // limit that people set.
  static constexpr uint64_t kBelievedBytes = uint64_t{64} << 10;

  // Reasons for the end of a session.
  enum class EndOfSession : uint8_t {
    kNone,      // not at its end
    kScanner,   // the scanner has closed it, ended it by its words, or is silent
    kRefused,   // the scanner takes no descriptors: its messages are sent again, as content
    kGivenUp,   // closed because of given-up scans
    kFinished,  // takes nothing more, and everything is answered
  };
  // The state of one session; a new session starts with a new one.
  struct Session {
    bool ready = false;             // open; becomes false before the session ends
    bool sends_content = false;     // INSTREAM and not descriptors
    bool may_change_bodies = true;  // the scanner runs as root, as our user, or as an unknown one
    bool uploading = false;         // a scan's content is being sent
    bool useful = false;            // it has answered a scan
    bool retiring = false;          // takes nothing more
    bool over = false;              // no further reply is believed
    EndOfSession end = EndOfSession::kNone;
    std::string end_text = {};  // the reason given for messages that were on it
    int family = 0;             // of the address
    core::MonoTime opened = {};

    uint32_t next_id = 2;  // 1 is the PING that goes with IDSESSION
    uint32_t ping_id = 0;  // of the unanswered PING; 0: none
    bool ping_wanted = false;
    core::MonoTime ping_sent = {};
    core::MonoTime heard = {};  // when the last answered PING was sent

    bool proven = false;        // its last canary was found
    uint32_t canaries_out = 0;  // outstanding on it; more than one if they are not answered
    core::MonoTime canary_due = core::kNever;
    core::MonoTime canary_again = core::kNever;  // the same, while one is outstanding
    // Image sizes if the scanner's limits are not known: canaries were found up to the first size, and missed
    // from the second size on.
    uint64_t proven_bytes = kBelievedBytes;
    uint64_t unproven_bytes = UINT64_MAX;

    // The session ends for a reason that the messages did not cause.
    bool blameless() const {
      return end == EndOfSession::kRefused || end == EndOfSession::kGivenUp || end == EndOfSession::kFinished;
    }
  };

  // The steps of Run(). A step returns false if the session has ended.
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
  // The first reported end counts. After any end except kGivenUp no further reply is believed.
  void End(EndOfSession end, std::string_view text);
  std::string HowItBroke() const;
  void Refused(Slot* slot, std::string_view text);
  void Ping();
  // The scanner's final answer to a scan. It is not used if somebody has changed the body.
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
  bool TakesNoMore() const;  // ends when nothing is outstanding
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
  std::vector<Slot> slots_;  // outstanding_max slots
  size_t used_ = 0;
  Session session_;
  bool running_ = false;
  bool stopping_ = false;
  bool finishing_ = false;
  bool hurry_ = false;
  bool failed_ = false;
  uint32_t canary_silences_ = 0;  // sessions in a row that were closed for silent canaries
  core::Duration backoff_;
  uint64_t random_;
};

}  // namespace bivalve::scan
