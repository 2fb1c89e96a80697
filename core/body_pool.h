// BodyPool: makes bodies and lets them grow, within BodyMemory and beyond it into unlinked files. It keeps
// freed bodies for the next messages: a few always, and for some seconds as many as were needed at once.
// Worker-local: each worker has its share of BodyMemory.
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
    // A longer message goes to a file. Moving there copies this much at once, which takes some milliseconds.
    uint64_t in_memory_message_bytes_max = uint64_t{32} << 20;
    // Kept for the next message however late it comes, so that the first messages after a pause cost no more
    // than others.
    uint64_t kept_bytes_always = uint64_t{32} << 20;
    uint32_t kept_bodies_always = 128;
    // Beyond these, memory that was not needed for this long is given back to the system.
    Duration kept_unused_max = std::chrono::seconds(5);
    uint32_t kept_bodies_max = 1024;  // two descriptors each
    // The longest possible message: one that does not fit into a file of this size is too long for us. As
    // much address space is reserved.
    uint64_t in_file_message_bytes_max = uint64_t{16} << 30;
    std::string temp_directory = "/tmp";
    bool unnamed_files = true;     // try O_TMPFILE; cleared if the file system turns out to have none
    std::string name = "bivalve";  // memfds are called NAME-NUMBER
    // The bytes that each body's file has in front of its content. A multiple of 64 bytes, so that content
    // begins at a cache line.
    std::string front = {};
  };

  BodyPool(Loop& loop, Options options);
  BodyPool(const BodyPool&) = delete;
  ~BodyPool();  // every body must have been given back

  // An empty body with room for at least kRoomBytesMin, in memory if BodyMemory allows it. `bytes_expected`
  // (0: unknown) selects a body that already has the pages, and makes room for as much if its file is short.
  // Null if there is room neither in memory nor in TempDirectory. Suspends only to open a file.
  Task<std::unique_ptr<Body>> Acquire(uint64_t bytes_expected);
  // Gives more room to a body that has none left. False if no room is available: no memory, disk full, not
  // writable. The content stays. Nothing may be in flight on the body. Suspends only for files.
  Task<bool> Grow(Body& body);

  // The same two, but if there is no room they wait for it until `deadline`, first come, first served. They
  // fail at once if no room can come back because every body in use waits as well (so of several sessions
  // that each hold a part, one continues). Suspend; notifications for the caller's own Condition are kept
  // meanwhile.
  Task<std::unique_ptr<Body>> AcquireInTime(uint64_t bytes_expected, MonoTime deadline);
  Task<bool> GrowInTime(Body& body, MonoTime deadline);
  // Forgets the content and gives back all room but the first block, for a message that is read and thrown
  // away.
  void Shrink(Body& body);

  // For a body whose message is answered and that nobody reads any more.
  void Release(std::unique_ptr<Body> body);
  // The same, but somebody may still read the body (a scanner that never answered): its memory is not used
  // again.
  void Discard(std::unique_ptr<Body> body);

  // Applies to bodies that grow from now on. Kept memory beyond it is given back soon.
  void set_memory_bytes_max(uint64_t bytes);
  void set_temp_directory(std::string path);

  const std::string& front() const { return options_.front; }

  // For statistics.
  uint64_t memory_bytes() const { return charged_bytes_; }  // ready in bodies, used and kept
  uint64_t file_bodies() const { return file_bodies_; }
  size_t bodies_out() const { return out_; }
  // Somebody waits for room now, so that the next caller of a function that waits will wait as well.
  bool crowded() const { return !line_.empty(); }
  uint64_t waits() const { return waits_; }  // how often somebody had to wait for room

 private:
  std::unique_ptr<Body> TakeKept(uint64_t bytes_expected);
  std::unique_ptr<Body> TakeKeptOf(size_t size_class, uint64_t bytes_expected);
  bool over_budget() const { return charged_bytes_ > options_.memory_bytes_max; }
  // The next kept body to be given back to the system; null if all of them may stay.
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

  // A coroutine that waits for room; the Waiter is in its frame.
  struct Waiter {
    Waiter(Loop& loop, bool has_body) : wake(loop), holds_body(has_body) {}
    Condition wake;
    bool holds_body;
    bool gives_way = false;
  };
  // Waits until another try is worthwhile. False if none is any more. The waiter is in the line, and its last
  // try began when room_returned_ was `tried_at`.
  Task<bool> AwaitRoom(Waiter& waiter, uint64_t tried_at, MonoTime deadline);
  void EndWait(Waiter& waiter);
  void WakeFirst();

  // Armed while more is kept than is always kept.
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
  uint64_t room_returned_ = 0;  // how often room may have come back
  std::deque<Waiter*> line_;    // in order of arrival; the first one tries
  size_t waiting_bodies_ = 0;   // of the bodies in use
  KeptBodies kept_;
  uint64_t shrunken_files_ = 0;  // that this thread had met at the last check
  bool giving_back_ = false;     // a period has ended, and not all unused memory is given back yet
  Look look_;
};

}  // namespace bivalve::core
