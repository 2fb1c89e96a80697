// ClamdPool: one worker's connections to all scanners, and the queue of messages that wait for one. It knows
// messages as bytes. It never fails a message; it says why there is no verdict.
//
// clamd has no "busy" reply and stalls for everyone when its queue is full. Therefore messages wait here: one
// connection has at most `outstanding_max` scans, one scanner has `connections` connections, and the next
// message goes to the least busy scanner that is up.
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
  // Writes the current address to connect to and returns its size, or 0 if it is not known (a name that does
  // not resolve).
  std::function<socklen_t(sockaddr_storage&)> address;
  Method method = Method::kAuto;
  ScannerLimits limits = {};  // of the scanner, as far as they are known
  size_t number = 0;          // the owner's number for it, used by opened() and SetLimits()
  // This pool's share of the scanner's MaxQueue: outstanding scans, and connections. 0: not limited by
  // MaxQueue.
  uint32_t outstanding_max = 0;
  uint32_t connections_max = 0;
};

// Whether a worker gives mail to a scanner. Open: it does not, and tries PING and a canary at growing
// intervals. Half-open: the scanner answers but has not proven itself yet.
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
  kHedges,           // messages that it got because another scanner was slow
  kGivenUpSessions,  // sessions closed to free the places of given-up scans
  kConnections,      // gauges from here
  kInFlight,
  kGivenUp,  // given-up scans that it still runs, as far as is known
  kUp,       // 0 or 1
  kCanary,   // a CanaryState
  kCircuit,  // a Circuit
  kCount
};
struct ScannerStats {
  core::Counters<ScannerCount> counts;
  core::Histogram latency_us;  // from handing over to the reply
  PublishedText version;       // its last answer to VERSION; empty: not known
};

// One message to be scanned. Lives in its session's frame from Submit() until done() or Release().
class Request {
 public:
  // Notifies `wake` when done.
  explicit Request(core::Condition& wake) : wake_(wake) {}
  // The images of this request are several readings of one message, scanned one after the other in the same
  // body. So no second scanner is asked while the first still has one, and none counts as the same content as
  // another message.
  void SetSeveralReadings() { several_readings_ = true; }
  Request(const Request&) = delete;
  ~Request();  // must not be in the pool's hands

  bool done() const { return done_; }
  // Valid once done. After the first call the verdict does not change any more, because the caller acts on
  // it.
  const Verdict& verdict() const {
    acted_on_ = true;
    return verdict_;
  }
  // The scanner that answered, numbered in the order of joining the pool; -1: none.
  int scanner() const { return scanner_; }
  // How the answering scanner got the message: kFildes or kInstream; kAuto: it was not sent to any.
  Method method() const { return method_; }
  // When the request was first handed to a scanner; nullopt: never.
  std::optional<core::MonoTime> handed_at() const { return handed_at_; }
  // Before done: the name of the scanner that has the request now (one of the two if hedged). Empty: it waits
  // in the queue.
  std::string_view held_by() const;

 private:
  friend class ClamdPool;
  friend class ClamdConnection;
  friend class RequestLine;
  core::Condition& wake_;
  core::Body* body_ = nullptr;
  bool several_readings_ = false;
  bool compared_ = false;  // with long scans; waits for one of them, or for the comparison
  bool done_ = false;
  bool waiting_ = false;  // in the queue
  mutable bool acted_on_ = false;
  int attempts_ = 0;      // how often it was handed to a scanner; at most two
  bool hedged_ = false;   // a second scanner was asked while the first still had it
  bool lingers_ = false;  // a scanner whose session has ended may still have the body open
  std::optional<Verdict>
      fallback_;  // one scanner's answer that is no verdict, while another one still has the message
  int scanner_ = -1;
  Method method_ = Method::kAuto;
  std::optional<core::MonoTime> handed_at_;
  int avoid_ = -1;           // the scanner whose connection broke with this message on it
  uint64_t number_ = 0;      // in the order of Submit()
  Request* next_ = nullptr;  // in the queue
  Request* previous_ = nullptr;
  // The connections that have it: two if it is hedged.
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

