// BodyPool: makes bodies, lets them grow within BodyMemory and beyond it into unlinked files, and keeps those
// that messages leave for the next ones: a few always, and as many as were needed at once for some seconds
// after. Worker-local: each worker has its share of BodyMemory.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "core/body.h"
#include "core/condition.h"
#include "core/kept_bodies.h"
#include "core/loop.h"
#include "core/mono_time.h"
#include "core/task.h"
#include "core/timer_wheel.h"

namespace bivalve::core {

class BodyPool {
 public:
  struct Options {
    uint64_t memory_bytes_max = uint64_t{256} << 20;  // held message bytes in memory, this worker's share
    // A longer message goes to a file. Moving there copies this much at once, so it is some milliseconds'
    // worth.
    uint64_t in_memory_message_bytes_max = uint64_t{32} << 20;
    // Kept for the next message however long it takes to come, so that the first ones after a pause cost no
    // more than others.
    uint64_t kept_bytes_always = uint64_t{32} << 20;
    uint32_t kept_bodies_always = 128;
    // Beyond these, what was not needed for so long is given back to the system.
    Duration kept_unused_max = std::chrono::seconds(5);
    uint32_t kept_bodies_max = 1024;  // two descriptors each
    // The longest message there is: what has no room in a file of this size is too long for us. Address space
    // is reserved for as much.
    uint64_t in_file_message_bytes_max = uint64_t{16} << 30;
    std::string temp_directory = "/tmp";
    bool unnamed_files = true;     // try O_TMPFILE; given up when the file system turns out to have none
    std::string name = "bivalve";  // memfds are called NAME-NUMBER
    // What stands in each body's file in front of its content, a multiple of 64 bytes: contents then begin at
    // a cache line.
    std::string front = {};
  };

  BodyPool(Loop& loop, Options options);
  BodyPool(const BodyPool&) = delete;
  ~BodyPool();  // every body was given back

  // An empty body with room for kRoomBytesMin at least, in memory if BodyMemory allows. `bytes_expected` (0:
  // unknown) picks a body that already has the pages, and makes room for as much in one whose file is short.
  // Null when there is room neither in memory nor in TempDirectory. Suspends only to open a file.
  Task<std::unique_ptr<Body>> Acquire(uint64_t bytes_expected);
  // Gives a body without room some more. False when there is none to be had: no memory, disk full, not
  // writable. What it holds stays. Nothing may be in flight on the body. Suspends only for files.
  Task<bool> Grow(Body& body);

  // The same two, but where there is no room they wait for some until `deadline`: first come, first served,
  // and at once "no" when nothing can come back because every body that is out waits as well (so of sessions
  // that each hold a part, one goes on). Suspend; what the caller's own Condition hears meanwhile stays
  // there.
  Task<std::unique_ptr<Body>> AcquireInTime(uint64_t bytes_expected, MonoTime deadline);
  Task<bool> GrowInTime(Body& body, MonoTime deadline);
  // Forgets the content and gives back all room but the first block, for a message that is thrown away while
  // it is read.
  void Shrink(Body& body);

  // The message is answered and nobody reads the body any more.
  void Release(std::unique_ptr<Body> body);
  // The same, but somebody may still read it (a scanner that never answered): its memory is not used again.
  void Discard(std::unique_ptr<Body> body);

  // Takes effect for what grows from now on; what is kept beyond it is given back soon.
  void set_memory_bytes_max(uint64_t bytes);
  void set_temp_directory(std::string path);

  const std::string& front() const { return options_.front; }

  // For statistics.
  uint64_t memory_bytes() const { return charged_bytes_; }  // ready in bodies, and kept
  uint64_t file_bodies() const { return file_bodies_; }
  size_t bodies_out() const { return out_; }
  uint64_t waits() const { return waits_; }  // how often somebody had to wait for room

 private:
  std::unique_ptr<Body> TakeKept(uint64_t bytes_expected);
  std::unique_ptr<Body> TakeKeptOf(size_t size_class, uint64_t bytes_expected);
  bool over_budget() const { return charged_bytes_ > options_.memory_bytes_max; }
  // Of what is kept, the next that nobody is to have again; null when all of it may stay.
  std::unique_ptr<Body> TakeSurplus();
  bool keeps_much() const {
    return kept_.bytes() > options_.kept_bytes_always || kept_.count() > options_.kept_bodies_always;
  }
  void GiveBackSurplus();
  bool Charge(uint64_t bytes);
  bool DropKept();
  void ChargeWhatIsThere(Body::Storage& storage);
  bool MakeInMemory(Body::Storage& storage);
  bool OpenReadOnly(Body::Storage& storage);
  bool Map(Body::Storage& storage, size_t file_bytes, size_t mapped_bytes);
  static bool Lengthen(Body::Storage& storage, size_t file_bytes);
  static size_t FileBytesFor(const Body::Storage& storage, size_t ready_bytes);
  bool GrowInMemory(Body& body);
  Task<IoResult> OpenUnnamed();
  Task<bool> OpenFile(Body::Storage& storage, size_t ready_bytes);
  Task<bool> GrowInFile(Body& body);
  Task<bool> MoveToFile(Body& body);
  void ChangePlaces(Body& body, std::unique_ptr<Body> other);
  void ReleaseRetired(Body& body);
  void Forget(std::unique_ptr<Body> body);
  bool HasMetShrunkenFile();

  // Somebody who waits for room, in the frame of his coroutine.
  struct Waiter {
    Waiter(Loop& loop, bool has_body) : wake(loop), holds_body(has_body) {}
    Condition wake;
    bool holds_body;
    bool gives_way = false;
  };
  // Waits until it is worth to try again. False when it is not any more. The waiter is in line.
  Task<bool> AwaitRoom(Waiter& waiter, MonoTime deadline);
  void EndWait(Waiter& waiter);
  void WakeFirst();

  // Armed while more is kept than always.
  class Look final : public Timer {
   public:
    explicit Look(BodyPool& pool) : pool_(pool) {}

   private:
    void OnTimer() override { pool_.GiveBackSurplus(); }
    BodyPool& pool_;
  };

  Loop& loop_;
  Options options_;
  uint64_t charged_bytes_ = 0;
  uint64_t file_bodies_ = 0;
  uint64_t next_number_ = 0;
  size_t out_ = 0;
  uint64_t waits_ = 0;
  std::deque<Waiter*> line_;   // in order of coming; the first one tries
  size_t waiting_bodies_ = 0;  // of those that are out
  KeptBodies kept_;
  uint64_t shrunken_files_ = 0;  // that this thread had met when it was looked at last
  bool giving_back_ = false;     // a period has ended, and not all that is unused is given back yet
  Look look_;
};

}  // namespace bivalve::core
