#include "core/body.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/check.h"

namespace bivalve::core {

Body::~Body() {
  if (storage_.mapping != nullptr) munmap(storage_.mapping, storage_.mapped_bytes);
}

void Body::Extend(size_t bytes) {
  BV_CHECK(bytes <= room().size());
  content_bytes_ += bytes;
}

bool Body::Reset() {
  BV_CHECK(readers_ == 0 && retired_.empty());
  content_bytes_ = 0;
  content_offset_ = front_.size();
  changed_at_ = {};
  touched_ = false;
  if (storage_.front_whole) return true;
  // The image of a short message without a front is shorter than the front.
  const size_t bytes_min = front_.size() + kRoomBytesMin;
  if (storage_.file_bytes < bytes_min) {
    if (ftruncate(storage_.file.get(), static_cast<off_t>(bytes_min)) != 0) return false;
    storage_.file_bytes = bytes_min;
  }
  WriteFront();
  return true;
}

void Body::WriteFront() {
  if (!front_.empty()) std::memcpy(data(), front_.data(), front_.size());
  storage_.front_whole = true;
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
  // The kernel may update the time of a file on a disk later, when it writes the pages out.
  if (!is_ours || (!as_before && !in_file())) touched_ = shared_ = true;
  return !touched_;
}

}  // namespace bivalve::core
