#include "core/body_pool.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/await_op.h"
#include "core/shrunken_file.h"
#include "core/text.h"

namespace bivalve::core {
namespace {

constexpr size_t kKibi = 1024;
constexpr size_t kMebi = 1024 * kKibi;

// Room of a new body. Most mail is smaller.
constexpr size_t kFirstBytes = 64 * kKibi;
// Size of a new body's file. A file that is longer than its ready part costs nothing and saves system calls.
constexpr size_t kFirstFileBytes = 256 * kKibi;
// Step by which a file is allocated once it holds this much. Before that the file doubles.
constexpr size_t kFileStepBytes = 4 * kMebi;

// Given back to the system in one step, and the pause before the next step.
constexpr uint64_t kGivenBackBytes = 16 * kMebi;
constexpr Duration kGiveBackPause = std::chrono::milliseconds(50);

// How much a body may hold after the next step: four times as much while small, then 1 MiB more, so that the
// charged bytes stay close to the used bytes.
size_t NextReady(size_t ready) { return ready < kMebi ? ready * 4 : ready + kMebi; }

}  // namespace

BodyPool::BodyPool(Loop& loop, Options options) : loop_(loop), options_(std::move(options)), look_(*this) {
  BV_CHECK(options_.front.size() % 64 == 0 && options_.front.size() + Body::kRoomBytesMin <= kFirstBytes);
  // Otherwise bodies of a class that nobody needs could take the place of the others for ever.
  options_.kept_bodies_always = std::min(options_.kept_bodies_always, options_.kept_bodies_max / 2);
}

BodyPool::~BodyPool() { BV_CHECK(out_ == 0 && line_.empty()); }

Task<std::unique_ptr<Body>> BodyPool::Acquire(uint64_t bytes_expected) {
  std::unique_ptr<Body> body = TakeKept(bytes_expected);
  if (body == nullptr) {
    body = std::make_unique<Body>(options_.front);
    if (Charge(kFirstBytes)) {
      // If no descriptor is free, those of a kept body are used.
      if (!MakeInMemory(body->storage_) && (!DropKept() || !MakeInMemory(body->storage_))) {
        charged_bytes_ -= kFirstBytes;
        co_return nullptr;
      }
      body->storage_.ready_bytes = kFirstBytes;
    } else {
      const bool opened = co_await OpenFile(body->storage_, kFirstFileBytes);
      if (!opened) co_return nullptr;
    }
  }
  ++out_;
  co_return body;
}

std::unique_ptr<Body> BodyPool::TakeKept(uint64_t bytes_expected) {
  const size_t size_class = KeptBodies::ClassOf(bytes_expected);
  std::unique_ptr<Body> body = TakeKeptOf(size_class, bytes_expected);
  if (body == nullptr && size_class > 0) body = TakeKeptOf(0, bytes_expected);
  return body;
}

std::unique_ptr<Body> BodyPool::TakeKeptOf(size_t size_class, uint64_t bytes_expected) {
  std::unique_ptr<Body> body = kept_.Take(size_class);
  if (body == nullptr) return nullptr;
  // The last message's image was sealed at its exact size.
  const uint64_t wanted = options_.front.size() + std::max<uint64_t>(bytes_expected, Body::kRoomBytesMin);
  Body::Storage& storage = body->storage_;
  if (storage.file_bytes < wanted && !Lengthen(storage, FileBytesFor(storage, storage.ready_bytes))) {
    charged_bytes_ -= storage.ready_bytes;
    return nullptr;
  }
  return body;
}

// How large the file should be if `ready_bytes` of it are ready.
size_t BodyPool::FileBytesFor(const Body::Storage& storage, size_t ready_bytes) {
  if (storage.in_file) return ready_bytes;
  size_t bytes = kFirstFileBytes;
  while (bytes < ready_bytes) bytes *= 4;
  return std::min(bytes, storage.mapped_bytes);
}

// Makes the file at least `file_bytes` long.
bool BodyPool::Lengthen(Body::Storage& storage, size_t file_bytes) {
  if (storage.file_bytes >= file_bytes) return true;
  if (ftruncate(storage.file.get(), static_cast<off_t>(file_bytes)) != 0) return false;
  storage.file_bytes = file_bytes;
  return true;
}

// Frees kept bodies before it refuses.
bool BodyPool::Charge(uint64_t bytes) {
  if (charged_bytes_ - kept_.bytes() + bytes > options_.memory_bytes_max) return false;
  const uint64_t before = charged_bytes_;
  // At most as much at once as one step gives back: after a reload with a smaller BodyMemory, the excess can
  // be large.
  while (charged_bytes_ + bytes > options_.memory_bytes_max &&
         before - charged_bytes_ < bytes + kGivenBackBytes && DropKept()) {
  }
  charged_bytes_ += bytes;
  return true;
}

bool BodyPool::DropKept() {
  const std::unique_ptr<Body> body = kept_.TakeLargest();
  if (body == nullptr) return false;
  charged_bytes_ -= body->storage_.ready_bytes;
  return true;
}

bool BodyPool::MakeInMemory(Body::Storage& storage) {
  storage.number = next_number_++;
  const std::string name = Cat(options_.name, "-", storage.number);
  storage.file.Reset(memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  // A memfd is created with mode 0777, so anybody with the read-only descriptor could open it for writing
  // through /proc. Our own user could do so whatever the mode is; with the seal, only the existing mapping
  // can write. A system that does not know the seal works without it.
  const bool made =
      storage.file.valid() && fchmod(storage.file.get(), S_IRUSR) == 0 && OpenReadOnly(storage) &&
      Map(storage, kFirstFileBytes, std::max<size_t>(options_.in_memory_message_bytes_max, kFirstFileBytes));
  if (made) (void)fcntl(storage.file.get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
  return made;
}

// Opened now and not at the scan: if the system is out of descriptors, we learn it before the message is
// received.
bool BodyPool::OpenReadOnly(Body::Storage& storage) {
  const std::string path = Cat("/proc/self/fd/", storage.file.get());
  storage.read_only.Reset(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return storage.read_only.valid();
}

// Maps `mapped_bytes` of address space once, whatever the file's size is. The file grows inside the mapping.
bool BodyPool::Map(Body::Storage& storage, size_t file_bytes, size_t mapped_bytes) {
  if (!Lengthen(storage, file_bytes)) return false;
  void* const mapping =
      mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, storage.file.get(), 0);
  if (mapping == MAP_FAILED) return false;
  storage.mapping = static_cast<char*>(mapping);
  storage.mapped_bytes = mapped_bytes;
  if (!options_.front.empty()) std::memcpy(mapping, options_.front.data(), options_.front.size());
  return true;
}

Task<bool> BodyPool::Grow(Body& body) {
  ReleaseRetired(body);
  if (body.short_file())
    co_return Lengthen(body.storage_, FileBytesFor(body.storage_, body.storage_.ready_bytes));
  if (body.in_file()) co_return co_await GrowInFile(body);
  if (NextReady(body.storage_.ready_bytes) <= options_.in_memory_message_bytes_max && GrowInMemory(body))
    co_return true;
  co_return co_await MoveToFile(body);
}

bool BodyPool::GrowInMemory(Body& body) {
  Body::Storage& storage = body.storage_;
  const size_t ready = NextReady(storage.ready_bytes);
  // A kept body that already has the pages takes over: copying the few bytes costs less than new pages.
  if (const size_t size_class = KeptBodies::ClassOf(ready);
      size_class != KeptBodies::ClassOf(storage.ready_bytes)) {
    std::unique_ptr<Body> larger = TakeKeptOf(size_class, storage.ready_bytes + 1);
    if (larger != nullptr && !Lengthen(larger->storage_, FileBytesFor(larger->storage_, ready))) {
      charged_bytes_ -= larger->storage_.ready_bytes;
    } else if (larger != nullptr) {
      ++out_;
      ChangePlaces(body, std::move(larger));
      return true;
    }
  }
  if (!Charge(ready - storage.ready_bytes)) return false;
  if (!Lengthen(storage, FileBytesFor(storage, ready))) {
    charged_bytes_ -= ready - storage.ready_bytes;
    return false;
  }
  storage.ready_bytes = ready;
  return true;
}

// `body` gets the storage of `other`, which is larger and not in use by a message. The old storage goes to
// the next message once nobody reads it.
void BodyPool::ChangePlaces(Body& body, std::unique_ptr<Body> other) {
  std::memcpy(other->storage_.mapping, body.storage_.mapping, body.image_bytes());
  other->storage_.front_whole = body.storage_.front_whole;
  std::swap(other->storage_, body.storage_);
  body.retired_.push_back(std::move(other));
  ReleaseRetired(body);
}

void BodyPool::ReleaseRetired(Body& body) {
  if (body.readers_ > 0) return;
  for (std::unique_ptr<Body>& retired : std::exchange(body.retired_, {})) Release(std::move(retired));
}

// The new directory may be on a file system that has unnamed files.
void BodyPool::set_temp_directory(std::string path) {
  if (path == options_.temp_directory) return;
  options_.temp_directory = std::move(path);
  options_.unnamed_files = true;
}

// A file without a name. Some file systems (NFS, FUSE) do not have unnamed files: there the name is removed
// as soon as the file is open. This is done on this thread, because waiting for another thread would cost
// more, and because writing through a mapping waits for the same disk or server anyway.
Task<IoResult> BodyPool::OpenUnnamed() {
  static constexpr mode_t kMode = S_IRUSR;                // opening it again gives reading only
  const std::string directory = options_.temp_directory;  // may change meanwhile
  if (options_.unnamed_files) {
    const IoResult file = co_await AwaitOp(
        loop_, IoRequest::OpenAt(AT_FDCWD, directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, kMode));
    if (file.error() != EOPNOTSUPP && file.error() != EISDIR) co_return file;
    options_.unnamed_files = false;
  }
  // Nobody can have guessed the name and created the file first; O_EXCL would detect it.
  uint64_t random = 0;
  if (getrandom(&random, sizeof(random), 0) != static_cast<ssize_t>(sizeof(random)))
    co_return IoResult(-EAGAIN);
  const std::string path = Cat(options_.temp_directory, "/", options_.name, ".", random);
  const IoResult file = co_await AwaitOp(
      loop_,
      IoRequest::OpenAt(AT_FDCWD, path.c_str(), O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC, kMode));
  if (file.ok()) unlink(path.c_str());
  co_return file;
}

// An unlinked file with `ready_bytes` allocated and mapped. On a full disk nothing is left behind.
Task<bool> BodyPool::OpenFile(Body::Storage& storage, size_t ready_bytes) {
  const IoResult file = co_await OpenUnnamed();
  if (!file.ok()) co_return false;
  storage.file.Reset(static_cast<int>(file.value()));
  storage.number = next_number_++;
  storage.in_file = true;
  const IoResult allocated = co_await AwaitOp(loop_, IoRequest::Allocate(storage.file.get(), 0, ready_bytes));
  if (!allocated.ok() || !OpenReadOnly(storage)) co_return false;
  storage.file_bytes = ready_bytes;
  if (!Map(storage, ready_bytes, options_.in_file_message_bytes_max)) co_return false;
  storage.ready_bytes = ready_bytes;
  ++file_bodies_;
  co_return true;
}

Task<bool> BodyPool::GrowInFile(Body& body) {
  Body::Storage& storage = body.storage_;
  const size_t step = std::min(
      std::max(std::min(storage.ready_bytes, kFileStepBytes), storage.ready_bytes / 4 / kMebi * kMebi),
      storage.mapped_bytes - storage.ready_bytes);
  if (step == 0) co_return false;
  const IoResult allocated =
      co_await AwaitOp(loop_, IoRequest::Allocate(storage.file.get(), storage.ready_bytes, step));
  if (!allocated.ok()) co_return false;
  storage.file_bytes = storage.ready_bytes = storage.ready_bytes + step;
  co_return true;
}

Task<bool> BodyPool::MoveToFile(Body& body) {
  auto file = std::make_unique<Body>(options_.front);
  const size_t used = body.image_bytes();
  const bool opened =
      co_await OpenFile(file->storage_, used / kFileStepBytes * kFileStepBytes + kFileStepBytes);
  if (!opened) co_return false;
  ++out_;
  ChangePlaces(body, std::move(file));
  co_return true;
}

void BodyPool::Shrink(Body& body) {
  BV_CHECK(body.readers_ == 0);
  body.Clear();
  Body::Storage& storage = body.storage_;
  const size_t first = storage.in_file ? kFileStepBytes : kFirstBytes;
  if (storage.ready_bytes <= first) return;
  if (storage.in_file) {
    const auto left = static_cast<off_t>(std::max(storage.file_bytes, first) - first);
    if (left > 0 && fallocate(storage.file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              static_cast<off_t>(first), left) != 0)
      return;
  } else {
    // The seal against writing forbids punching a hole.
    if (ftruncate(storage.file.get(), static_cast<off_t>(first)) != 0) return;
    storage.file_bytes = first;
    charged_bytes_ -= storage.ready_bytes - first;
  }
  storage.ready_bytes = first;
  WakeFirst();
}

void BodyPool::Release(std::unique_ptr<Body> body) {
  if (body == nullptr) return;
  ReleaseRetired(*body);
  if (body->shared_ || body->in_file() || over_budget() || kept_.count() >= options_.kept_bodies_max ||
      HasMetShrunkenFile() || !body->Reset()) {
    Forget(std::move(body));
    return;
  }
  --out_;
  ChargeWhatIsThere(body->storage_);
  kept_.Put(std::move(body));
  if (keeps_much() && !look_.armed()) {
    kept_.EndPeriod();
    loop_.timers().Set(look_, loop_.Now() + options_.kept_unused_max);
  }
  WakeFirst();
}

// If a file was cut short, we do not know which body it belonged to, nor which files somebody has open for
// writing: all kept bodies are dropped.
bool BodyPool::HasMetShrunkenFile() {
  if (ShrunkenFilesMet() == shrunken_files_) return false;
  shrunken_files_ = ShrunkenFilesMet();
  while (DropKept()) {
  }
  return true;
}

// If an image is much smaller than what was ready, sealing has given pages back to the system.
void BodyPool::ChargeWhatIsThere(Body::Storage& storage) {
  size_t ready = kFirstBytes;
  while (ready < std::min(storage.file_bytes, storage.ready_bytes)) ready = NextReady(ready);
  if (ready >= storage.ready_bytes) return;
  charged_bytes_ -= storage.ready_bytes - ready;
  storage.ready_bytes = ready;
}

std::unique_ptr<Body> BodyPool::TakeSurplus() {
  if (over_budget()) return kept_.TakeLargest();
  return keeps_much() ? kept_.TakeUnused() : nullptr;
}

// In steps, because unmapping pages and giving them back takes about a millisecond for every ten megabytes.
void BodyPool::GiveBackSurplus() {
  if (!giving_back_) kept_.EndPeriod();
  uint64_t given_bytes = 0;
  std::unique_ptr<Body> body;
  while (given_bytes < kGivenBackBytes && (body = TakeSurplus()) != nullptr) {
    given_bytes += body->storage_.ready_bytes;
    charged_bytes_ -= body->storage_.ready_bytes;
  }
  giving_back_ = body != nullptr;
  if (giving_back_ || keeps_much()) {
    loop_.timers().Set(look_, loop_.Now() + (giving_back_ ? kGiveBackPause : options_.kept_unused_max));
  }
  if (given_bytes > 0) WakeFirst();
}

void BodyPool::set_memory_bytes_max(uint64_t bytes) {
  options_.memory_bytes_max = bytes;
  if (over_budget() && kept_.count() > 0) loop_.timers().Set(look_, loop_.Now());
}

void BodyPool::Discard(std::unique_ptr<Body> body) {
  if (body == nullptr) return;
  ReleaseRetired(*body);
  Forget(std::move(body));
}

void BodyPool::Forget(std::unique_ptr<Body> body) {
  --out_;
  if (body->in_file()) {
    --file_bodies_;
  } else {
    charged_bytes_ -= body->storage_.ready_bytes;
  }
  body.reset();
  WakeFirst();
}

}  // namespace bivalve::core
