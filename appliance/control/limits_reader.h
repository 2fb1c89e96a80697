// LimitsReader: reads scanners' limits from their clamd.conf again when a worker has opened a session,
// since that is when clamd may have been started with other ones. Reading blocks, so it has a thread of its
// own.
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
  // Any thread: how many there are now; none is taken away.
  void set_scanners(size_t scanners) { scanners_ = scanners; }
  LimitsReader(const LimitsReader&) = delete;
  ~LimitsReader();  // nobody asks any more

  // What was asked for before is read now.
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
