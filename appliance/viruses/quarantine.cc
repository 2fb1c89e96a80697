#include "appliance/viruses/quarantine.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>

#include "appliance/viruses/quarantine_record.h"
#include "core/await_op.h"
#include "core/fd.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

// 62^6 names: if two tries in a row hit a file, either the directory is full or somebody makes these files.
constexpr int kNameTries = 100;

constexpr std::string_view kNameCharacters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr size_t kRandomCharacters = 6;

// `prefix` and six characters, as mkstemp(3) makes them. Returns false if the system gives no random bytes.
bool NewPath(std::string_view directory, std::string_view prefix, std::string& path) {
  std::array<unsigned char, kRandomCharacters> random = {};
  if (getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) return false;
  path = core::Cat(directory, "/", prefix);
  for (const unsigned char byte : random) path += kNameCharacters[byte % kNameCharacters.size()];
  return true;
}

// The name of the file for `path` while it is written, if it needs one.
std::string PartialPath(const std::string& path) {
  const size_t name = path.rfind('/') + 1;
  return core::Cat(path.substr(0, name), ".", path.substr(name), kPartialSuffix);
}

// Whether `name` may be such a partial name.
bool IsPartialName(std::string_view name, std::string_view prefix) {
  if (!name.starts_with('.') || !name.ends_with(kPartialSuffix)) return false;
  name.remove_prefix(1);
  name.remove_suffix(kPartialSuffix.size());
  if (name.ends_with(kRecordSuffix)) name.remove_suffix(kRecordSuffix.size());
  return name.size() == prefix.size() + kRandomCharacters && name.starts_with(prefix) &&
         name.find_first_not_of(kNameCharacters, prefix.size()) == std::string_view::npos;
}

// Marks a file as being written, for as long as it is open. The lock belongs to the open file, so neither a
// fork nor another close of the file ends it. Returns 0 or an errno; EAGAIN: somebody else holds the lock.
int Lock(int fd) {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (fcntl(fd, F_OFD_SETLK, &lock) == 0) return 0;
  return errno == EACCES ? EAGAIN : errno;
}

