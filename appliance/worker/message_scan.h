// MessageScan: has one message scanned in every way in which somebody may read it, and combines the verdicts.
// Each way is one image for a scanner: the message as mail in all readings of its header section, with CR as
// line ends, and as a file; and each of its parts as a file. Worker-local.
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

  // While a scanner works, the scan listens to both peers; `wake` is their Condition. All outlive the scan.
  MessageScan(SessionServices& services, core::Condition& wake, net::Connection& client, ServerLink& server)
      : services_(services), wake_(wake), client_(client), server_(server), whole_(wake), current_(&whole_) {}
  MessageScan(const MessageScan&) = delete;

  // Call once. `header` is that of the body. With kVerdict, verdict() is the combined verdict of all
  // readings. With the others there is no verdict, a scanner may still read the body, and the body's content
  // may differ from what was received (as_received). Suspends.
  core::Task<End> Run(core::Body& body, const net::HeaderSection& header, core::MonoTime deadline);
  scan::Verdict& verdict() { return verdict_; }
  const scan::Verdict& verdict() const { return verdict_; }
  // After Run(): the body's content is what was received, and can be delivered.
  bool as_received() const { return image_->as_received(); }

  // The first request: the one for the message as a whole.
  const scan::Request& whole() const { return whole_; }
  // The request that a scanner works on, or that waits for a scanner.
  const scan::Request& current() const { return *current_; }

  // Call last: the body goes back to its pool as soon as no scanner reads it. Never suspends.
  void Finish(std::unique_ptr<core::Body> body) { services_.scanners.Release(whole_, std::move(body)); }

 private:
  core::Task<End> AsMail(core::Body& body, const net::HeaderSection& header, net::LineSurvey survey);
  core::Task<End> Heads(core::Body& body, const net::HeaderSection& header);
  core::Task<End> Parts(const core::Body& body, const net::MimeParts& parts);
  // Returns false if there is no room for the part.
  core::Task<bool> DecodePart(const core::Body& body, const net::MimePart& part, core::Body& decoded);
  // Has one image scanned, and adds the result to verdict_.
  core::Task<End> Image(scan::Request& request, core::Body& image);
  // Adds the verdict of one more reading to the verdicts of the readings before it.
  void Combine(const scan::Verdict& found);
  // True if further readings cannot change the verdict, or would not be scanned.
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
