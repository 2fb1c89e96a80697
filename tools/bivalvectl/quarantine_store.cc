#include "tools/bivalvectl/quarantine_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <set>
#include <utility>

#include "core/text.h"
#include "tools/bivalvectl/output.h"

namespace bivalve::ctl {
namespace {

using appliance::kPartialSuffix;
using appliance::kQuarantinePrefix;
using appliance::kRecordSuffix;

constexpr size_t kIdCharacters = 6;
// 1 MiB of recipients, each byte escaped, and the rest.
constexpr size_t kRecordBytesMax = size_t{16} << 20;

std::string ErrorText(int error) { return std::strerror(error); }

bool IsId(std::string_view name) {
  if (!name.starts_with(kQuarantinePrefix)) return false;
  name.remove_prefix(kQuarantinePrefix.size());
  return name.size() == kIdCharacters && std::ranges::all_of(name, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
         });
}

absl::StatusOr<std::string> ReadAll(int fd, size_t bytes_max) {
  std::string content;
  char block[65536];
  for (;;) {
    const ssize_t got = read(fd, block, sizeof(block));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::UnavailableError(core::Cat("cannot be read: ", ErrorText(errno)));
    if (got == 0) return content;
    content.append(block, static_cast<size_t>(got));
    if (content.size() > bytes_max) return absl::UnavailableError("is too large");
  }
}

std::chrono::system_clock::time_point TimeOf(const struct stat& info) {
  return std::chrono::system_clock::from_time_t(info.st_mtim.tv_sec);
}

}  // namespace

absl::StatusOr<QuarantineStore> QuarantineStore::Open(const std::string& directory) {
  core::UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.valid()) return QuarantineStore(directory, std::move(fd));
  return absl::UnavailableError(core::Cat("cannot open ", Printable(directory), ": ", ErrorText(errno)));
}

absl::StatusOr<std::string> QuarantineStore::CheckId(std::string_view text) {
  const std::string id =
      text.starts_with(kQuarantinePrefix) ? std::string(text) : core::Cat(kQuarantinePrefix, text);
  if (IsId(id)) return id;
  return absl::InvalidArgumentError(
      core::Cat("'", Printable(text, 100), "' is no ID: that is virus. and six letters or digits"));
}

absl::StatusOr<core::UniqueFd> QuarantineStore::OpenFile(const std::string& name) const {
  core::UniqueFd fd(
      openat(directory_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!fd.valid() && errno == ENOENT) return absl::NotFoundError(core::Cat("there is no ", name));
  if (!fd.valid() && errno == ELOOP) return absl::UnavailableError(core::Cat(name, " is a symbolic link"));
  if (!fd.valid()) return absl::UnavailableError(core::Cat("cannot open ", name, ": ", ErrorText(errno)));
  struct stat info = {};
  if (fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_nlink != 1)
    return absl::UnavailableError(core::Cat(name, " is not a file of its own"));
  return fd;
}

QuarantineEntry QuarantineStore::Look(const std::string& id) const {
  QuarantineEntry entry{.id = id};
  struct stat message_info = {};
  const absl::StatusOr<core::UniqueFd> message = OpenFile(id);
  if (message.ok() && fstat(message->get(), &message_info) == 0) {
    entry.has_message = true;
    entry.size_bytes = static_cast<uint64_t>(message_info.st_size);
    entry.time = TimeOf(message_info);
    entry.owner = message_info.st_uid;
  } else {
    entry.problem =
        absl::IsNotFound(message.status()) ? "the message is gone" : std::string(message.status().message());
  }
  const absl::StatusOr<core::UniqueFd> file = OpenFile(core::Cat(id, kRecordSuffix));
  const auto without_record = [&entry](std::string_view why) {
    if (entry.problem.empty()) entry.problem = why;
    return entry;
  };
  if (absl::IsNotFound(file.status())) return without_record("there is no record");
  if (!file.ok()) return without_record(std::string(file.status().message()));
  struct stat info = {};
  if (fstat(file->get(), &info) != 0) return without_record("the record cannot be looked at");
  if (!entry.has_message) {
    entry.owner = info.st_uid;
    entry.time = TimeOf(info);
  }
  if (info.st_uid != entry.owner || (info.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return without_record("the record could be somebody else's");
  const absl::StatusOr<std::string> text = ReadAll(file->get(), kRecordBytesMax);
  if (!text.ok()) return without_record(core::Cat("the record ", std::string(text.status().message())));
  absl::StatusOr<appliance::QuarantineRecord> record = appliance::ParseQuarantineRecord(*text);
  if (!record.ok()) return without_record(std::string(record.status().message()));
  if (record->id != id) return without_record("the record is another message's");
  entry.time = record->time;
  entry.record = *std::move(record);
  return entry;
}

std::vector<QuarantineEntry> QuarantineStore::List() const {
  std::set<std::string> ids;
  const int again = openat(directory_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(again < 0 ? nullptr : fdopendir(again), closedir);
  while (directory != nullptr) {
    const dirent* item = readdir(directory.get());
    if (item == nullptr) break;
    std::string_view name = item->d_name;
    for (const std::string_view suffix : {kPartialSuffix, kRecordSuffix}) {
      if (name.ends_with(suffix)) name.remove_suffix(suffix.size());
    }
    if (IsId(name)) ids.emplace(name);
  }
  std::vector<QuarantineEntry> entries;
  for (const std::string& id : ids) entries.push_back(Look(id));
  std::ranges::stable_sort(entries, std::greater(), &QuarantineEntry::time);
  return entries;
}

absl::StatusOr<QuarantineEntry> QuarantineStore::Find(const std::string& id) const {
  const std::string record = core::Cat(id, kRecordSuffix);
  for (const std::string& name : {id, record, core::Cat(record, kPartialSuffix)}) {
    struct stat info = {};
    if (fstatat(directory_.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0) return Look(id);
  }
  return absl::NotFoundError(core::Cat("there is no ", id, " in ", Printable(path_)));
}

absl::StatusOr<std::string> QuarantineStore::ReadMessage(const std::string& id) const {
  const absl::StatusOr<core::UniqueFd> file = OpenFile(id);
  if (!file.ok()) return file.status();
  absl::StatusOr<std::string> content = ReadAll(file->get(), size_t{1} << 40);
  if (!content.ok())
    return absl::UnavailableError(core::Cat(id, " ", std::string(content.status().message())));
  return content;
}

absl::Status QuarantineStore::Delete(const std::string& id) const {
  const std::string record = core::Cat(id, kRecordSuffix);
  bool any = false;
  for (const std::string& name : {id, record, core::Cat(record, kPartialSuffix)}) {
    if (unlinkat(directory_.get(), name.c_str(), 0) == 0) {
      any = true;
    } else if (errno != ENOENT) {
      return absl::UnavailableError(core::Cat("cannot delete ", name, ": ", ErrorText(errno)));
    }
  }
  return any ? absl::OkStatus()
             : absl::NotFoundError(core::Cat("there is no ", id, " in ", Printable(path_)));
}

}  // namespace bivalve::ctl
