#include "scan/clamd_pool.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/text.h"
#include "scan/clamd_pool_impl.h"
#include "scan/scan_image.h"

namespace bivalve::scan {

ClamdPool::Impl::Impl(core::Loop& loop, core::BodyPool& bodies, Options options,
                      const std::vector<ScannerStats*>& stats)
    : bodies_(bodies),
      options_(std::move(options)),
      scope_(loop),
      line_(options_.line_changed),
      loop_(loop),
      watch_wake_(loop) {
  BV_CHECK(stats.size() == options_.scanners.size() && options_.connections > 0 &&
           options_.outstanding_max > 0);
  for (size_t i = 0; i < stats.size(); ++i) scanners_.push_back(MakeScanner(options_.scanners[i], *stats[i]));
}

std::unique_ptr<Scanner> ClamdPool::Impl::MakeScanner(const ScannerOptions& options, ScannerStats& stats) {
  auto made = std::make_unique<Scanner>(static_cast<int>(names_.size()), options, stats);
  names_.push_back(options.name);
  Scanner& scanner = *made;
  scanner.given_up_max = ShareOfThreads(scanner.limits, options_.pools);
  for (size_t k = 0; k < ConnectionsOf(scanner); ++k) {
    scanner.connections.push_back(
        std::make_unique<ClamdConnection>(loop_, bodies_, options_, scanner, *this, k));
  }
  SetCanary(scanner, options_.canary != CanaryMode::kOff ? CanaryState::kPending : CanaryState::kOff);
  if (options_.version_interval.count() == 0) return made;
  versions_.push_back(std::make_unique<VersionWatch>(
      loop_, scanner.options, scanner.stats, options_.version_interval,
      [&scanner] {
        return std::any_of(scanner.connections.begin(), scanner.connections.end(),
                           [](const auto& c) { return c->ready() && !c->stalled(); });
      },
      [this, &scanner] {
        if (options_.canary == CanaryMode::kOff) return;
        for (const auto& connection : scanner.connections) {
          if (connection->ready()) connection->WantCanary(loop_.Now());
        }
      }));
  return made;
}

void ClamdPool::Impl::Start() {
  started_ = true;
  for (const auto& scanner : scanners_) Begin(*scanner);
  scope_.Spawn(WatchScans());
}

void ClamdPool::Impl::Begin(Scanner& scanner) {
  for (const auto& connection : scanner.connections) scope_.Spawn(RunConnection(scanner, *connection));
  if (VersionWatch* watch = VersionWatchOf(scanner); watch != nullptr) {
    scope_.Spawn(RunVersionWatch(scanner, *watch));
    ++scanner.tasks;
  }
  scanner.tasks += scanner.connections.size();
}

void ClamdPool::Impl::Change(Options options, const std::vector<ScannerStats*>& stats) {
  BV_CHECK(started_ && stats.size() == options.scanners.size() && options.connections > 0);
  if (stopping_) return;
  const bool canary_changed = options_.canary != options.canary;
  options_.canary = options.canary;
  options_.connections = options.connections;
  options_.scanners = std::move(options.scanners);
  std::vector<std::unique_ptr<Scanner>> before = std::move(scanners_);
  scanners_.clear();
  for (size_t i = 0; i < stats.size(); ++i) {
    const ScannerOptions& wanted = options_.scanners[i];
    const auto same = std::find_if(before.begin(), before.end(), [&wanted](const auto& s) {
      return s != nullptr && s->options.name == wanted.name;
    });
    if (same == before.end()) {
      scanners_.push_back(MakeScanner(wanted, *stats[i]));
      Begin(*scanners_.back());
      continue;
    }
    scanners_.push_back(std::move(*same));
    Scanner& scanner = *scanners_.back();
    const bool other_method = scanner.options.method != wanted.method;
    scanner.options = wanted;
    scanner.limits = wanted.limits;
    scanner.outstanding_max = wanted.outstanding_max;
    scanner.given_up_max = ShareOfThreads(scanner.limits, options_.pools);
    if (other_method)
      scanner.refuses_descriptors = scanner.descriptors_proven = scanner.takes_no_descriptors = false;
    SetConnections(scanner);
    if (canary_changed) CanaryModeChanged(scanner);
    // Sessions that use the other method end as soon as nothing is outstanding on them.
    if (other_method) OnRefused(scanner);
  }
  for (auto& scanner : before) {
    if (scanner != nullptr) Remove(std::move(scanner));
  }
  if (Hopeless()) AnswerAllDown();
  Dispatch();
}

size_t ClamdPool::Impl::ConnectionsOf(const Scanner& scanner) const {
  const uint32_t most = scanner.options.connections_max;
  return most == 0 ? options_.connections : std::min(options_.connections, most);
}

// Makes as many connections as the options say, not counting those that are ending. The first one stays,
// because it is the one that tries to reach a scanner that is down.
void ClamdPool::Impl::SetConnections(Scanner& scanner) {
  const size_t wanted = ConnectionsOf(scanner);
  size_t staying = 0;
  for (const auto& connection : scanner.connections) {
    if (connection->finishing()) continue;
    if (staying < wanted) {
      ++staying;
    } else {
      connection->Finish();
    }
  }
  for (; staying < wanted; ++staying) {
    scanner.connections.push_back(
        std::make_unique<ClamdConnection>(loop_, bodies_, options_, scanner, *this, staying));
    scope_.Spawn(RunConnection(scanner, *scanner.connections.back()));
    ++scanner.tasks;
  }
}

void ClamdPool::Impl::Remove(std::unique_ptr<Scanner> scanner) {
  SetUp(*scanner, false);
  SetCanary(*scanner, CanaryState::kOff);
  ForgetLeftBehind(*scanner, core::kNever);
  scanner->removed = true;
  for (const auto& connection : scanner->connections) connection->Finish();
  if (VersionWatch* watch = VersionWatchOf(*scanner); watch != nullptr) watch->Stop();
  removed_.push_back(std::move(scanner));
}

// With `on`, mail waits until the scanner has proven itself. Otherwise a scanner that answers gets mail.
void ClamdPool::Impl::CanaryModeChanged(Scanner& scanner) {
  const bool ready = std::any_of(scanner.connections.begin(), scanner.connections.end(),
                                 [](const auto& c) { return c->ready() && !c->finishing(); });
  const bool proven = std::any_of(scanner.connections.begin(), scanner.connections.end(),
                                  [](const auto& c) { return c->proven() && !c->finishing(); });
  if (options_.canary == CanaryMode::kOff) {
    SetCanary(scanner, CanaryState::kOff);
  } else if (proven) {
    SetCanary(scanner, CanaryState::kFound);
  } else if (!scanner.failed_canary()) {
    SetCanary(scanner, CanaryState::kPending);
  }
  SetUp(scanner, ready && (proven || options_.canary != CanaryMode::kOn));
  if (ready && !scanner.answered && !scanner.failed_canary()) SetCircuit(scanner, Circuit::kHalfOpen);
  for (const auto& connection : scanner.connections) connection->CanaryModeChanged();
}

core::Task<void> ClamdPool::Impl::RunConnection(Scanner& scanner, ClamdConnection& connection) {
  co_await connection.Run();
  // A removed scanner keeps its connection objects to the end, because they refer to each other.
  if (!stopping_ && !scanner.removed) {
    std::erase_if(scanner.connections, [&connection](const auto& c) { return c.get() == &connection; });
  }
  Ended(scanner);
}

core::Task<void> ClamdPool::Impl::RunVersionWatch(Scanner& scanner, VersionWatch& watch) {
  co_await watch.Run();
  Ended(scanner);
}

void ClamdPool::Impl::Ended(Scanner& scanner) {
  if (--scanner.tasks > 0 || !scanner.removed) return;
  std::erase_if(versions_, [&scanner](const auto& v) { return v->watches(scanner.options); });
  std::erase_if(removed_, [&scanner](const auto& s) { return s.get() == &scanner; });
}

VersionWatch* ClamdPool::Impl::VersionWatchOf(const Scanner& scanner) const {
  for (const auto& version : versions_) {
    if (version->watches(scanner.options)) return version.get();
  }
  return nullptr;
}

void ClamdPool::Impl::Submit(Request& request, core::Body& body) {
  BV_CHECK(!request.waiting_ && !request.held());
  // The next reading of a message uses the same body.
  if (std::exchange(request.body_, &body) != &body) request.lingers_ = false;
  request.done_ = request.acted_on_ = request.hedged_ = request.compared_ = false;
  request.fallback_.reset();
  request.attempts_ = 0;
  request.scanner_ = request.avoid_ = -1;
  request.method_ = Method::kAuto;
  request.handed_at_.reset();
  request.number_ = submitted_++;
  if (stopping_ || (Hopeless() && !ProbeDown())) {
    AnswerDown(request);
    return;
  }
  if (!request.several_readings_ && long_scans_.MayKnow(body.content())) {
    request.compared_ = true;
    long_scans_.Compare(request, body.content());
    watch_wake_.Notify();
    return;
  }
  line_.Insert(request);
  Dispatch();
}

void ClamdPool::Impl::Release(Request& request, std::unique_ptr<core::Body> body) {
  if (request.waiting_) line_.Remove(request);
  if (std::exchange(request.compared_, false)) long_scans_.Forget(request);
  request.body_ = nullptr;
  const bool lingers = std::exchange(request.lingers_, false);
  if (!request.held()) {
    lingers ? bodies_.Discard(std::move(body)) : bodies_.Release(std::move(body));
    return;
  }
  const auto kept = std::make_shared<KeptBody>(bodies_, std::move(body));
  if (lingers) kept->Discard();
  for (ClamdConnection* holder : std::array(request.holders_)) {
    if (holder != nullptr) holder->Release(request, kept);
  }
}

core::Task<void> ClamdPool::Impl::Stop() {
  stopping_ = true;
  AnswerAllDown();
  for (Request* request : long_scans_.ForgetAll()) {
    request->compared_ = false;
    AnswerDown(*request);
  }
  for (const auto& version : versions_) version->Stop();
  watch_wake_.Notify();
  for (const auto* scanners : {&scanners_, &removed_}) {
    for (const auto& scanner : *scanners) {
      for (const auto& connection : scanner->connections) connection->Stop();
    }
  }
  co_await scope_.Join();
  for (const auto& scanner : scanners_) {
    SetUp(*scanner, false);
    ForgetLeftBehind(*scanner, core::kNever);
  }
}

bool ClamdPool::Impl::up() const {
  return std::any_of(scanners_.begin(), scanners_.end(), [](const auto& s) { return s->answered; });
}

void ClamdPool::Impl::OnOpened(Scanner& scanner, ClamdConnection& connection) {
  if (scanner.removed) return;
  if (options_.opened) options_.opened(scanner.options.number, connection.peer_user());
  if (options_.canary != CanaryMode::kOn) SetUp(scanner, true);
  const bool proven = std::any_of(scanner.connections.begin(), scanner.connections.end(),
                                  [](const auto& c) { return c->proven(); });
  if (options_.canary != CanaryMode::kOff && !proven) {
    SetCanary(scanner, CanaryState::kPending);
    if (options_.canary == CanaryMode::kOn) SetCircuit(scanner, Circuit::kHalfOpen);
  }
  if (VersionWatch* watch = VersionWatchOf(scanner); watch != nullptr) watch->Hurry();
  for (const auto& other : scanner.connections) {
    if (other.get() != &connection && other->failed()) other->Hurry();
  }
}

void ClamdPool::Impl::OnFailed(Scanner& scanner) {
  if (scanner.removed || !scanner.down()) return;
  SetUp(scanner, false);
  if (options_.canary != CanaryMode::kOff) SetCanary(scanner, CanaryState::kPending);
  ForgetLeftBehind(scanner, core::kNever);
  // After a restart the scanner may take descriptors.
  scanner.refuses_descriptors = scanner.descriptors_proven = scanner.takes_no_descriptors = false;
  scanner.wanted = false;
  if (Hopeless()) AnswerAllDown();
}

void ClamdPool::Impl::OnCanary(Scanner& scanner, CanaryState state, std::string_view text) {
  if (scanner.removed || options_.canary == CanaryMode::kOff) return;
  const bool news = scanner.canary != state;
  const bool after_failure = scanner.failed_canary();
  SetCanary(scanner, state);
  if (state == CanaryState::kFound) {
    SetUp(scanner, true);
    // The scanner's other sessions need not wait for the end of their pause.
    for (const auto& connection : scanner.connections) {
      if (after_failure && connection->ready() && !connection->proven()) connection->WantCanary({});
    }
    if (news && after_failure)
      Say(false, core::Cat("scanner ", scanner.options.name, " finds the test virus again"));
    return;
  }
  scanner.last_failure = state == CanaryState::kMissed
                             ? std::string("it does not find the test virus (Canary)")
                             : core::Cat("it cannot scan the test virus (Canary): ", text);
  const bool on = options_.canary == CanaryMode::kOn;
  if (on) SetUp(scanner, false);
  if (news) {
    Say(true,
        core::Cat(
            "SCANNER UNUSABLE: ", scanner.options.name, ": ", scanner.last_failure,
            on ? "; it gets no mail until it does. " : "; its word is taken all the same (Canary: warn). ",
            scanner.takes_no_descriptors
                ? "What to do: set ClamMethod to auto or instream"
                : "What to do: see that its signature database is complete (freshclam, DatabaseDirectory in "
                  "clamd.conf), that ScanMail is on and that no limit in clamd.conf is tiny"));
  }
  if (Hopeless()) AnswerAllDown();
}

void ClamdPool::Impl::Say(bool bad, std::string text) const {
  if (options_.say) options_.say(bad, std::move(text));
}

// Whether waiting for any scanner would not help.
bool ClamdPool::Impl::Hopeless() const {
  return std::all_of(scanners_.begin(), scanners_.end(),
                     [this](const auto& s) { return !s->wanted && s->gone(options_.canary, loop_.Now()); });
}

// For a message that comes while no scanner answers: tries the scanners that are down now and not at the end
// of their pause, because one may just have been started. Returns whether there is one to try.
bool ClamdPool::Impl::ProbeDown() {
  bool any = false;
  for (const auto& scanner : scanners_) {
    if (!scanner->down()) continue;
    scanner->wanted = any = true;
    scanner->connections.front()->Probe();
  }
  return any;
}

void ClamdPool::Impl::SetUp(Scanner& scanner, bool up) {
  scanner.answered = up;
  scanner.stats.counts.Set(ScannerCount::kUp, up ? 1 : 0);
  SetCircuit(scanner, up ? Circuit::kClosed : Circuit::kOpen);
}

void ClamdPool::Impl::SetCircuit(Scanner& scanner, Circuit circuit) {
  scanner.stats.counts.Set(ScannerCount::kCircuit, static_cast<uint64_t>(circuit));
}

void ClamdPool::Impl::SetCanary(Scanner& scanner, CanaryState state) {
  scanner.canary = state;
  scanner.stats.counts.Set(ScannerCount::kCanary, static_cast<uint64_t>(state));
}

void ClamdPool::Impl::AnswerAllDown() {
  while (Request* request = line_.first()) {
    line_.Remove(*request);
    AnswerDown(*request);
  }
}

void ClamdPool::Impl::OnRefused(Scanner& scanner) {
  for (const auto& connection : scanner.connections) connection->Hurry();
}

// The first verdict counts. An error or a limit counts only if no other scanner still has the message. An
// infected answer replaces an earlier clean one until the session has read the verdict.
void ClamdPool::Impl::OnAnswer(Scanner& scanner, Request& request, Verdict verdict) {
  const bool infected = verdict.kind == VerdictKind::kInfected;
  if (request.done_) {
    if (!infected || request.verdict_.kind == VerdictKind::kInfected) return;
    if (request.acted_on_) {
      Say(true, core::Cat("scanner ", scanner.options.name,
                          " has found a virus in a message that another scanner had answered "
                          "for before (body ",
                          request.body_->number(), ")"));
      return;
    }
  } else if (verdict.kind == VerdictKind::kNone && request.held()) {
    request.fallback_ = std::move(verdict);
    return;
  }
  request.verdict_ = std::move(verdict);
  request.scanner_ = scanner.index;
  request.done_ = true;
  request.wake_.Notify();
  for (ClamdConnection* holder : std::array(request.holders_)) {
    if (holder != nullptr) holder->Withdraw(request);
  }
}

void ClamdPool::Impl::OnReturned(Request& request, std::string_view why) {
  if (request.done_ || request.held()) return;  // the other scanner has answered, or will
  if (request.fallback_.has_value()) {
    Answer(request, request.fallback_->cause, request.fallback_->text);
  } else if (stopping_) {
    AnswerDown(request);
  } else if (request.attempts_ >= 2) {
    Answer(
        request, NoVerdict::kError,
        core::Cat("two connections to scanners ended while this message was scanned; the last one, ", why));
  } else {
    line_.Insert(request);
    Dispatch();
  }
}

void ClamdPool::Impl::OnChange() {
  Dispatch();
  if (watch_idle_ && SomethingToWatch()) watch_wake_.Notify();
}

void ClamdPool::Impl::Dispatch() {
  Request* request = line_.first();
  while (request != nullptr) {
    Request* next = RequestLine::After(*request);
    if (ClamdConnection* connection = Choose(*request); connection != nullptr) {
      line_.Remove(*request);
      Hand(*request, *connection);
    } else if (request->avoid_ < 0) {
      // The messages behind it cannot be served either: only a message that avoids a scanner has fewer to
      // choose from.
      return;
    }
    request = next;
  }
}

// The least busy scanner that is up. A scanner that is stalled, exhausted by given-up scans, or whose
// connection broke with this message on it gets the message only if no other scanner is up. If the others are
// only busy, the message waits for them, because that is faster.
ClamdConnection* ClamdPool::Impl::Choose(const Request& request) {
  struct Choice {
    ClamdConnection* connection = nullptr;
    int reserve = 3;  // 0: healthy, 1: exhausted or the one to avoid, 2: stalled
    uint32_t in_flight = 0;
  } best;
  ++turn_;
  for (size_t i = 0; i < scanners_.size(); ++i) {
    const Scanner& scanner = *scanners_[(turn_ + i) % scanners_.size()];
    bool open = false;
    bool stalled = false;
    ClamdConnection* idlest = nullptr;
    for (const auto& connection : scanner.connections) {
      open = open || connection->usable();
      stalled = stalled || connection->stalled();
      if (connection->room() == 0) continue;
      if (idlest == nullptr || connection->outstanding() < idlest->outstanding()) idlest = connection.get();
    }
    if (!open) continue;
    const int reserve = stalled ? 2 : scanner.index == request.avoid_ || scanner.exhausted() ? 1 : 0;
    const bool better = best.reserve != reserve ? reserve < best.reserve
                        : idlest == nullptr
                            ? false
                            : best.connection == nullptr || scanner.in_flight < best.in_flight;
    if (better) best = {idlest, reserve, scanner.in_flight};
  }
  return best.connection;
}

void ClamdPool::Impl::Hand(Request& request, ClamdConnection& connection) {
  if (!request.handed_at_.has_value()) request.handed_at_ = loop_.Now();
  connection.Take(request, ++scans_);
  if (watch_idle_) watch_wake_.Notify();
}

void ClamdPool::Impl::AnswerDown(Request& request) {
  std::string text = stopping_ ? "the filter is stopping" : "no scanner answers";
  if (!stopping_) {
    std::string_view before = ": ";
    for (const auto& scanner : scanners_) {
      core::Append(text, std::exchange(before, "; "), scanner->options.name, ": ", scanner->last_failure);
    }
  }
  Answer(request, NoVerdict::kDown, std::move(text));
}

void ClamdPool::Impl::Answer(Request& request, NoVerdict cause, std::string text) {
  request.verdict_.kind = VerdictKind::kNone;
  request.verdict_.cause = cause;
  request.verdict_.text = std::move(text);
  request.done_ = true;
  request.wake_.Notify();
}

// --- The public face.

std::string_view Request::held_by() const {
  for (const ClamdConnection* holder : holders_) {
    if (holder != nullptr) return holder->scanner().options.name;
  }
  return {};
}

Request::~Request() { BV_CHECK(!waiting_ && !held()); }

ClamdPool::ClamdPool(core::Loop& loop, core::BodyPool& bodies, Options options,
                     std::vector<ScannerStats*> stats)
    : impl_(std::make_unique<Impl>(loop, bodies, std::move(options), stats)) {
  BV_CHECK(bodies.front() == Front());
}
ClamdPool::~ClamdPool() = default;

void ClamdPool::SetLimits(size_t number, const ScannerLimits& limits, uint32_t outstanding_max) {
  impl_->SetLimits(number, limits, outstanding_max);
}

void ClamdPool::Start() { impl_->Start(); }
void ClamdPool::Change(Options options, std::vector<ScannerStats*> stats) {
  impl_->Change(std::move(options), stats);
}
void ClamdPool::Submit(Request& request, core::Body& body) { impl_->Submit(request, body); }
void ClamdPool::Release(Request& request, std::unique_ptr<core::Body> body) {
  impl_->Release(request, std::move(body));
}
core::Task<void> ClamdPool::Stop() { return impl_->Stop(); }
bool ClamdPool::up() const { return impl_->up(); }
size_t ClamdPool::waiting() const { return impl_->waiting(); }

std::string_view ClamdPool::scanner_name(int index) const { return impl_->scanner_name(index); }

}  // namespace bivalve::scan
