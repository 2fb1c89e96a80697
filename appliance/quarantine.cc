#include "appliance/quarantine.h"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

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

core::Task<absl::StatusOr<std::string>> Quarantine::Keep(Content content, std::string_view prefix) {
  const core::IoResult opened = co_await OpenNew(prefix);
  if (!opened.ok()) {
    co_return absl::UnavailableError(
        core::Cat("cannot make a file in ", directory_, ": ", ErrorText(opened.error())));
  }
  core::UniqueFd file(static_cast<int>(opened.value()));
  const absl::Status copied = co_await Copy(content, file.get());
  if (!copied.ok()) {
    RemovePartial();
    co_return copied;
  }
  co_return std::exchange(partial_, {});
}

core::Task<core::IoResult> Quarantine::OpenNew(std::string_view prefix) {
  core::IoResult result(-EEXIST);
  for (int tries = 0; tries < kNameTries && result.error() == EEXIST; ++tries) {
    const std::string random = RandomName();
    if (random.empty()) co_return core::IoResult(-EAGAIN);
    std::string path = core::Cat(directory_, "/", prefix, random);
    core::IoRequest open;
    open.code = core::IoCode::kOpenAt;
    open.fd = AT_FDCWD;
    open.address = path.data();
    open.flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    open.bytes = 0600;
    result = co_await core::AwaitOp(loop_, open);
    if (result.ok()) partial_ = std::move(path);
  }
  co_return result;
}

core::Task<absl::Status> Quarantine::Copy(Content content, int to) {
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
    for (size_t written = 0; written < got.value();) {
      core::IoRequest write;
      write.code = core::IoCode::kWrite;
      write.fd = to;
      write.address = piece_.data() + written;
      write.bytes = got.value() - written;
      write.offset = done + written;
      const core::IoResult put = co_await core::AwaitOp(loop_, write);
      if (!put.ok() || put.eof()) {
        const int error = put.ok() ? ENOSPC : put.error();
        co_return absl::UnavailableError(core::Cat("cannot write ", partial_, ": ", ErrorText(error)));
      }
      written += put.value();
    }
    done += got.value();
  }
  co_return absl::OkStatus();
}

void Quarantine::RemovePartial() {
  if (!partial_.empty()) unlink(std::exchange(partial_, {}).c_str());
}

}  // namespace bivalve::appliance
