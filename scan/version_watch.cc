#include "scan/version_watch.h"

#include <algorithm>
#include <utility>

#include "scan/clamd_protocol.h"

namespace bivalve::scan {
namespace {

// Short, because nothing depends on a single answer.
constexpr core::Duration kConnectTimeout = std::chrono::seconds(2);
constexpr core::Duration kReplyTimeout = std::chrono::seconds(10);

}  // namespace

VersionWatch::VersionWatch(core::Loop& loop, const ScannerOptions& scanner, ScannerStats& stats,
                           core::Duration interval, std::function<bool()> reachable,
                           std::function<void()> changed)
    : loop_(loop),
      scanner_(scanner),
      stats_(stats),
      interval_(interval),
      reachable_(std::move(reachable)),
      changed_(std::move(changed)),
      wake_(loop),
      stream_(loop, wake_) {}

core::Task<void> VersionWatch::Run() {
  while (!stopping_) {
    hurry_ = false;
    if (reachable_()) co_await Ask();
    const core::MonoTime next = loop_.Now() + interval_;
    while (!stopping_ && !hurry_ && loop_.Now() < next) (void)co_await wake_.Wait(next);
  }
}

void VersionWatch::Stop() {
  stopping_ = true;
  stream_.Shutdown();
  wake_.Notify();
}

void VersionWatch::Hurry() {
  hurry_ = true;
  wake_.Notify();
}

core::Task<void> VersionWatch::Ask() {
  sockaddr_storage address = {};
  const socklen_t address_bytes = scanner_.address(address);
  if (address_bytes == 0) co_return;
  const auto* where = reinterpret_cast<const sockaddr*>(&address);
  const core::IoResult connected =
      co_await stream_.Connect(where, address_bytes, loop_.Now() + kConnectTimeout);
  if (!connected.ok()) co_return;
  stream_.Write(kVersion);
  stream_.Flush();
  const core::MonoTime deadline = loop_.Now() + kReplyTimeout;
  while (!stopping_ && loop_.Now() < deadline) {
    const Record record = NextRecord(stream_.input());
    if (record.state == RecordState::kWhole) Take(record.text);
    if (record.state != RecordState::kIncomplete || stream_.ended() || stream_.write_error() != 0) break;
    stream_.StartReading();
    (void)co_await wake_.Wait(deadline);
  }
  co_await stream_.Close();
}

void VersionWatch::Take(std::string_view version) {
  const bool printable =
      std::all_of(version.begin(), version.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (!version.starts_with("ClamAV ") || !printable || version == version_) return;
  const bool first = version_.empty();
  version_ = version;
  stats_.version.Set(version);
  if (!first) changed_();
}

}  // namespace bivalve::scan
