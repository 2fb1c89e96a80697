// What a test's program writes to standard error.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <string>

#include "core/fd.h"

namespace bivalve::appliance {

// Takes the place of standard error as long as it lives.
class CapturedStderr {
 public:
  CapturedStderr() : saved_(dup(STDERR_FILENO)), file_(memfd_create("stderr", MFD_CLOEXEC)) {
    dup2(file_.get(), STDERR_FILENO);
  }
  ~CapturedStderr() { dup2(saved_.get(), STDERR_FILENO); }
  std::string Text() const {
    std::string text;
    std::array<char, 65536> buffer;
    for (;;) {
      const ssize_t bytes = pread(file_.get(), buffer.data(), buffer.size(), static_cast<off_t>(text.size()));
      if (bytes <= 0) return text;
      text.append(buffer.data(), static_cast<size_t>(bytes));
    }
  }

 private:
  core::UniqueFd saved_;
  core::UniqueFd file_;
};

}  // namespace bivalve::appliance
