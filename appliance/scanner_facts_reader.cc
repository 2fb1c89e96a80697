#include "appliance/scanner_facts_reader.h"

#include <utility>

#include "core/text.h"

namespace bivalve::appliance {

ScannerFactsReader::ScannerFactsReader(size_t scanners, Read read, Found found)
    : scanners_(scanners), read_(std::move(read)), found_(std::move(found)) {}

ScannerFactsReader::~ScannerFactsReader() {
  wanted_.fetch_or(uint64_t{1} << kStopBit);
  wanted_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void ScannerFactsReader::Start() {
  thread_ = std::thread([this] { Run(); });
}

void ScannerFactsReader::Ask(size_t scanner) {
  wanted_.fetch_or(uint64_t{1} << scanner % kStopBit);
  wanted_.notify_one();
}

void ScannerFactsReader::Run() {
  for (;;) {
    wanted_.wait(0);
    const uint64_t wanted = wanted_.exchange(0);
    if ((wanted >> kStopBit & 1) != 0) return;
    for (size_t i = 0; i < scanners_; ++i) {
      if ((wanted >> i % kStopBit & 1) != 0) found_(i, read_(i));
    }
  }
}

std::vector<std::string> ScannerWarnings(std::string_view scanner, const scan::ScannerFacts& before,
                                         const scan::ScannerFacts& now, uid_t own_user) {
  std::vector<std::string> warnings;
  if (now.limits_read && !now.limits.known && (!before.limits_read || before.limits.known)) {
    warnings.push_back(
        core::Cat("scanner ", scanner,
                  ": its limits are not known, because no clamd.conf that can be read here says that "
                  "it listens there; its OK for a large message is believed once it has found a test message "
                  "of that size"));
  }
  if (now.runs_as(own_user) && !before.runs_as(own_user)) {
    warnings.push_back(core::Cat("scanner ", scanner, ": ", scan::kSameUserWarning));
  }
  return warnings;
}

}  // namespace bivalve::appliance
