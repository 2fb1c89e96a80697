#include "appliance/quarantine.h"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "appliance/quarantine_record.h"
#include "core/await_op.h"
#include "core/fd.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

// 62^6 names: two tries in a row that hit a file are either a full directory or somebody's game.
constexpr int kNameTries = 100;

// Six characters as mkstemp(3) makes them; empty when there is no randomness to be had.
std::string RandomName() {
  static constexpr std::string_view kCharacters =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::array<unsigned char, 6> random = {};
  if (getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) return {};
  std::string name;
  for (const unsigned char byte : random) name += kCharacters[byte % kCharacters.size()];
  return name;
}

std::string_view ErrorText(int error) { return std::strerror(error); }

}  // namespace

core::Task<absl::StatusOr<Quarantine::Kept>> Quarantine::Keep(Content content, std::string_view prefix) {
  const core::IoResult opened = co_await OpenNew(prefix);
  if (!opened.ok()) {
    co_return absl::UnavailableError(
        core::Cat("cannot make a file in ", directory_, ": ", ErrorText(opened.error())));
  }
  core::UniqueFd file(static_cast<int>(opened.value()));
  scan::Sha256 hash;
  const absl::Status copied = co_await Copy(content, file.get(), hash);
  if (!copied.ok()) {
    RemovePartial();
    co_return copied;
  }
  Kept kept;
  kept.path = std::exchange(partial_, {});
  kept.sha256 = hash.Finish();
  co_return kept;
}

core::Task<absl::Status> Quarantine::KeepRecord(std::string path, std::string json) {
  const std::string name = core::Cat(path, kRecordSuffix);
  const core::IoResult opened = co_await Create(core::Cat(name, kPartialSuffix));
  if (!opened.ok()) {
    co_return absl::UnavailableError(core::Cat("cannot make ", name, ": ", ErrorText(opened.error())));
  }
  core::UniqueFd file(static_cast<int>(opened.value()));
  absl::Status status = co_await Write(file.get(), json, 0);
  if (status.ok() && rename(partial_.c_str(), name.c_str()) != 0) {
    status = absl::UnavailableError(core::Cat("cannot make ", name, ": ", ErrorText(errno)));
  }
  if (status.ok()) {
    partial_.clear();
  } else {
    RemovePartial();
  }
  co_return status;
}

core::Task<core::IoResult> Quarantine::Create(std::string path) {
  core::IoRequest open;
  open.code = core::IoCode::kOpenAt;
  open.fd = AT_FDCWD;
  open.address = path.data();
  open.flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  open.bytes = 0600;
  const core::IoResult result = co_await core::AwaitOp(loop_, open);
  if (result.ok()) partial_ = std::move(path);
  co_return result;
}

core::Task<core::IoResult> Quarantine::OpenNew(std::string_view prefix) {
  core::IoResult result(-EEXIST);
  for (int tries = 0; tries < kNameTries && result.error() == EEXIST; ++tries) {
    const std::string random = RandomName();
    if (random.empty()) co_return core::IoResult(-EAGAIN);
    result = co_await Create(core::Cat(directory_, "/", prefix, random));
  }
  co_return result;
}

core::Task<absl::Status> Quarantine::Copy(Content content, int to, scan::Sha256& hash) {
  piece_.resize(kPieceBytes);
  for (uint64_t done = 0; done < content.bytes;) {
    core::IoRequest read;
    read.code = core::IoCode::kRead;
    read.fd = content.fd;
    read.address = piece_.data();
    read.bytes = std::min<uint64_t>(kPieceBytes, content.bytes - done);
    read.offset = content.offset + done;
    const core::IoResult got = co_await core::AwaitOp(loop_, read);
    if (!got.ok())
      co_return absl::UnavailableError(core::Cat("cannot read the message: ", ErrorText(got.error())));
    if (got.eof()) co_return absl::UnavailableError("the message is shorter than it was");
    const std::string_view bytes(piece_.data(), got.value());
    hash.Add(bytes);
    absl::Status written = co_await Write(to, bytes, done);
    if (!written.ok()) co_return written;
    done += got.value();
  }
  co_return absl::OkStatus();
}

core::Task<absl::Status> Quarantine::Write(int to, std::string_view bytes, uint64_t offset) {
  for (size_t written = 0; written < bytes.size();) {
    core::IoRequest write;
    write.code = core::IoCode::kWrite;
    write.fd = to;
    write.address = const_cast<char*>(bytes.data()) + written;  // is only read
    write.bytes = bytes.size() - written;
    write.offset = offset + written;
    const core::IoResult put = co_await core::AwaitOp(loop_, write);
    if (!put.ok() || put.eof()) {
      const int error = put.ok() ? ENOSPC : put.error();
      co_return absl::UnavailableError(core::Cat("cannot write ", partial_, ": ", ErrorText(error)));
    }
    written += put.value();
  }
  co_return absl::OkStatus();
}

void Quarantine::RemovePartial() {
  if (!partial_.empty()) unlink(std::exchange(partial_, {}).c_str());
}

}  // namespace bivalve::appliance
