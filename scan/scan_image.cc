#include "scan/scan_image.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "core/check.h"

namespace bivalve::scan {
namespace {

void Copy(std::string_view from, std::span<char> to) {
  BV_CHECK(from.size() <= to.size());
  if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
}

// Makes the front of `image` `bytes` long; the last line is cut.
void WriteFront(std::span<char> image, size_t bytes) {
  static constexpr std::string_view kLineEnd = "\r\n";
  Copy(std::string_view(Front()).substr(0, bytes - kLineEnd.size()), image);
  Copy(kLineEnd, image.subspan(bytes - kLineEnd.size()));
}

}  // namespace

const std::string& Front() {
  static const std::string front = [] {
    std::string lines;
    while (lines.size() < kFrontBytes) lines += kFrontLine;
    return lines;
  }();
  return front;
}

void ScanImage::ReplaceHead(size_t replaced_bytes, std::string_view head) {
  BV_CHECK(!replaced_ && body_.content_offset() == kFrontBytes && replaced_bytes <= body_.content_bytes() &&
           head.size() >= replaced_bytes && head.size() - replaced_bytes <= kHeadGrowthMax);
  const size_t front_bytes = kFrontBytes - (head.size() - replaced_bytes);
  kept_head_.assign(body_.content().substr(0, replaced_bytes));
  replaced_ = true;
  const std::span<char> image = body_.ChangeImage();
  WriteFront(image, front_bytes);
  Copy(head, image.subspan(front_bytes));
}

void ScanImage::RestoreHead() {
  if (!replaced_) return;
  const std::span<char> image = body_.ChangeImage();
  WriteFront(image, kFrontBytes);
  Copy(kept_head_, image.subspan(kFrontBytes));
  kept_head_ = {};
  replaced_ = false;
}

bool ScanImage::BareCrAsLf() {
  BV_CHECK(!replaced_);
  const std::string_view content = body_.content();
  std::vector<uint64_t> offsets;
  for (size_t at = content.find('\r'); at != content.npos; at = content.find('\r', at + 1)) {
    if (content.substr(at + 1).starts_with('\n')) continue;
    if (offsets.size() == kBareCrMax) return false;
    offsets.push_back(at);
  }
  bare_cr_ = std::move(offsets);
  const std::span<char> bytes = body_.ChangeImage().subspan(body_.content_offset());
  for (const uint64_t offset : bare_cr_) bytes[offset] = '\n';
  return true;
}

void ScanImage::RestoreBareCr() {
  const std::span<char> bytes = body_.ChangeImage().subspan(body_.content_offset());
  for (const uint64_t offset : bare_cr_) bytes[offset] = '\r';
  bare_cr_ = {};
}

bool ScanImage::MoveToStart(size_t bytes_max) {
  BV_CHECK(!replaced_);
  if (body_.content_offset() == 0) return true;
  char* const start = body_.ChangeImage().data();
  const size_t bytes = std::min(bytes_max, body_.content_bytes() - moved_bytes_);
  if (bytes > 0) std::memmove(start + moved_bytes_, start + body_.content_offset() + moved_bytes_, bytes);
  moved_bytes_ += bytes;
  if (moved_bytes_ < body_.content_bytes()) return false;
  body_.SetContentAtStart();
  moved_bytes_ = 0;
  return true;
}

}  // namespace bivalve::scan
