#include "core/body.h"

#include <sys/mman.h>
#include <unistd.h>

#include "core/check.h"

namespace bivalve::core {

Body::~Body() {
  if (storage_.mapping != nullptr) munmap(storage_.mapping, storage_.mapped_bytes);
}

void Body::Extend(size_t bytes) {
  BV_CHECK(bytes <= room().size());
  content_bytes_ += bytes;
}

int Body::SealForScan() {
  if (storage_.file_bytes != image_bytes()) {
    if (ftruncate(storage_.file.get(), static_cast<off_t>(image_bytes())) != 0) return -1;
    storage_.file_bytes = image_bytes();
  }
  return storage_.read_only.get();
}

}  // namespace bivalve::core
