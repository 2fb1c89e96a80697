// ScanImage: what a scanner is shown of a message.
//
// In front of the content stand lines that only the scanner sees (Front): libclamav decides from the first
// kilobyte whether a file is mail. A message that begins with unknown headers, or that has the magic of an
// archive or a disk image at a certain offset, would be "OK" with a virus inside; behind a front that is
// longer than all offsets that libclamav looks at, its sender has no say in that.
//
// A message that readers understand in different ways is scanned once for each way (net/header_section.h).
// Each has an image of its own, made in place, without a copy of the content.
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
// libclamav compares fixed offsets within the first 1024 bytes, with magics that are shorter than 64.
inline constexpr size_t kFrontBytesMin = 1088;
// How much longer than what it replaces a head may be.
inline constexpr size_t kHeadGrowthMax = 64;
inline constexpr size_t kFrontBytes = kFrontBytesMin + kHeadGrowthMax;
static_assert(kFrontLine.size() == 64 && kFrontBytes % kFrontLine.size() == 0);
// The front as it stands before every message: BodyPool::Options::front of a pool whose bodies are scanned.
const std::string& Front();

// Worker-local; never suspends.
class ScanImage {
 public:
  // `body` is borrowed, stands as it was received, and is not written to any more.
  explicit ScanImage(core::Body& body) : body_(body) {}
  ScanImage(const ScanImage&) = delete;

  // In the image, `head` stands in the place of the first `replaced_bytes` of the content; it is not shorter
  // than they are and at most kHeadGrowthMax longer. Only the head moves, the rest of the content stays where
  // it is.
  void ReplaceHead(size_t replaced_bytes, std::string_view head);
  // The content is as it was received again. Does nothing without a replaced head.
  void RestoreHead();
  // In content() and image, each CR without LF is an LF, until the call back. False when there are more than
  // kBareCrMax; then nothing has changed. No head is replaced.
  bool BareCrAsLf();
  void RestoreBareCr();
  static constexpr size_t kBareCrMax = size_t{1} << 20;
  // Moves the content to the start of the file, over the front: the image is the content alone, and content()
  // stays there. Moves at most `bytes_max` a call; true when it has arrived. No head is replaced.
  bool MoveToStart(size_t bytes_max);

  // None of these stands now, nor is the content half moved: content() is what was received, if nobody else
  // touched it (Body::Untouched).
  bool as_received() const { return !replaced_ && bare_cr_.empty() && moved_bytes_ == 0; }

 private:
  core::Body& body_;
  std::string kept_head_;          // what ReplaceHead() took the place of
  bool replaced_ = false;          // a head is
  std::vector<uint64_t> bare_cr_;  // offsets in the content where an LF stands for one
  size_t moved_bytes_ = 0;         // towards the start
};

}  // namespace bivalve::scan
