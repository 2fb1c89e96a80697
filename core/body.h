// Body: one message's content, from the first byte received until the server's final reply. One mapping of a
// memfd, or of an unlinked file when memory for bodies is short or the message is large; who holds the body
// cannot tell.
//
// In front of the content there is room for what a scanner is to see there (BodyPool::Options::front). The
// image, which is what is scanned, is the file from its start to the end of the content; the message that is
// delivered is the content alone.
//
// The content does not move while it grows: its address space is mapped once. Where it has to change places,
// for memory or a file that is larger, what a BodyReader holds stays until it lets go.
//
// Made, grown and taken back by BodyPool. Worker-local; a plain value to look at, never suspends.
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

  // What was received so far. Valid until the body grows; not while the image is changed.
  std::string_view content() const { return {data() + content_offset_, content_bytes_}; }
  size_t content_bytes() const { return content_bytes_; }
  // Where the content begins in the file.
  size_t content_offset() const { return content_offset_; }
  // Room behind the content, ready to receive into. Its size is 0 when the body has to grow first.
  std::span<char> room() const {
    return {data() + content_offset_ + content_bytes_,
            std::min(storage_.ready_bytes, storage_.file_bytes) - content_offset_ - content_bytes_};
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

  // --- The image. The content must not grow after the first of these.
  size_t image_bytes() const { return content_offset_ + content_bytes_; }
  std::string_view image() const { return {data(), image_bytes()}; }
  // The image, to be changed in place: who does so puts the content back before it is delivered. The front is
  // written anew for the next message. Nobody's word on an earlier image may be awaited any more.
  std::span<char> ChangeImage() {
    storage_.front_whole = false;
    return {data(), image_bytes()};
  }
  // The content was moved to the start of the file: the image is the content alone.
  void SetContentAtStart() {
    content_offset_ = 0;
    storage_.front_whole = false;
  }
  // For something that is only scanned and never delivered: forgets the content, and what is received from
  // now on has no front in its image.
  void BeginWithoutFront() {
    Clear();
    SetContentAtStart();
  }

  // Makes the file exactly the scanner's image and returns a descriptor of it that can only read. -1 when the
  // system refuses (the caller fails the scan). Valid as long as the body. `watched`: the scanner runs as
  // somebody who could change the file all the same, so Untouched() is to look at it.
  int SealForScan(bool watched = true);
  // Behind the scanner's word on it: whether the file has its size and mode still, and in memory its time of
  // change. A scanner that runs as our own user can change all of them, and cut the file short; to write into
  // one in memory is refused to it, too (a seal). Once false it stays so: content() is not what was received,
  // and the memory is not used for another message. True without SealForScan(), or when nobody was watched.
  // Two changes in one tick of the clock look like one before kernel 6.13.
  bool Untouched();

  // Somebody outside the pool has a descriptor of it and reads at leisure: its memory is not used for another
  // message.
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
    size_t file_bytes = 0;    // size of the file now
    size_t ready_bytes = 0;   // from the start: may be written; charged to the pool when in memory
    uint64_t number = 0;
    bool in_file = false;
    bool front_whole = true;  // as it stands before every message
  };

  char* data() const { return storage_.mapping; }
  void WriteFront();
  // Makes it ready for the next message: without content, with the whole front in front of the room. False
  // when the system refuses.
  bool Reset();

  std::string_view front_;
  Storage storage_;
  size_t content_offset_;
  size_t content_bytes_ = 0;
  size_t readers_ = 0;                          // that hold a view of it
  std::vector<std::unique_ptr<Body>> retired_;  // what it changed places with meanwhile
  bool shared_ = false;
  struct timespec changed_at_ = {};  // the file, before scanners had it; 0: not looked at yet
  bool touched_ = false;             // by somebody else
};

}  // namespace bivalve::core
