// VirusReport: what a worker tells the control thread about a message that is to be kept or reported. The
// worker posts it and continues; the control thread handles files and commands (quarantine.h,
// virus_action.h).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/fd.h"
#include "net/recipient.h"

namespace bivalve::appliance {

struct VirusReport {
  uint64_t session = 0;
  bool quarantine = false;  // keep it as an infected message
  bool debug = false;       // keep it because of DebugFiles
  bool act = false;         // run VirusAction
  // As clamsmtpd(8) describes the environment of VirusAction. Exactly as the peers sent it, without NULs.
  // Empty: not known.
  std::string virus = {};
  std::string client = {};
  std::string server = {};
  std::string sender = {};
  std::vector<net::Recipient> recipients = {};
  uint32_t recipients_left_out = 0;  // accepted, but beyond the limit for one transaction
  std::string remote = {};
  std::string remote_helo = {};
  // For the record beside a quarantined message.
  std::chrono::system_clock::time_point found_at = {};
  std::string helo = {};
  std::string mail_parameters = {};
  std::string scanner = {};
  std::string scanner_version = {};
  // The report's own descriptor of the body; invalid if nothing is kept. Nobody writes to the body any more.
  core::UniqueFd body = {};
  uint64_t content_offset = 0;
  uint64_t content_bytes = 0;
};

// The way from the workers to the control thread. It limits what may be under way: a report holds memory (its
// body) until its file is written, and a place until its command was started. Any thread.
class ReportOutlet {
 public:
  static constexpr uint32_t kWaitingMax = 1000;

  ReportOutlet(uint64_t body_bytes_max, std::function<void(std::shared_ptr<VirusReport>)> post)
      : body_bytes_max_(body_bytes_max), post_(std::move(post)) {}

  // Any thread.
  void set_body_bytes_max(uint64_t bytes) { body_bytes_max_.store(bytes, std::memory_order_relaxed); }
  // Takes the report, or returns false if too much is waiting already. A single report may have any size.
  bool Send(VirusReport report) {
    const uint64_t bytes = report.body.valid() ? report.content_bytes : 0;
    const uint64_t bytes_before = body_bytes_.fetch_add(bytes, std::memory_order_relaxed);
    const uint32_t waiting_before = waiting_.fetch_add(1, std::memory_order_relaxed);
    const bool too_large =
        bytes_before != 0 && bytes_before + bytes > body_bytes_max_.load(std::memory_order_relaxed);
    if (waiting_before >= kWaitingMax || too_large) {
      BodyDone(bytes);
      Done();
      return false;
    }
    post_(std::make_shared<VirusReport>(std::move(report)));
    return true;
  }
  // To be called when the body's memory was given back.
  void BodyDone(uint64_t bytes) { body_bytes_.fetch_sub(bytes, std::memory_order_relaxed); }
  // To be called when a report needs nothing more.
  void Done() { waiting_.fetch_sub(1, std::memory_order_relaxed); }
  // A message could not be kept (disk full, directory not writable).
  void CountNotKept() { not_kept_.fetch_add(1, std::memory_order_relaxed); }
  uint64_t not_kept() const { return not_kept_.load(std::memory_order_relaxed); }
  uint32_t waiting() const { return waiting_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> body_bytes_max_;
  std::function<void(std::shared_ptr<VirusReport>)> post_;
  std::atomic<uint64_t> body_bytes_ = 0;
  std::atomic<uint32_t> waiting_ = 0;
  std::atomic<uint64_t> not_kept_ = 0;
};

}  // namespace bivalve::appliance
