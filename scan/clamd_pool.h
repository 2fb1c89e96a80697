// ClamdPool: one worker's connections to all scanners, and the line in which messages wait for one. Knows
// messages as bytes; never fails a message by itself but by saying why there is no verdict.
//
// clamd has no "busy" reply and stalls for everyone when its queue is full, so the waiting line is here: at
// most `outstanding_max` scans are handed to one connection, `connections` connections are held to one
// scanner, and the least busy scanner that is up gets the next message in line.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/body_pool.h"
#include "core/condition.h"
#include "core/counters.h"
#include "core/histogram.h"
#include "core/loop.h"
#include "core/scope.h"
#include "scan/canary.h"
#include "scan/clamd_conf.h"
#include "scan/published_text.h"
#include "scan/verdict.h"

namespace bivalve::scan {

class ClamdConnection;
class RequestLine;

enum class Method : uint8_t {
  kAuto,  // descriptors on a local socket until the scanner refuses one, INSTREAM otherwise
  kFildes,
  kInstream,
};

struct ScannerOptions {
  std::string name;  // as configured; for logs and statistics
  // Fills in where to connect now and returns the size, 0 when it is not known (a name that does not
  // resolve).
  std::function<socklen_t(sockaddr_storage&)> address;
  Method method = Method::kAuto;
  ScannerLimits limits = {};  // its own, as far as they are known
  size_t number = 0;          // what its owner calls it: for opened() and SetLimits()
  // Of this pool's share of its MaxQueue: scans handed to it, and connections. 0: not bounded by that.
  uint32_t outstanding_max = 0;
  uint32_t connections_max = 0;
};

// Whether a worker gives mail to a scanner. Open: it does not, and looks for it by PING and canary with
// growing pauses. Half-open: the scanner answers and has yet to prove itself.
enum class Circuit : uint8_t { kOpen, kHalfOpen, kClosed };
constexpr std::string_view ToString(Circuit circuit) {
  return circuit == Circuit::kClosed ? "closed" : circuit == Circuit::kHalfOpen ? "half-open" : "open";
}

// One scanner as one worker sees it. Written by the worker, read by others.
enum class ScannerCount : uint8_t {
  kScans,
  kErrors,
  kConnects,
  kSizeProofs,       // canaries as large as messages
  kHedges,           // messages that it got because another scanner took long
  kGivenUpSessions,  // sessions closed to get back the places of scans that were given up
  kConnections,      // gauges from here
  kInFlight,
  kGivenUp,  // scans that were given up and that it still runs, as far as is known
  kUp,       // 0 or 1
  kCanary,   // a CanaryState
  kCircuit,  // a Circuit
  kCount
};
struct ScannerStats {
  core::Counters<ScannerCount> counts;
  core::Histogram latency_us;  // from handing over to the reply
  PublishedText version;       // as it answered VERSION last; empty: not known
};

// One message to be scanned. Lives in its session's frame from Submit() until done() or Release().
class Request {
 public:
  // Notifies `wake` when done.
  explicit Request(core::Condition& wake) : wake_(wake) {}
  // Its images are several readings of one message, scanned one after the other in the same body: so no
  // second scanner is asked while the first still has one, and none is taken for the same as another
  // message's.
  void SetSeveralReadings() { several_readings_ = true; }
  Request(const Request&) = delete;
  ~Request();  // not in the pool's hands

  bool done() const { return done_; }
  // Once done. Whoever has looked acts on it: from then on it stays what it is.
  const Verdict& verdict() const {
    acted_on_ = true;
    return verdict_;
  }
  // The scanner that answered, in order of coming into the pool; -1: none.
  int scanner() const { return scanner_; }
  // How the scanner that answered got the message: kFildes or kInstream; kAuto: it was not sent to any.
  Method method() const { return method_; }
  // When it was first handed to a scanner; nullopt: never.
  std::optional<core::MonoTime> handed_at() const { return handed_at_; }
  // Before that: the name of the scanner that has it now (one of the two, when it is hedged), empty: it waits
  // in line.
  std::string_view held_by() const;

