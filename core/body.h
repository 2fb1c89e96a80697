// Body: one message's content, from the first byte received until the server's final reply. It is one mapping
// of a memfd, or of an unlinked file if memory for bodies is short or the message is large. Users of a body
// cannot tell which.
//
// The content has room in front of it for what only a scanner sees (BodyPool::Options::front). The image,
// which is scanned, is the file from its start to the end of the content. The delivered message is the
// content alone.
//
// The content does not move while it grows, because its address space is mapped once. If the body has to move
// to other memory or to a larger file, the bytes that a BodyReader holds stay where they are until the reader
// releases them.
//
// BodyPool makes, grows and takes back bodies. Worker-local; a plain value to look at, never suspends.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/fd.h"

namespace bivalve::core {

class Body {
 public:
  // `front` is borrowed for as long as the body lives.
  explicit Body(std::string_view front) : front_(front), content_offset_(front.size()) {}
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;
  ~Body();

  // The content received so far. Valid until the body grows; not valid while the image is changed.
  std::string_view content() const { return {data() + content_offset_, content_bytes_}; }
  size_t content_bytes() const { return content_bytes_; }
  // Where the content begins in the file.
  size_t content_offset() const { return content_offset_; }
  // Room behind the content, ready to receive into. Its size is 0 if the body has to grow first.
  std::span<char> room() const {
    return {data() + content_offset_ + content_bytes_,
            std::min(storage_.ready_bytes, storage_.file_bytes) - content_offset_ - content_bytes_};
  }
  // True if the file still has the size of the last message's image, so that room() is shorter than what is
  // ready. Making the file longer and then shorter again costs two system calls, a twentieth of a small
  // message. A receiver that finds the end just behind the room saves both.
  bool short_file() const { return storage_.file_bytes < storage_.ready_bytes; }
  // The first `bytes` of room() become content.
  void Extend(size_t bytes);

  // Forgets the content; its memory becomes room again.
  void Clear() { content_bytes_ = 0; }

  // A body taken from the pool has at least this much room, whatever it held before.
  static constexpr size_t kRoomBytesMin = 256;

  // --- The image. The content must not grow after the first call of one of these.
  size_t image_bytes() const { return content_offset_ + content_bytes_; }
  std::string_view image() const { return {data(), image_bytes()}; }
  // The image, to be changed in place. The caller restores the content before it is delivered. The front is
  // written again for the next message. No scanner may still be reading an earlier image.
  std::span<char> ChangeImage() {
    storage_.front_whole = false;
    return {data(), image_bytes()};
  }
  // The content was moved to the start of the file, so the image is now the content alone.
  void SetContentAtStart() {
    content_offset_ = 0;
    storage_.front_whole = false;
  }
  // For content that is only scanned and never delivered: forgets the content. The image of what is received
  // from now on has no front.
  void BeginWithoutFront() {
    Clear();
    SetContentAtStart();
  }

  // Makes the file exactly the scanner's image and returns a read-only descriptor of it, valid as long as the
  // body. Returns -1 if the system refuses (the caller fails the scan). `watched`: the scanner's user could
  // change the file nevertheless, so Untouched() has to check it.
  int SealForScan(bool watched = true);
  // To be called after the scanner has answered: whether the file still has its size and mode and, in memory,
  // its time of change. A scanner that runs as our own user can change all of them and can cut the file
  // short. A seal keeps it from writing to a file in memory. Once false, the result stays false: content() is
  // not what was received, and the memory is not used for another message. True without SealForScan(), or if
  // the scan was not watched. Before kernel 6.13, two changes within one tick of the clock look like one.
  bool Untouched();

  // Somebody outside the pool has a descriptor of the file and may read it at any time: its memory is not
  // used for another message.
  void Share() { shared_ = true; }

  int fd() const { return storage_.file.get(); }

  bool in_file() const { return storage_.in_file; }
  // The number in the memfd's name, as clamd logs it ("/memfd:bivalve-0-17 (deleted)").
  uint64_t number() const { return storage_.number; }

 private:
  friend class BodyPool;
  friend class BodyReader;
  friend class KeptBodies;
  struct Storage {
    UniqueFd file;
    UniqueFd read_only;  // for scanners
    char* mapping = nullptr;
    size_t mapped_bytes = 0;  // of address space; the file is shorter
    size_t file_bytes = 0;    // current size of the file
    size_t ready_bytes = 0;   // from the start: writable; charged to the pool if in memory
    uint64_t number = 0;
    bool in_file = false;
    bool front_whole = true;  // unchanged, as before every message
  };

  char* data() const { return storage_.mapping; }
  void WriteFront();
  // Makes the body ready for the next message: no content, and the whole front before the room. False if the
  // system refuses.
  bool Reset();

  std::string_view front_;
  Storage storage_;
  size_t content_offset_;
  size_t content_bytes_ = 0;
  size_t readers_ = 0;                          // BodyReaders that hold a view of it
  std::vector<std::unique_ptr<Body>> retired_;  // storage that it was moved out of while somebody read there
  bool shared_ = false;
  struct timespec changed_at_ = {};  // of the file, before scanners had it; 0: not recorded yet
  bool touched_ = false;             // changed by somebody else
};

}  // namespace bivalve::core
