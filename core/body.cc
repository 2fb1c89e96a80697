#include "core/body.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/check.h"

namespace bivalve::core {

const std::string& Body::Front() {
  static const std::string front = [] {
    std::string lines;
    while (lines.size() < kFrontBytes) lines += kFrontLine;
    return lines;
  }();
  return front;
}

Body::~Body() {
  if (storage_.mapping != nullptr) munmap(storage_.mapping, storage_.mapped_bytes);
}

void Body::Extend(size_t bytes) {
  BV_CHECK(bytes <= room().size());
  content_bytes_ += bytes;
}

void Body::WriteFront(size_t bytes) {
  static constexpr std::string_view kLineEnd = "\r\n";
  std::memcpy(data(), Front().data(), bytes - kLineEnd.size());
  std::memcpy(data() + bytes - kLineEnd.size(), kLineEnd.data(), kLineEnd.size());
}

void Body::ReplaceHead(size_t replaced_bytes, std::string_view head) {
  BV_CHECK(!replaced_ && content_offset_ == kFrontBytes && replaced_bytes <= content_bytes_ &&
           head.size() >= replaced_bytes && head.size() - replaced_bytes <= kHeadGrowthMax);
  const size_t front_bytes = kFrontBytes - (head.size() - replaced_bytes);
  kept_head_.assign(content().substr(0, replaced_bytes));
  replaced_ = true;
  storage_.front_whole = false;
  WriteFront(front_bytes);
  if (!head.empty()) std::memcpy(data() + front_bytes, head.data(), head.size());
}

void Body::RestoreHead() {
  if (!replaced_) return;
  WriteFront(kFrontBytes);
  if (!kept_head_.empty()) std::memcpy(data() + kFrontBytes, kept_head_.data(), kept_head_.size());
  kept_head_ = {};
  replaced_ = false;
  storage_.front_whole = true;
}

bool Body::BareCrAsLf() {
  BV_CHECK(!replaced_);
  char* const begin = data() + content_offset_;
  char* const end = begin + content_bytes_;
  std::vector<uint64_t> offsets;
  for (char* at = begin; at < end; ++at) {
    at = static_cast<char*>(std::memchr(at, '\r', static_cast<size_t>(end - at)));
    if (at == nullptr) break;
    if (at + 1 < end && at[1] == '\n') continue;
    if (offsets.size() == kBareCrMax) return false;
    offsets.push_back(static_cast<uint64_t>(at - begin));
  }
  bare_cr_ = std::move(offsets);
  for (const uint64_t offset : bare_cr_) begin[offset] = '\n';
  return true;
}

void Body::RestoreBareCr() {
  for (const uint64_t offset : bare_cr_) data()[content_offset_ + offset] = '\r';
  bare_cr_ = {};
}

bool Body::MoveToFront(size_t bytes_max) {
  BV_CHECK(!replaced_);
  if (content_offset_ == 0) return true;
  storage_.front_whole = false;
  const size_t bytes = std::min(bytes_max, content_bytes_ - moved_bytes_);
  if (bytes > 0) std::memmove(data() + moved_bytes_, data() + content_offset_ + moved_bytes_, bytes);
  moved_bytes_ += bytes;
  if (moved_bytes_ < content_bytes_) return false;
  content_offset_ = moved_bytes_ = 0;
  return true;
}

bool Body::Reset() {
  content_bytes_ = moved_bytes_ = 0;
  content_offset_ = kFrontBytes;
  replaced_ = false;
  kept_head_ = {};
  bare_cr_ = {};
  changed_at_ = {};
  touched_ = false;
  if (storage_.front_whole) return true;
  // The image of a short message alone is shorter than the front.
  static constexpr size_t kBytesMin = kFrontBytes + kRoomBytesMin;
  if (storage_.file_bytes < kBytesMin) {
    if (ftruncate(storage_.file.get(), kBytesMin) != 0) return false;
    storage_.file_bytes = kBytesMin;
  }
  WriteFront(kFrontBytes);
  storage_.front_whole = true;
  return true;
}

int Body::SealForScan(bool watched) {
  if (storage_.file_bytes != image_bytes()) {
    if (ftruncate(storage_.file.get(), static_cast<off_t>(image_bytes())) != 0) return -1;
    storage_.file_bytes = image_bytes();
    changed_at_ = {};
  }
  struct stat file = {};
  if (watched && changed_at_.tv_sec == 0 && fstat(storage_.file.get(), &file) == 0)
    changed_at_ = file.st_ctim;
  return storage_.read_only.get();
}

bool Body::Untouched() {
  if (changed_at_.tv_sec == 0) return !touched_;
  struct stat file = {};
  const bool is_ours = fstat(storage_.file.get(), &file) == 0 &&
                       static_cast<uint64_t>(file.st_size) == image_bytes() &&
                       (file.st_mode & 07777) == S_IRUSR;
  const bool as_before =
      file.st_ctim.tv_sec == changed_at_.tv_sec && file.st_ctim.tv_nsec == changed_at_.tv_nsec;
  // A file's time may follow when its pages are written out.
  if (!is_ours || (!as_before && !in_file())) touched_ = shared_ = true;
  return !touched_;
}

}  // namespace bivalve::core
