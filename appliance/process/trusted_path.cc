#include "appliance/process/trusted_path.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>

#include "appliance/settings/quoted_value.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

// The same limit as in the kernel.
constexpr int kLinksMax = 40;

bool IsTrusted(uid_t user, const Trusted& trusted) {
  return user == 0 || std::ranges::find(trusted.users, user) != trusted.users.end();
}

bool OthersMayWrite(const struct stat& info, const Trusted& trusted) {
  const bool group_is_ours =
      info.st_gid == 0 || std::ranges::find(trusted.groups, info.st_gid) != trusted.groups.end();
  return (info.st_mode & S_IWOTH) != 0 || ((info.st_mode & S_IWGRP) != 0 && !group_is_ours);
}

std::string UserText(uid_t user) {
  const passwd* entry = getpwuid(user);
  return entry != nullptr ? core::Cat("user ", QuotedValue(entry->pw_name)) : core::Cat("user ", user);
}

std::string ModeText(const struct stat& info) {
  std::array<char, 8> text;
  const int size = std::snprintf(text.data(), text.size(), "%04o", info.st_mode & 07777);
  return std::string(text.data(), static_cast<size_t>(size));
}

std::string WhyNotDirectory(const struct stat& info, const std::string& directory, const Trusted& trusted) {
  if (!IsTrusted(info.st_uid, trusted)) {
    return core::Cat("the directory ", QuotedValue(directory), " belongs to ", UserText(info.st_uid),
                     ", who could put another file in its place; choose one that is root's, such as /run");
  }
  if (OthersMayWrite(info, trusted) && (info.st_mode & S_ISVTX) == 0) {
    return core::Cat(
        "others may write to the directory ", QuotedValue(directory), " (mode ", ModeText(info),
        ") and put another file in its place; chmod go-w it, or choose another one, such as /run");
  }
  return {};
}

}  // namespace

std::string WhyNotTrusted(const struct stat& file, std::string_view path, const Trusted& trusted) {
  const std::string name = QuotedValue(path);
  if (!S_ISREG(file.st_mode)) return core::Cat(name, " exists and is no file");
  if (!IsTrusted(file.st_uid, trusted)) {
    return core::Cat(name, " belongs to ", UserText(file.st_uid),
                     ", who could name another process there; remove it, or choose another place");
  }
  if (OthersMayWrite(file, trusted)) {
    return core::Cat("others may write to ", name, " (mode ", ModeText(file),
                     ") and name another process there; remove it, or chmod go-w it");
  }
  if (file.st_nlink > 1)
    return core::Cat(name, " is the same file as one of another name; remove it, or choose another place");
  return {};
}

std::string WhyNotTrusted(const std::string& path, const Trusted& trusted) {
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return {};
  std::vector<std::string> rest;  // the next one last
  for (const auto& part : absolute.relative_path()) rest.insert(rest.begin(), part.string());
  std::string directory = "/";
  for (int links = 0; !rest.empty();) {
    struct stat info = {};
    if (stat(directory.c_str(), &info) != 0) return {};
    if (std::string why = WhyNotDirectory(info, directory, trusted); !why.empty()) return why;
    const std::string part = rest.back();
    rest.pop_back();
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      directory = std::filesystem::path(directory).parent_path();
      continue;
    }
    const std::string next = core::Cat(directory == "/" ? "" : directory, "/", part);
    if (lstat(next.c_str(), &info) != 0) return {};
    if (S_ISLNK(info.st_mode)) {
      if (!IsTrusted(info.st_uid, trusted)) {
        return core::Cat("the symbolic link ", QuotedValue(next), " belongs to ", UserText(info.st_uid),
                         "; name the file without it");
      }
      if (rest.empty()) return core::Cat(QuotedValue(next), " is a symbolic link; name the file itself");
      const std::filesystem::path target = std::filesystem::read_symlink(next, error);
      if (error || ++links > kLinksMax) return {};
      if (target.is_absolute()) directory = "/";
      const std::filesystem::path parts = target.relative_path();
      std::vector<std::string> names;
      for (const auto& one : parts) names.push_back(one.string());
      rest.insert(rest.end(), names.rbegin(), names.rend());
    } else if (!rest.empty()) {
      directory = next;
    } else {
      return WhyNotTrusted(info, path, trusted);
    }
  }
  return {};
}

}  // namespace bivalve::appliance
