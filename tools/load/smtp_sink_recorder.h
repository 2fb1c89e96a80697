// Writes accepted messages to files: DIRECTORY/message-000001.eml and so on. A file has the envelope as
// header lines, an empty line, and then the content byte for byte:
//
//   X-Client-Addr: 127.0.0.1:41234
//   X-Client-Proto: ESMTP
//   X-Helo-Args: client.example
//   X-Mail-Args: <ada@example.com> SIZE=1024
//   X-Rcpt-Args: <bob@example.net>
//
// The envelope's lines end in LF. A file gets its name when it is whole.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace bivalve::tools {

class SinkRecorder {
 public:
  explicit SinkRecorder(std::string directory) : directory_(std::move(directory)) {}

  // Makes the directory unless it exists.
  absl::Status Prepare();
  // Any thread. Blocks: recording is for tests of what arrives, not for loads. Names that exist are passed
  // over.
  absl::Status Record(std::string_view envelope, std::string_view content);

 private:
  std::string directory_;
  std::atomic<uint64_t> last_ = 0;
};

}  // namespace bivalve::tools
