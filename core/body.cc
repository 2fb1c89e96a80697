#include "core/body.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "core/check.h"
#include "core/text.h"

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
  if (!storage_.read_only.valid()) {
    const std::string path = Cat("/proc/self/fd/", storage_.file.get());
    storage_.read_only.Reset(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  }
  return storage_.read_only.get();
}

}  // namespace bivalve::core
