// MessageScan: has one message scanned in every way in which somebody may read it, and combines the verdicts.
// Each such way is one image for a scanner: the message as mail in the readings of its header section, with
// CR as line ends, as a file, and each of its parts as a file. Worker-local.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "appliance/worker/server_link.h"
#include "appliance/worker/session_services.h"
#include "core/body.h"
#include "core/condition.h"
#include "core/mono_time.h"
#include "core/task.h"
#include "net/connection.h"
#include "net/header_section.h"
#include "net/line_survey.h"
#include "net/mime_parts.h"
#include "scan/clamd_pool.h"
#include "scan/scan_image.h"

namespace bivalve::appliance {

class MessageScan {
 public:
  enum class End : uint8_t { kVerdict, kTimeout, kClientLeft };

  // Both peers are listened to while a scanner works; `wake` is their Condition. All outlive the scan.
  MessageScan(SessionServices& services, core::Condition& wake, net::Connection& client, ServerLink& server)
      : services_(services), wake_(wake), client_(client), server_(server), whole_(wake), current_(&whole_) {}
  MessageScan(const MessageScan&) = delete;

  // Call once. `header` is the body's. With kVerdict, verdict() is what all readings say together; with the
  // others nothing is known, a scanner may still read the body, and the body may not stand as it was received
  // (as_received). Suspends.
  core::Task<End> Run(core::Body& body, const net::HeaderSection& header, core::MonoTime deadline);
  scan::Verdict& verdict() { return verdict_; }
  const scan::Verdict& verdict() const { return verdict_; }
  // Behind Run(): the body's content is what was received, and can be delivered.
  bool as_received() const { return image_->as_received(); }

  // The first request, which is that for the message as a whole.
  const scan::Request& whole() const { return whole_; }
  // The one that a scanner works on, or that waits for one.
  const scan::Request& current() const { return *current_; }

  // The end: the body goes back to its pool, as soon as no scanner reads it. Never suspends.
  void Finish(std::unique_ptr<core::Body> body) { services_.scanners.Release(whole_, std::move(body)); }

 private:
  core::Task<End> AsMail(core::Body& body, const net::HeaderSection& header, net::LineSurvey survey);
  core::Task<End> Heads(core::Body& body, const net::HeaderSection& header);
  core::Task<End> Parts(const core::Body& body, const net::MimeParts& parts);
  // False when there is no room for it.
  core::Task<bool> DecodePart(const core::Body& body, const net::MimePart& part, core::Body& decoded);
  // Has one image scanned, and adds what is found to verdict_.
  core::Task<End> Image(scan::Request& request, core::Body& image);
  // What a further reading says, to what the ones before it have said.
  void Combine(const scan::Verdict& found);
  // No further reading changes the verdict, or would be scanned.
  bool Settled() const;

  SessionServices& services_;
  core::Condition& wake_;
  net::Connection& client_;
  ServerLink& server_;
  scan::Request whole_;
  const scan::Request* current_;
  core::MonoTime deadline_{};
  std::optional<scan::ScanImage> image_;
  scan::Verdict verdict_ = {};
};

}  // namespace bivalve::appliance
