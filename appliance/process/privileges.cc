#include "appliance/process/privileges.h"

#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>

#include "core/text.h"

namespace bivalve::appliance {
namespace {

struct Account {
  std::string name;  // empty: a number without an account
  uid_t uid = 0;
  gid_t gid = 0;
};

template <typename... Pieces>
absl::Status Failed(const std::string& user, const Pieces&... pieces) {
  std::string text = "User: '";
  core::AppendEscaped(text, user, 100);
  core::Append(text, "': ", pieces...);
  return absl::FailedPreconditionError(text);
}

absl::Status SystemFailed(const std::string& user, std::string_view what) {
  return Failed(user, what, ": ", std::string_view(std::strerror(errno)));
}

// A number without an account is a user without a name, with the group of the same number.
absl::Status FindAccount(const std::string& user, Account& account) {
  errno = 0;
  const passwd* entry = getpwnam(user.c_str());
  uid_t number = 0;
  const auto [end, error] = std::from_chars(user.data(), user.data() + user.size(), number);
  const bool is_number = error == std::errc() && end == user.data() + user.size();
  if (entry == nullptr && is_number) entry = getpwuid(number);
  if (entry != nullptr) {
    account = {.name = entry->pw_name, .uid = entry->pw_uid, .gid = entry->pw_gid};
    return absl::OkStatus();
  }
  if (!is_number) return Failed(user, "there is no such user");
  account = {.name = {}, .uid = number, .gid = number};
  return absl::OkStatus();
}

bool IsOnly(uid_t uid, gid_t gid) {
  uid_t uids[3];
  gid_t gids[3];
  return getresuid(&uids[0], &uids[1], &uids[2]) == 0 && getresgid(&gids[0], &gids[1], &gids[2]) == 0 &&
         uids[0] == uid && uids[1] == uid && uids[2] == uid && gids[0] == gid && gids[1] == gid &&
         gids[2] == gid;
}

// Sets exactly these capabilities, permitted and effective, none inheritable: programs that we start get
// none.
bool SetCapabilities(uint64_t set) {
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2] = {};
  for (int i = 0; i < 2; ++i) {
    data[i].permitted = data[i].effective = static_cast<uint32_t>(set >> (32 * i));
  }
  return syscall(SYS_capset, &header, data) == 0;
}

}  // namespace

InheritableCapabilities::InheritableCapabilities() {
  if (geteuid() == 0) return;
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) != 0) return;
  for (auto& half : data) half.inheritable = half.permitted;
  if (syscall(SYS_capset, &header, data) != 0) return;
  for (int capability = 0; capability < 64; ++capability) {
    if ((data[capability / 32].permitted >> (capability % 32) & 1) != 0)
      prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
  }
}

void InheritableCapabilities::Forget() {
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) != 0) return;
  for (auto& half : data) half.inheritable = 0;
  syscall(SYS_capset, &header, data);
}

bool FindUser(const std::string& user, uid_t& uid, gid_t& gid) {
  Account account;
  if (!FindAccount(user, account).ok()) return false;
  uid = account.uid;
  gid = account.gid;
  return true;
}

bool UserExists(const std::string& user) {
  Account account;
  return FindAccount(user, account).ok();
}

bool IsUser(const std::string& user) {
  Account account;
  return FindAccount(user, account).ok() && IsOnly(account.uid, account.gid);
}

absl::Status BecomeUser(const std::string& user, bool keep_network) {
  Account account;
  if (absl::Status status = FindAccount(user, account); !status.ok()) return status;
  if (geteuid() != 0) {
    if (IsOnly(account.uid, account.gid)) return absl::OkStatus();
    return Failed(user, "only root can become another user; start as root or without this setting");
  }
  if (keep_network && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0)
    return SystemFailed(user, "cannot keep capabilities");
  const bool groups =
      account.name.empty() ? setgroups(0, nullptr) == 0 : initgroups(account.name.c_str(), account.gid) == 0;
  if (!groups) return SystemFailed(user, "cannot set the supplementary groups");
  if (setresgid(account.gid, account.gid, account.gid) != 0)
    return SystemFailed(user, "cannot set the group");
  if (setresuid(account.uid, account.uid, account.uid) != 0) return SystemFailed(user, "cannot set the user");
  if (!IsOnly(account.uid, account.gid)) return Failed(user, "the system did not change the user as it said");
  if (account.uid == 0) return absl::OkStatus();
  const uint64_t network = uint64_t{1} << CAP_NET_ADMIN | uint64_t{1} << CAP_NET_RAW;
  if (!SetCapabilities(keep_network ? network : 0)) return SystemFailed(user, "cannot set the capabilities");
  if (setuid(0) == 0 || seteuid(0) == 0 || (account.gid != 0 && setgid(0) == 0)) {
    return Failed(user, "the way back to root is still open");
  }
  return absl::OkStatus();
}

}  // namespace bivalve::appliance