    // A message that a scanner has had for longer than nearly all others is also given to a second, free
    // scanner. Never earlier than hedge_floor (hedge_default until a scanner's usual time is known), and only
    // for a limited share of the messages.
    bool hedge = true;
    core::Duration hedge_floor = std::chrono::seconds(1);
    core::Duration hedge_default = std::chrono::seconds(5);
    uint32_t hedge_percent = 5;
    uint32_t hedge_burst = 10;

    // A given-up scan holds its place until its session is closed (clamd_pool_given_up.cc). The session is
    // closed after this time: if no place is left and nothing else is on the session; if no place is left,
    // messages wait, and others are on the session; and if places are left.
    core::Duration given_up_alone = std::chrono::seconds(1);
    core::Duration given_up_shared = std::chrono::seconds(3);  // after this, no message waits for it either
    core::Duration given_up_with_room = std::chrono::seconds(30);
    // A canary that is unanswered for this long counts as given up. The time doubles while none is answered,
    // except on every second connection.
    core::Duration canary_patience = std::chrono::seconds(3);
    // How many pools share the threads of each scanner.
    size_t pools = 1;

    // A scan that takes longer is remembered: if the same message is sent again, it waits for that scan.
    core::Duration remember_after = std::chrono::seconds(5);
    core::Duration watch_interval =
        std::chrono::milliseconds(250);  // between two checks of outstanding scans

    core::Duration version_interval = {};  // between two VERSION requests; 0: never

    // The number of waiting messages has changed. May be called from anywhere in the pool; must not suspend.
    std::function<void(size_t waiting)> line_changed = {};

    // A session with this scanner was opened: the scanner may have been restarted, with other limits or as
    // another user (nullopt: not known).
    std::function<void(size_t number, std::optional<uid_t> user)> opened = {};
    // A sentence for the operator. `bad`: he must see it.
    std::function<void(bool bad, std::string text)> say = {};
  };

  // `stats`: one for each scanner, in the same order; they outlive the pool.
  ClamdPool(core::Loop& loop, core::BodyPool& bodies, Options options, std::vector<ScannerStats*> stats);
  ClamdPool(const ClamdPool&) = delete;
  ~ClamdPool();  // Stop() must have been awaited

  // Begins to connect to every scanner. Never suspends.
  void Start();
  // Takes other options while it works. Scanners are compared by name. One that stays continues undisturbed.
  // A new one gets mail when it has proven itself. A removed one gets no more mail, and keeps its connections
  // until it has answered what it has. Of the other options only `connections` and `canary` change. Never
  // suspends.
  void Change(Options options, std::vector<ScannerStats*> stats);
  // Hands a message in. `body` must live and stay unchanged until it is given to Release(). Never suspends.
  // If every scanner is down at that moment, they are tried once more, soon, and the request is done with
  // kDown if none is found. It is done at once if they answer but miss the test virus.
  void Submit(Request& request, core::Body& body);
  // The session no longer needs the request: it has acted on the verdict, or does not want it any more
  // (deadline, client gone). Takes ownership of the body, which a scanner may still be reading, and gives it
  // back to the body pool when no scanner can. Never suspends.
  void Release(Request& request, std::unique_ptr<core::Body> body);
  // Sets this scanner's limits, and `outstanding_max` as in its options. Never suspends.
  void SetLimits(size_t number, const ScannerLimits& limits, uint32_t outstanding_max);
  // Closes everything. Requests still in the pool's hands are done with kDown. Suspends.
  core::Task<void> Stop();

  // True if at least one scanner has answered, is not known to be gone and may get mail (Canary).
  bool up() const;
  size_t waiting() const;  // messages in the queue
  // The scanner of this index as configured. Valid as long as the pool.
  std::string_view scanner_name(int index) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bivalve::scan
