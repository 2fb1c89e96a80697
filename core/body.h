// Body: one message's content, from the first byte received until the server's final reply. One mapping of a
// memfd, or of an unlinked file when memory for bodies is short or the message is large; who holds the body
// cannot tell.
//
// In front of the content stand lines that only the scanner sees (kFrontLine): libclamav decides from the
// first kilobyte whether a file is mail. A message that begins with unknown headers, or that has the magic of
// an archive or a disk image at a certain offset, would be "OK" with a virus inside; behind a front that is
// longer than all offsets that libclamav looks at, its sender has no say in that. The scanner's image is the
// front and the content; the message that is delivered is the content alone.
//
// A message that readers understand in different ways is scanned once for each way (net/header_section.h).
// Each has an image of its own, made in the same memory: ReplaceHead() and MoveToFront().
//
// Made, grown and taken back by BodyPool. Worker-local; a plain value to look at, never suspends.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/fd.h"

namespace bivalve::core {

class Body {
 public:
  // 64 bytes, so that the content is aligned to a cache line.
  static constexpr std::string_view kFrontLine =
      "Received: by bivalve (scan image; this line is not delivered.)\r\n";
  // libclamav compares fixed offsets within the first 1024 bytes, with magics that are shorter than 64.
  static constexpr size_t kFrontBytesMin = 1088;
  // How much longer than what it replaces a head may be.
  static constexpr size_t kHeadGrowthMax = 64;
  static constexpr size_t kFrontBytes = kFrontBytesMin + kHeadGrowthMax;
  static_assert(kFrontLine.size() == 64 && kFrontBytes % kFrontLine.size() == 0);
  // The front as it stands before every message.
  static const std::string& Front();

  Body() = default;
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;
  ~Body();

  // What was received so far. Valid until the body grows; not while a head is replaced or the content is on
  // its way to the front.
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

  // --- The scanner's image. The content must not change after the first of these.

  // In the image, `head` stands in the place of the first `replaced_bytes` of the content; it is not shorter
  // than they are and at most kHeadGrowthMax longer. Only the head moves, the rest of the content stays where
  // it is. No scanner's word on an earlier image may be awaited any more.
  void ReplaceHead(size_t replaced_bytes, std::string_view head);
  // The content is as it was received again. Does nothing without a replaced head.
  void RestoreHead();
  // In content() and image, each CR without LF is an LF, until the call back. False when there are more than
  // kBareCrMax; then nothing has changed. No head is replaced.
  bool BareCrAsLf();
  void RestoreBareCr();
  static constexpr size_t kBareCrMax = size_t{1} << 20;
  // None of these stands now, nor is the content half moved, nor did anybody else touch it: content() is what
  // was received.
  bool as_received() const { return !touched_ && !replaced_ && bare_cr_.empty() && moved_bytes_ == 0; }
  // Moves the content to the start of the file, over the front: the image is the content alone, and content()
  // stays there. Moves at most `bytes_max` a call; true when it has arrived. No head is replaced.
  bool MoveToFront(size_t bytes_max);

  // Instead, for something that is only scanned and never delivered: forgets the content, and what is
  // received from now on has no front in its image.
  void BeginWithoutFront() {
    content_offset_ = content_bytes_ = 0;
    storage_.front_whole = false;
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
  size_t image_bytes() const { return content_offset_ + content_bytes_; }
  std::string_view image() const { return {data(), image_bytes()}; }

  // Somebody outside the pool has a descriptor of it and reads at leisure: its memory is not used for another
  // message.
  void Share() { shared_ = true; }

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
    bool front_whole = true;  // as it stands before every message
  };

  char* data() const { return storage_.mapping; }
  // The front with its last line cut, so that it is `bytes` long.
  void WriteFront(size_t bytes);
  // Makes it ready for the next message: without content, with the whole front in front of the room. False
  // when the system refuses.
  bool Reset();

  Storage storage_;
  size_t content_offset_ = kFrontBytes;
  size_t content_bytes_ = 0;
  std::string kept_head_;          // what ReplaceHead() took the place of
  bool replaced_ = false;          // a head is
  std::vector<uint64_t> bare_cr_;  // offsets in the content where an LF stands for one
  size_t moved_bytes_ = 0;         // towards the front
  bool shared_ = false;
  struct timespec changed_at_ = {};  // the file, before scanners had it; 0: not looked at yet
  bool touched_ = false;             // by somebody else
};

}  // namespace bivalve::core