// Whether `name` is a file of ours that nobody is writing.
bool IsLeftover(int directory, const char* name) {
  const core::UniqueFd file(
      openat(directory, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat info = {};
  return file.valid() && fstat(file.get(), &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == geteuid() &&
         info.st_nlink == 1 && Lock(file.get()) == 0;
}

std::string_view ErrorText(int error) { return std::strerror(error); }

absl::Status Failed(std::string_view what, const std::string& path, int error) {
  return absl::UnavailableError(core::Cat("cannot ", what, " ", path, ": ", ErrorText(error)));
}

}  // namespace

core::Task<absl::StatusOr<Quarantine::Kept>> Quarantine::Keep(Content content, std::string_view prefix) {
  const bool unnamed = unnamed_files_;
  absl::StatusOr<Kept> kept = co_await KeepOnce(content, prefix);
  if (!kept.ok() && unnamed_files_ != unnamed) kept = co_await KeepOnce(content, prefix);
  co_return kept;
}

core::Task<absl::StatusOr<Quarantine::Kept>> Quarantine::KeepOnce(Content content, std::string_view prefix) {
  Kept kept;
  if (!NewPath(directory_, prefix, kept.path)) co_return absl::UnavailableError("there is no randomness");
  core::UniqueFd file;
  if (const int failed = co_await Create(kept.path, file); failed != 0)
    co_return absl::UnavailableError(
        core::Cat("cannot make a file in ", directory_, ": ", ErrorText(failed)));
  const absl::StatusOr<core::Sha256::Digest> digest = co_await Copy(content, file.get(), kept.path);
  if (!digest.ok()) {
    RemovePartial();
    co_return digest.status();
  }
  kept.sha256 = *digest;
  int error = Publish(file.get(), kept.path);
  for (int tries = 1; error == EEXIST && tries < kNameTries; ++tries) {
    if (!NewPath(directory_, prefix, kept.path)) break;
    error = Publish(file.get(), kept.path);
  }
  RemovePartial();
  if (error != 0) co_return Failed("make", kept.path, error);
  co_return kept;
}

core::Task<absl::Status> Quarantine::KeepRecord(std::string path, std::string json) {
  const std::string name = core::Cat(path, kRecordSuffix);
  const bool unnamed = unnamed_files_;
  absl::Status status = co_await KeepRecordOnce(name, json);
  if (!status.ok() && unnamed_files_ != unnamed) status = co_await KeepRecordOnce(name, json);
  co_return status;
}

core::Task<absl::Status> Quarantine::KeepRecordOnce(const std::string& name, std::string_view json) {
  core::UniqueFd file;
  if (const int failed = co_await Create(name, file); failed != 0) co_return Failed("make", name, failed);
  absl::Status status = co_await Write(file.get(), json, 0, name);
  if (status.ok()) {
    const int error = Publish(file.get(), name);
    if (error != 0) status = Failed("make", name, error);
  }
  RemovePartial();
  co_return status;
}

core::Task<int> Quarantine::Create(const std::string& path, core::UniqueFd& file) {
  core::IoResult result;
  if (unnamed_files_) {
    const std::string directory = path.substr(0, path.rfind('/') + 1);
    result = co_await OpenAt(directory, O_TMPFILE);
    unnamed_files_ = result.ok() || (result.error() != EOPNOTSUPP && result.error() != EISDIR);
  }
  if (!unnamed_files_) {
    std::string partial = PartialPath(path);
    result = co_await OpenAt(partial, O_CREAT | O_EXCL | O_NOFOLLOW);
    if (result.ok()) partial_ = std::move(partial);
  }
  if (!result.ok()) co_return result.error();
  file.Reset(static_cast<int>(result.value()));
  // Another process that is starting may just have taken the file for a leftover.
  struct stat info = {};
  if (!partial_.empty() &&
      (Lock(file.get()) == EAGAIN || fstat(file.get(), &info) != 0 || info.st_nlink == 0)) {
    RemovePartial();
    co_return EAGAIN;
  }
  co_return 0;
}

core::Task<core::IoResult> Quarantine::OpenAt(const std::string& path, int flags) {
  const core::IoRequest open =
      core::IoRequest::OpenAt(AT_FDCWD, path.c_str(), O_WRONLY | O_CLOEXEC | flags, 0600);
  co_return co_await core::AwaitOp(loop_, open);
}

int Quarantine::Publish(int file, const std::string& path) {
  if (partial_.empty()) {
    const std::string open_file = core::Cat("/proc/self/fd/", file);
    if (linkat(AT_FDCWD, open_file.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0) return 0;
    const int error = errno;
    // The file can never be named, for example without /proc, so the next try uses a named file.
    unnamed_files_ = error == EEXIST || error == ENOSPC || error == EDQUOT || error == EIO;
    return error;
  }
  bool named = renameat2(AT_FDCWD, partial_.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) == 0;
  if (named) {
    partial_.clear();
  } else if (errno == EINVAL || errno == ENOSYS) {
    // The file system does not know the flag. The caller removes the partial name.
    named = link(partial_.c_str(), path.c_str()) == 0;
  }
  return named ? 0 : errno;
}

size_t Quarantine::RemoveLeftovers(const std::string& directory, std::span<const std::string_view> prefixes) {
  const std::unique_ptr<DIR, int (*)(DIR*)> list(opendir(directory.c_str()), closedir);
  size_t removed = 0;
  while (list != nullptr) {
    const dirent* item = readdir(list.get());
    if (item == nullptr) break;
    const char* name = item->d_name;
    const bool partial = std::ranges::any_of(
        prefixes, [name](std::string_view prefix) { return IsPartialName(name, prefix); });
    if (partial && IsLeftover(dirfd(list.get()), name) && unlinkat(dirfd(list.get()), name, 0) == 0)
      ++removed;
  }
  return removed;
}

core::Task<absl::StatusOr<core::Sha256::Digest>> Quarantine::Copy(Content content, int to,
                                                                  const std::string& path) {
  piece_.resize(kPieceBytes);
  hash_.Restart();
  for (uint64_t done = 0; done < content.bytes;) {
    const size_t piece = std::min<uint64_t>(kPieceBytes, content.bytes - done);
    const core::IoRequest read =
        core::IoRequest::Read(content.fd, std::span(piece_).first(piece), content.offset + done);
    const core::IoResult got = co_await core::AwaitOp(loop_, read);
    if (!got.ok())
      co_return absl::UnavailableError(core::Cat("cannot read the message: ", ErrorText(got.error())));
    if (got.eof()) co_return absl::UnavailableError("the message is shorter than it was");
    const std::string_view bytes(piece_.data(), got.value());
    hash_.Add(bytes);
    absl::Status written = co_await Write(to, bytes, done, path);
    if (!written.ok()) co_return written;
    done += got.value();
  }
  co_return hash_.Finish();
}

core::Task<absl::Status> Quarantine::Write(int to, std::string_view bytes, uint64_t offset,
                                           const std::string& path) {
  for (size_t written = 0; written < bytes.size();) {
    const core::IoRequest write = core::IoRequest::Write(to, bytes.substr(written), offset + written);
    const core::IoResult put = co_await core::AwaitOp(loop_, write);
    if (!put.ok() || put.eof()) co_return Failed("write", path, put.ok() ? ENOSPC : put.error());
    written += put.value();
  }
  co_return absl::OkStatus();
}

void Quarantine::RemovePartial() {
  if (!partial_.empty()) unlink(std::exchange(partial_, {}).c_str());
}

}  // namespace bivalve::appliance
