// VersionWatch: asks one scanner for its version every few seconds. The version contains the number of the
// signature database, and a client sees a change of the database only by it. Each question uses its own
// connection: in a session a scan's result can land in the middle of a VERSION reply (clamd writes it in two
// pieces).
#pragma once

#include <functional>
#include <string>

#include "core/condition.h"
#include "core/loop.h"
#include "core/stream.h"
#include "core/task.h"
#include "scan/clamd_pool.h"

namespace bivalve::scan {

class VersionWatch {
 public:
  // `reachable`: whether it makes sense to ask now. `changed`: the scanner's version differs from the last
  // one.
  VersionWatch(core::Loop& loop, const ScannerOptions& scanner, ScannerStats& stats, core::Duration interval,
               std::function<bool()> reachable, std::function<void()> changed);
  VersionWatch(const VersionWatch&) = delete;

  // Asks until Stop(). Suspends.
  core::Task<void> Run();
  void Stop();
  bool watches(const ScannerOptions& scanner) const { return &scanner == &scanner_; }
  // Asks now, because a session with the scanner was opened.
  void Hurry();

 private:
  core::Task<void> Ask();
  void Take(std::string_view version);

  core::Loop& loop_;
  const ScannerOptions& scanner_;
  ScannerStats& stats_;
  const core::Duration interval_;
  const std::function<bool()> reachable_;
  const std::function<void()> changed_;
  core::Condition wake_;
  core::Stream stream_;
  std::string version_;
  bool stopping_ = false;
  bool hurry_ = false;
};

}  // namespace bivalve::scan
