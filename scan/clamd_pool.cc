#include "scan/clamd_pool.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/text.h"
#include "scan/clamd_connection.h"

namespace bivalve::scan {

// The messages that wait for a scanner, in order of Submit(). Holds no memory: requests are linked.
class RequestLine {
 public:
  Request* first() const { return first_; }
  static Request* After(const Request& request) { return request.next_; }
  size_t size() const { return size_; }

  // Behind every request that was submitted before it. One that comes back from a broken connection is among
  // the oldest, so that one is searched for from the front, a new one from the back.
  void Insert(Request& request) {
    Request* next = nullptr;
    if (last_ != nullptr && last_->number_ > request.number_) {
      next = first_;
      while (next->number_ < request.number_) next = next->next_;
    }
    request.next_ = next;
    request.previous_ = next != nullptr ? next->previous_ : last_;
    (request.previous_ != nullptr ? request.previous_->next_ : first_) = &request;
    (next != nullptr ? next->previous_ : last_) = &request;
    request.waiting_ = true;
    ++size_;
  }

  void Remove(Request& request) {
    (request.previous_ != nullptr ? request.previous_->next_ : first_) = request.next_;
    (request.next_ != nullptr ? request.next_->previous_ : last_) = request.previous_;
    request.next_ = request.previous_ = nullptr;
    request.waiting_ = false;
    --size_;
  }

 private:
  Request* first_ = nullptr;
  Request* last_ = nullptr;
  size_t size_ = 0;
};

class ClamdPool::Impl final : public ConnectionOwner {
 public:
  Impl(core::Loop& loop, core::BodyPool& bodies, Options options, const std::vector<ScannerStats*>& stats);
  ~Impl() { BV_CHECK(line_.size() == 0); }

  void Start();
  void Submit(Request& request, core::Body& body);
  void Abandon(Request& request, std::unique_ptr<core::Body> body);
  core::Task<void> Stop();
  bool up() const;
  size_t waiting() const { return line_.size(); }

 private:
  void OnChange() override { Dispatch(); }
  void OnOpened(Scanner& scanner, ClamdConnection& connection) override;
  void OnFailed(Scanner& scanner) override;
  void OnRefused(Scanner& scanner) override;
  void OnReturned(Request& request) override;

  void Dispatch();
  ClamdConnection* Choose(const Request& request);
  void Answer(Request& request, NoVerdict cause, std::string text);
  void AnswerDown(Request& request);

