#include "scan/long_scans.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/text.h"

namespace bivalve::scan {
namespace {

constexpr size_t kTraceBytesMax = size_t{16} << 10;

bool IsTraceField(std::string_view line) {
  for (const std::string_view name : {"Received:", "Return-Path:", "Delivered-To:"}) {
    if (core::EqualsIgnoreCase(line.substr(0, name.size()), name)) return true;
  }
  return false;
}

}  // namespace

size_t TraceBytes(std::string_view content) {
  size_t taken = 0;
  for (;;) {
    // A field with its folded lines; every line must be printable and end in CRLF.
    size_t end = taken;
    do {
      const size_t line_end = content.substr(0, kTraceBytesMax).find('\r', end);
      if (line_end == std::string_view::npos || content.substr(line_end, 2) != "\r\n") return taken;
      const std::string_view line = content.substr(end, line_end - end);
      if (end == taken && !IsTraceField(line)) return taken;
      const bool ordinary =
          std::all_of(line.begin(), line.end(), [](char c) { return c == '\t' || (c >= ' ' && c <= '~'); });
      if (!ordinary) return taken;
      end = line_end + 2;
    } while (end < content.size() && (content[end] == ' ' || content[end] == '\t'));
    taken = end;
  }
}

void LongScans::Hash::Step(core::Sha256& state) {
  if (!std::exchange(begun, true)) state.Restart();
  const std::string_view now = rest.substr(0, kStepBytes);
  state.Add(now);
  rest.remove_prefix(now.size());
  if (rest.empty()) digest = state.Finish();
}

void LongScans::Remember(uint64_t serial, std::string_view content) {
  content.remove_prefix(TraceBytes(content));
  Scan scan;
  scan.serial = serial;
  scan.bytes = content.size();
  scan.hash.rest = content;
  scans_.push_back(std::move(scan));
}

bool LongScans::Remembers(uint64_t serial) const {
  return std::any_of(scans_.begin(), scans_.end(), [serial](const Scan& s) { return s.serial == serial; });
}

std::vector<Request*> LongScans::End(uint64_t serial) {
  const auto scan =
      std::find_if(scans_.begin(), scans_.end(), [serial](const Scan& s) { return s.serial == serial; });
  if (scan == scans_.end()) return {};
  std::vector<Request*> followers = std::move(scan->followers);
  scans_.erase(scan);
  return followers;
}

bool LongScans::MayKnow(std::string_view content) const {
  if (scans_.empty()) return false;
  const size_t bytes = content.size() - TraceBytes(content);
  return std::any_of(scans_.begin(), scans_.end(), [bytes](const Scan& s) { return s.bytes == bytes; });
}

void LongScans::Compare(Request& request, std::string_view content) {
  content.remove_prefix(TraceBytes(content));
  Comparison comparison;
  comparison.request = &request;
  comparison.bytes = content.size();
  comparison.hash.rest = content;
  comparisons_.push_back(std::move(comparison));
}

void LongScans::Forget(const Request& request) {
  std::erase_if(comparisons_, [&request](const Comparison& c) { return c.request == &request; });
  for (Scan& scan : scans_) std::erase(scan.followers, &request);
}

std::vector<Request*> LongScans::ForgetAll() {
  std::vector<Request*> all;
  for (const Comparison& comparison : comparisons_) all.push_back(comparison.request);
  for (const Scan& scan : scans_) all.insert(all.end(), scan.followers.begin(), scan.followers.end());
  comparisons_.clear();
  scans_.clear();
  return all;
}

bool LongScans::busy() const {
  return !comparisons_.empty() ||
         std::any_of(scans_.begin(), scans_.end(), [](const Scan& s) { return !s.hash.digest.has_value(); });
}

Request* LongScans::Step() {
  // Remembered scans first, because the others are compared with them.
  for (Scan& scan : scans_) {
    if (scan.hash.digest.has_value()) continue;
    scan.hash.Step(scans_state_);
    return nullptr;
  }
  if (comparisons_.empty()) return nullptr;
  Comparison& comparison = comparisons_.front();
  const auto same_size = [&comparison](const Scan& s) { return s.bytes == comparison.bytes; };
  const bool may_match = std::any_of(scans_.begin(), scans_.end(), same_size);  // may have ended meanwhile
  if (may_match && !comparison.hash.digest.has_value()) {
    comparison.hash.Step(comparisons_state_);
    return nullptr;
  }
  Request* request = comparison.request;
  for (Scan& scan : scans_) {
    if (!same_size(scan) || scan.hash.digest != comparison.hash.digest) continue;
    scan.followers.push_back(request);
    comparisons_.erase(comparisons_.begin());
    return nullptr;
  }
  comparisons_.erase(comparisons_.begin());
  return request;
}

}  // namespace bivalve::scan
