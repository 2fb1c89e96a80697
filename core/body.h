// Body: one message's content, from the first byte received until the server's final reply. One mapping of a
// memfd, or of an unlinked file when memory for bodies is short or the message is large; who holds the body
// cannot tell.
//
// In front of the content stands one line that only the scanner sees (kScanLine): libclamav decides from the
// first kilobytes whether a file is mail, and a message that begins with unknown headers would be "OK" with a
// virus inside. The scanner's image is that line and the content; the message that is delivered is the
// content alone.
//
// Made, grown and taken back by BodyPool. Worker-local; a plain value to look at, never suspends.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/fd.h"

namespace bivalve::core {

class Body {
 public:
  // 64 bytes, so that the content is aligned to a cache line.
  static constexpr std::string_view kScanLine =
      "Received: by bivalve (scan image; this line is not delivered.)\r\n";
  static constexpr size_t kContentOffset = kScanLine.size();
  static_assert(kContentOffset == 64);

  Body() = default;
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;
  ~Body();

  // What was received so far. Valid until the body grows.
  std::string_view content() const { return {data() + kContentOffset, content_bytes_}; }
  size_t content_bytes() const { return content_bytes_; }
  // Room behind the content, ready to receive into. Its size is 0 when the body has to grow first.
  std::span<char> room() const {
    return {data() + kContentOffset + content_bytes_,
            std::min(storage_.ready_bytes, storage_.file_bytes) - kContentOffset - content_bytes_};
  }
  // The file still has the size of the last message's image, and so room() is shorter than what is ready. To
  // make it longer and then shorter again costs two system calls, a twentieth of a small message: a receiver
  // that finds the end just behind the room saves both.
  bool short_file() const { return storage_.file_bytes < storage_.ready_bytes; }
  // The first `bytes` of room() are content now.
  void Extend(size_t bytes);

  // Forgets the content; the room is there again.
  void Clear() { content_bytes_ = 0; }

  // A body taken from the pool has room for so much, whatever it held before.
  static constexpr size_t kRoomBytesMin = 256;

  // Makes the file exactly the scanner's image and returns a descriptor of it that can only read. The content
  // must not change afterwards. -1 when the system refuses (the caller fails the scan). Valid as long as the
  // body.
  int SealForScan();
  size_t image_bytes() const { return kContentOffset + content_bytes_; }

  // Somebody outside the pool has a descriptor of it and reads at leisure: its memory is not used for another
  // message.
  void Share() { shared_ = true; }

  // For splicing: the content begins at kContentOffset of it.
  int fd() const { return storage_.file.get(); }

  bool in_file() const { return storage_.in_file; }
  // The number in the memfd's name, as clamd logs it ("/memfd:bivalve-0-17 (deleted)").
  uint64_t number() const { return storage_.number; }

 private:
  friend class BodyPool;
  friend class KeptBodies;
  struct Storage {
    UniqueFd file;
    UniqueFd read_only;  // for scanners
    char* mapping = nullptr;
    size_t mapped_bytes = 0;  // of address space
    size_t file_bytes = 0;    // size of the file now
    size_t ready_bytes = 0;   // from the start: may be written; charged to the pool when in memory
    uint64_t number = 0;
    bool in_file = false;
  };

  char* data() const { return storage_.mapping; }

  Storage storage_;
  size_t content_bytes_ = 0;
  bool shared_ = false;
};

}  // namespace bivalve::core