  core::BodyPool& bodies_;
  const Options options_;
  std::vector<std::unique_ptr<Scanner>> scanners_;
  core::Scope scope_;
  RequestLine line_;
  uint64_t submitted_ = 0;
  size_t turn_ = 0;  // which scanner is first among equals
  bool stopping_ = false;
};

ClamdPool::Impl::Impl(core::Loop& loop, core::BodyPool& bodies, Options options,
                      const std::vector<ScannerStats*>& stats)
    : bodies_(bodies), options_(std::move(options)), scope_(loop) {
  BV_CHECK(stats.size() == options_.scanners.size() && options_.connections > 0 &&
           options_.outstanding_max > 0);
  for (size_t i = 0; i < stats.size(); ++i) {
    scanners_.push_back(std::make_unique<Scanner>(static_cast<int>(i), options_.scanners[i], *stats[i]));
    Scanner& scanner = *scanners_.back();
    for (size_t k = 0; k < options_.connections; ++k) {
      scanner.connections.push_back(
          std::make_unique<ClamdConnection>(loop, bodies, options_, scanner, *this, k));
    }
  }
}

void ClamdPool::Impl::Start() {
  for (const auto& scanner : scanners_) {
    for (const auto& connection : scanner->connections) scope_.Spawn(connection->Run());
  }
}

void ClamdPool::Impl::Submit(Request& request, core::Body& body) {
  BV_CHECK(!request.waiting_ && request.connection_ == nullptr);
  request.body_ = &body;
  request.done_ = false;
  request.attempts_ = 0;
  request.scanner_ = request.avoid_ = -1;
  request.number_ = submitted_++;
  const bool down = std::all_of(scanners_.begin(), scanners_.end(), [](const auto& s) { return s->down(); });
  if (stopping_ || down) {
    AnswerDown(request);
    return;
  }
  line_.Insert(request);
  Dispatch();
}

void ClamdPool::Impl::Abandon(Request& request, std::unique_ptr<core::Body> body) {
  if (request.connection_ != nullptr) {
    request.connection_->Abandon(request, std::move(body));
    return;
  }
  if (request.waiting_) line_.Remove(request);
  bodies_.Release(std::move(body));
}

core::Task<void> ClamdPool::Impl::Stop() {
  stopping_ = true;
  while (Request* request = line_.first()) {
    line_.Remove(*request);
    AnswerDown(*request);
  }
  for (const auto& scanner : scanners_) {
    for (const auto& connection : scanner->connections) connection->Stop();
  }
  co_await scope_.Join();
  for (const auto& scanner : scanners_) scanner->stats.counts.Set(ScannerCount::kUp, 0);
}

bool ClamdPool::Impl::up() const {
  return std::any_of(scanners_.begin(), scanners_.end(), [](const auto& s) { return s->answered; });
}

void ClamdPool::Impl::OnOpened(Scanner& scanner, ClamdConnection& connection) {
  scanner.answered = true;
  scanner.stats.counts.Set(ScannerCount::kUp, 1);
  for (const auto& other : scanner.connections) {
    if (other.get() != &connection && other->failed()) other->Hurry();
  }
}

void ClamdPool::Impl::OnFailed(Scanner& scanner) {
  if (!scanner.down()) return;
  scanner.answered = false;
  // Started again, it may take descriptors.
  scanner.refuses_descriptors = scanner.descriptors_proven = false;
  scanner.stats.counts.Set(ScannerCount::kUp, 0);
  if (!std::all_of(scanners_.begin(), scanners_.end(), [](const auto& s) { return s->down(); })) return;
  while (Request* request = line_.first()) {
    line_.Remove(*request);
    AnswerDown(*request);
  }
}

void ClamdPool::Impl::OnRefused(Scanner& scanner) {
  for (const auto& connection : scanner.connections) connection->Hurry();
}

void ClamdPool::Impl::OnReturned(Request& request) {
  if (stopping_) {
    AnswerDown(request);
  } else if (request.attempts_ >= 2) {
    Answer(request, NoVerdict::kError, "two connections to scanners ended while this message was scanned");
  } else {
    line_.Insert(request);
    Dispatch();
  }
}

void ClamdPool::Impl::Dispatch() {
  Request* request = line_.first();
  while (request != nullptr) {
    Request* next = RequestLine::After(*request);
    if (ClamdConnection* connection = Choose(*request); connection != nullptr) {
      line_.Remove(*request);
      connection->Take(*request);
    } else if (request->avoid_ < 0) {
      // Nobody behind it can be served either: one that avoids a scanner has less to choose from.
      return;
    }
    request = next;
  }
}

// The least busy scanner that is up. One that is stalled, or whose connection broke with this message on it,
// gets the message only when no other one is up, not already when the others are busy: they are done sooner.
ClamdConnection* ClamdPool::Impl::Choose(const Request& request) {
  struct Choice {
    ClamdConnection* connection = nullptr;
    int reserve = 3;  // 0: healthy, 1: the one to avoid, 2: stalled
    uint32_t in_flight = 0;
  } best;
  ++turn_;
  for (size_t i = 0; i < scanners_.size(); ++i) {
    const Scanner& scanner = *scanners_[(turn_ + i) % scanners_.size()];
    bool open = false;
    bool stalled = false;
    ClamdConnection* idlest = nullptr;
    for (const auto& connection : scanner.connections) {
      open = open || connection->ready();
      stalled = stalled || connection->stalled();
      if (connection->room() == 0) continue;
      if (idlest == nullptr || connection->outstanding() < idlest->outstanding()) idlest = connection.get();
    }
    if (!open) continue;
    const int reserve = stalled ? 2 : scanner.index == request.avoid_ ? 1 : 0;
    const bool better = best.reserve != reserve ? reserve < best.reserve
                        : idlest == nullptr
                            ? false
                            : best.connection == nullptr || scanner.in_flight < best.in_flight;
    if (better) best = {idlest, reserve, scanner.in_flight};
  }
  return best.connection;
}

void ClamdPool::Impl::AnswerDown(Request& request) {
  std::string text = stopping_ ? "the filter is stopping" : "no scanner answers";
  if (!stopping_) {
    for (const auto& scanner : scanners_) {
      core::Append(text, scanner->index == 0 ? ": " : "; ", scanner->options.name, ": ",
                   scanner->last_failure);
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

Request::~Request() { BV_CHECK(!waiting_ && connection_ == nullptr); }

ClamdPool::ClamdPool(core::Loop& loop, core::BodyPool& bodies, Options options,
                     std::vector<ScannerStats*> stats)
    : impl_(std::make_unique<Impl>(loop, bodies, std::move(options), stats)) {}
ClamdPool::~ClamdPool() = default;

void ClamdPool::Start() { impl_->Start(); }
void ClamdPool::Submit(Request& request, core::Body& body) { impl_->Submit(request, body); }
void ClamdPool::Abandon(Request& request, std::unique_ptr<core::Body> body) {
  impl_->Abandon(request, std::move(body));
}
core::Task<void> ClamdPool::Stop() { return impl_->Stop(); }
bool ClamdPool::up() const { return impl_->up(); }
size_t ClamdPool::waiting() const { return impl_->waiting(); }

}  // namespace bivalve::scan