 private:
  friend class ClamdPool;
  friend class ClamdConnection;
  friend class RequestLine;
  core::Condition& wake_;
  core::Body* body_ = nullptr;
  bool several_readings_ = false;
  bool compared_ = false;  // with the scans that take long; waits for one of them, or for the comparison
  bool done_ = false;
  bool waiting_ = false;  // in line
  mutable bool acted_on_ = false;
  int attempts_ = 0;      // handed to a scanner so far; at most two
  bool hedged_ = false;   // a second scanner was asked while the first still had it
  bool lingers_ = false;  // a scanner whose session ended may have the body open still
  std::optional<Verdict>
      fallback_;  // what one scanner said instead of a verdict, while another one has it still
  int scanner_ = -1;
  Method method_ = Method::kAuto;
  std::optional<core::MonoTime> handed_at_;
  int avoid_ = -1;           // the scanner whose connection broke with this message on it
  uint64_t number_ = 0;      // in order of Submit()
  Request* next_ = nullptr;  // in line
  Request* previous_ = nullptr;
  // Those that have it: two when it is hedged.
  std::array<ClamdConnection*, 2> holders_ = {};
  bool held() const { return holders_[0] != nullptr || holders_[1] != nullptr; }
  void AddHolder(ClamdConnection* connection) {
    (holders_[0] == nullptr ? holders_[0] : holders_[1]) = connection;
  }
  void RemoveHolder(const ClamdConnection* connection) {
    (holders_[0] == connection ? holders_[0] : holders_[1]) = nullptr;
  }
  Verdict verdict_;
};

class ClamdPool {
 public:
  struct Options {
    std::vector<ScannerOptions> scanners;
    uint32_t connections = 2;      // to each scanner
    uint32_t outstanding_max = 4;  // scans on one FILDES connection; INSTREAM has one
    core::Duration connect_timeout = std::chrono::seconds(10);
    core::Duration ping_interval = std::chrono::seconds(20);  // below half of clamd's ReadTimeout
    core::Duration retry_min =
        std::chrono::milliseconds(100);  // after a failed connect, doubled up to retry_max
    core::Duration retry_max = std::chrono::seconds(5);

    CanaryMode canary = CanaryMode::kOff;
    core::Duration canary_interval = std::chrono::hours(1);
    core::Duration canary_retry_min =
        std::chrono::seconds(2);  // after a miss, doubled up to canary_retry_max
    core::Duration canary_retry_max = std::chrono::minutes(1);

    // A message that a scanner has had for longer than nearly all others is given to a second one that is
    // free. Never earlier than hedge_floor (hedge_default while a scanner's usual time is not known), and
    // only so many among the messages.
    bool hedge = true;
    core::Duration hedge_floor = std::chrono::seconds(1);
    core::Duration hedge_default = std::chrono::seconds(5);
    uint32_t hedge_percent = 5;
    uint32_t hedge_burst = 10;

    // A scan that was given up holds its place until its session is closed (clamd_pool_given_up.cc). After so
    // long: when there is no place left and nothing else is on the session; when there is none left, messages
    // wait and others are on it; and when there are places left.
    core::Duration given_up_alone = std::chrono::seconds(1);
    core::Duration given_up_shared = std::chrono::seconds(3);  // and then it is no scan to wait for any more
    core::Duration given_up_with_room = std::chrono::seconds(30);
    // A canary that is unanswered for so long counts as given up; doubled while none is answered, but for
    // every second connection.
    core::Duration canary_patience = std::chrono::seconds(3);
    // How many pools share the threads of each scanner.
    size_t pools = 1;

    // A scan that takes longer is remembered: the same message, sent again, waits for it.
    core::Duration remember_after = std::chrono::seconds(5);
    core::Duration watch_interval =
        std::chrono::milliseconds(250);  // between two looks at what is outstanding

    core::Duration version_interval = {};  // between two questions for the version; 0: never asked

    // The number of messages in line has changed. Called from within anything; must not suspend.
    std::function<void(size_t waiting)> line_changed = {};

    // A session with this scanner was opened: it may have been started anew, with other limits, or run as
    // another user (nullopt: not known).
    std::function<void(size_t number, std::optional<uid_t> user)> opened = {};
    // A sentence for the operator. `bad`: something that he must see.
    std::function<void(bool bad, std::string text)> say = {};
  };

  // `stats`: one for each scanner, in the same order; outlive the pool.
  ClamdPool(core::Loop& loop, core::BodyPool& bodies, Options options, std::vector<ScannerStats*> stats);
  ClamdPool(const ClamdPool&) = delete;
  ~ClamdPool();  // Stop() was awaited

  // Begins to connect to every scanner. Never suspends.
  void Start();
  // Takes other options while it works. A scanner that is among the old and the new ones by its name goes on
  // undisturbed, one that is new gets mail when it has proven itself, and one that is gone gets no more and
  // keeps its connections until it has answered for what it has. Of the other options only `connections` and
  // `canary` change. Never suspends.
  void Change(Options options, std::vector<ScannerStats*> stats);
  // Hands a message in. `body` must live and stay unchanged until it is given to Release().
  // Never suspends. When every scanner is down at that moment they are looked for once more, soon, and the
  // request is done with kDown when none is found; at once when they answer but do not find the test virus.
  void Submit(Request& request, core::Body& body);
  // The session has done with the message: it has acted on the verdict, or does not want it any more
  // (deadline, client gone). Takes ownership of the body, which a scanner may still be reading, and gives it
  // back to the body pool when nobody can. Never suspends.
  void Release(Request& request, std::unique_ptr<core::Body> body);
  // What this scanner's limits are from now on, and `outstanding_max` as in its options. Never suspends.
  void SetLimits(size_t number, const ScannerLimits& limits, uint32_t outstanding_max);
  // Closes everything; requests still in the pool's hands become done with kDown. Suspends.
  core::Task<void> Stop();

  // True when at least one scanner has answered, is not known to be gone and may get mail (Canary).
  bool up() const;
  size_t waiting() const;  // messages in line
  // The scanner of this index as configured. Valid as long as the pool.
  std::string_view scanner_name(int index) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bivalve::scan
