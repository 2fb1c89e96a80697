#include "appliance/control/limits_reader.h"

#include <utility>

namespace bivalve::appliance {

LimitsReader::LimitsReader(size_t scanners, Read read, Found found)
    : scanners_(scanners), read_(std::move(read)), found_(std::move(found)) {}

LimitsReader::~LimitsReader() {
  wanted_.fetch_or(uint64_t{1} << kStopBit);
  wanted_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void LimitsReader::Start() {
  thread_ = std::thread([this] { Run(); });
}

void LimitsReader::Ask(size_t scanner) {
  wanted_.fetch_or(uint64_t{1} << scanner % kStopBit);
  wanted_.notify_one();
}

void LimitsReader::Run() {
  for (;;) {
    wanted_.wait(0);
    const uint64_t wanted = wanted_.exchange(0);
    if ((wanted >> kStopBit & 1) != 0) return;
    for (size_t i = 0; i < scanners_; ++i) {
      if ((wanted >> i % kStopBit & 1) != 0) found_(i, read_(i));
    }
  }
}

}  // namespace bivalve::appliance
