// The inside of ClamdPool, in three files: clamd_pool.cc has the scanners, the queue and the verdicts;
// clamd_pool_late.cc handles scans that take long; clamd_pool_given_up.cc handles scans that nobody waits for
// any more. No other file includes this.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "core/condition.h"
#include "core/scope.h"
#include "scan/clamd_connection.h"
#include "scan/clamd_pool.h"
#include "scan/long_scans.h"
#include "scan/request_line.h"
#include "scan/version_watch.h"

namespace bivalve::scan {

class ClamdPool::Impl final : public ConnectionOwner {
 public:
  Impl(core::Loop& loop, core::BodyPool& bodies, Options options, const std::vector<ScannerStats*>& stats);
  ~Impl() { BV_CHECK(line_.size() == 0); }

  void Start();
  void Change(Options options, const std::vector<ScannerStats*>& stats);
  void SetLimits(size_t number, const ScannerLimits& limits, uint32_t outstanding_max) {
    for (const auto& scanner : scanners_) {
      if (scanner->options.number != number) continue;
      scanner->limits = limits;
      scanner->outstanding_max = outstanding_max;
      scanner->given_up_max = ShareOfThreads(limits, options_.pools);
    }
    Dispatch();
  }
  void Submit(Request& request, core::Body& body);
  void Release(Request& request, std::unique_ptr<core::Body> body);
  core::Task<void> Stop();
  bool up() const;
  size_t waiting() const { return line_.size(); }
  std::string_view scanner_name(int index) const { return names_[static_cast<size_t>(index)]; }

 private:
  void OnChange() override;
  void OnOpened(Scanner& scanner, ClamdConnection& connection) override;
  void OnFailed(Scanner& scanner) override;
  void OnCanary(Scanner& scanner, CanaryState state, std::string_view text) override;
  void OnRefused(Scanner& scanner) override;
  void OnAnswer(Scanner& scanner, Request& request, Verdict verdict) override;
  void OnGivenUp(Scanner& scanner, const GivenUpScans& scans) override;
  void OnScanEnded(Scanner& scanner, uint64_t serial, const Verdict* verdict, bool blameless) override;
  void OnReturned(Request& request, std::string_view why) override;

  std::unique_ptr<Scanner> MakeScanner(const ScannerOptions& options, ScannerStats& stats);
  void Begin(Scanner& scanner);
  size_t ConnectionsOf(const Scanner& scanner) const;
  void SetConnections(Scanner& scanner);
  void Remove(std::unique_ptr<Scanner> scanner);
  void CanaryModeChanged(Scanner& scanner);
  core::Task<void> RunConnection(Scanner& scanner, ClamdConnection& connection);
  core::Task<void> RunVersionWatch(Scanner& scanner, VersionWatch& watch);
  void Ended(Scanner& scanner);
  VersionWatch* VersionWatchOf(const Scanner& scanner) const;

  void Dispatch();
  ClamdConnection* Choose(const Request& request);
  core::Task<void> WatchScans();
  bool SomethingToWatch() const;
  void EndGivenUp(Scanner& scanner);
  enum class GivenUpStep : uint8_t { kNone, kRetire, kClose, kCloseShared };
  GivenUpStep NextStep(const Scanner& scanner, const ClamdConnection& connection,
                       const GivenUpScans& scans) const;
  static void ForgetLeftBehind(Scanner& scanner, core::MonoTime until);
  void HedgeLate(const Scanner& scanner);
  void RememberLong(const Scanner& scanner);
  bool MayHedge(const Request& request) const;
  ClamdConnection* ChooseSecond(const Request& request);
  void Hand(Request& request, ClamdConnection& connection);
  void Answer(Request& request, NoVerdict cause, std::string text);
  void AnswerDown(Request& request);
  void AnswerAllDown();
  bool Hopeless() const;
  bool ProbeDown();
  void Say(bool bad, std::string text) const;
  void SetUp(Scanner& scanner, bool up);
  static void SetCircuit(Scanner& scanner, Circuit circuit);
  void SetCanary(Scanner& scanner, CanaryState state);

  core::BodyPool& bodies_;
  Options options_;
  std::vector<std::unique_ptr<Scanner>> scanners_;
  std::vector<std::unique_ptr<Scanner>> removed_;  // they still have messages, or are closing
  std::deque<std::string> names_;                  // of all scanners so far, by index
  bool started_ = false;
  std::vector<std::unique_ptr<VersionWatch>> versions_;
  core::Scope scope_;
  RequestLine line_;
  uint64_t submitted_ = 0;
  uint64_t hedged_ = 0;
  uint64_t scans_ = 0;  // handed over
  LongScans long_scans_;
  core::Loop& loop_;
  core::Condition watch_wake_;
  bool watch_idle_ = false;  // waits until there is something to watch
  size_t turn_ = 0;          // which scanner comes first among equals
  bool stopping_ = false;
};

}  // namespace bivalve::scan
