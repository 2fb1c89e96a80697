// ScanImage: how a scanner sees a message.
//
// Before the content there are lines that only the scanner sees (Front), because libclamav decides from the
// first kilobyte whether a file is mail. A message that begins with unknown headers, or that has the magic of
// an archive or a disk image at a certain offset, would be "OK" with a virus inside. The front is longer than
// all offsets that libclamav looks at, so the sender of the message has no influence on the decision.
//
// A message that readers understand in different ways is scanned once for each way (net/header_section.h).
// Each way has an image of its own, made in place, without a copy of the content.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/body.h"

namespace bivalve::scan {

// 64 bytes, so that the content is aligned to a cache line.
inline constexpr std::string_view kFrontLine =
    "Received: by bivalve (scan image; this line is not delivered.)\r\n";
// libclamav compares magics shorter than 64 bytes at fixed offsets within the first 1024 bytes.
inline constexpr size_t kFrontBytesMin = 1088;
// How much longer a new head may be than the bytes that it replaces.
inline constexpr size_t kHeadGrowthMax = 64;
inline constexpr size_t kFrontBytes = kFrontBytesMin + kHeadGrowthMax;
static_assert(kFrontLine.size() == 64 && kFrontBytes % kFrontLine.size() == 0);
// The unchanged front, as before every message: BodyPool::Options::front of a pool whose bodies are scanned.
const std::string& Front();

// Worker-local; never suspends.
class ScanImage {
 public:
  // `body` is borrowed. It is as it was received, and is not written to any more.
  explicit ScanImage(core::Body& body) : body_(body) {}
  ScanImage(const ScanImage&) = delete;

  // In the image, `head` replaces the first `replaced_bytes` of the content. It must not be shorter than they
  // are and at most kHeadGrowthMax longer. Only the head moves; the rest of the content stays where it is.
  void ReplaceHead(size_t replaced_bytes, std::string_view head);
  // Makes the content again what was received. Does nothing if no head is replaced.
  void RestoreHead();
  // Turns each CR without LF into an LF, in content() and in the image, until the reverse call. False if
  // there are more than kBareCrMax; then nothing has changed. No head may be replaced.
  bool BareCrAsLf();
  void RestoreBareCr();
  static constexpr size_t kBareCrMax = size_t{1} << 20;
  // Moves the content to the start of the file, over the front. The image is then the content alone, and
  // content() stays there. Moves at most `bytes_max` in one call; true when the move is complete. No head may
  // be replaced.
  bool MoveToStart(size_t bytes_max);

  // None of these changes is in force, and the content is not half moved: content() is what was received,
  // unless somebody else has changed it (Body::Untouched).
  bool as_received() const { return !replaced_ && bare_cr_.empty() && moved_bytes_ == 0; }

 private:
  core::Body& body_;
  std::string kept_head_;          // the bytes that ReplaceHead() has replaced
  bool replaced_ = false;          // a head is replaced
  std::vector<uint64_t> bare_cr_;  // offsets in the content where an LF replaces a CR
  size_t moved_bytes_ = 0;         // how far it has moved
};

}  // namespace bivalve::scan
