// LimitsReader: reads a scanner's limits from its clamd.conf again after a worker has opened a session with
// it, because clamd may have been restarted with other limits. Reading blocks, so the reader has a thread of
// its own.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>

#include "scan/clamd_conf.h"

namespace bivalve::appliance {

class LimitsReader {
 public:
  using Read = std::function<scan::ScannerLimits(size_t scanner)>;
  using Found = std::function<void(size_t scanner, const scan::ScannerLimits& limits)>;

  // Both are called on the reader's thread.
  LimitsReader(size_t scanners, Read read, Found found);
  // Any thread: the number of scanners from now on. It never shrinks.
  void set_scanners(size_t scanners) { scanners_ = scanners; }
  LimitsReader(const LimitsReader&) = delete;
  ~LimitsReader();  // Ask() must not be called any more

  // Requests made before Start() are served now.
  void Start();
  // Any thread. Takes no lock and waits for nothing.
  void Ask(size_t scanner);

 private:
  static constexpr unsigned kStopBit = 63;

  void Run();

  std::atomic<size_t> scanners_;
  const Read read_;
  const Found found_;
  std::atomic<uint64_t> wanted_ = 0;  // a bit for each scanner; with more than 63 some share one
  std::thread thread_;
};

}  // namespace bivalve::appliance
