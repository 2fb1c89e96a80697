#include "appliance/process/config_check.h"

#include <fcntl.h>
#include <ifaddrs.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "appliance/process/pid_file.h"
#include "appliance/process/privileges.h"
#include "appliance/process/trusted_path.h"
#include "appliance/settings/quoted_value.h"
#include "core/text.h"
#include "scan/scanner_facts.h"

namespace bivalve::appliance {
namespace {

using Kind = Problem::Kind;

// Why we cannot write to a directory: an errno; 0 if we can.
int WriteErrorHere(const std::string& directory) {
  return faccessat(AT_FDCWD, directory.c_str(), W_OK | X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

// The same for the user that the program will run as; nullopt if that cannot be found out.
std::optional<int> WriteErrorAs(const std::string& user, const std::string& directory) {
  if (user.empty() || IsUser(user)) return WriteErrorHere(directory);
  if (geteuid() != 0) return std::nullopt;
  const pid_t child = fork();
  if (child < 0) return std::nullopt;
  if (child == 0) _exit(BecomeUser(user, false).ok() ? WriteErrorHere(directory) : 255);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) == 255) return std::nullopt;
  return WEXITSTATUS(status);
}

// The addresses of this machine.
class LocalAddresses {
 public:
  LocalAddresses() {
    ifaddrs* list = nullptr;
    if (getifaddrs(&list) != 0) return;
    const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owned(list, freeifaddrs);
    for (const ifaddrs* one = list; one != nullptr; one = one->ifa_next) {
      if (one->ifa_addr == nullptr) continue;
      const bool ipv6 = one->ifa_addr->sa_family == AF_INET6;
      const socklen_t size = ipv6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
      if (ipv6 || one->ifa_addr->sa_family == AF_INET)
        hosts_.push_back(net::SocketAddress::FromRaw(one->ifa_addr, size).Host());
    }
  }
  bool Has(const net::SocketAddress& address) const {
    return address.is_loopback() || IsWildcard(address) ||
           std::ranges::find(hosts_, address.Host()) != hosts_.end();
  }
  static bool IsWildcard(const net::SocketAddress& address) {
    const std::string host = address.Host();
    return host == "0.0.0.0" || host == "::";
  }

 private:
  std::vector<std::string> hosts_;
};

// Who meets our own listener `listen` on a connection to `to`: nobody, local clients, or all clients.
enum class Meets : uint8_t { kNo, kLocalClients, kYes };

Meets Meet(const net::Endpoint& listen, const net::Endpoint& to, const LocalAddresses& local) {
  const auto* socket = std::get_if<net::SocketAddress>(&listen);
  if (socket != nullptr && socket->family() == AF_UNIX) {
    const auto* other = std::get_if<net::SocketAddress>(&to);
    return other != nullptr && *other == *socket ? Meets::kYes : Meets::kNo;
  }
  const auto* port_only = std::get_if<net::PortOnly>(&listen);
  if (socket == nullptr && port_only == nullptr) return Meets::kNo;
  const uint16_t port = socket != nullptr ? socket->port() : port_only->port;
  const bool everywhere = socket == nullptr || LocalAddresses::IsWildcard(*socket);
  if (const auto* other = std::get_if<net::PortOnly>(&to))
    return other->port == port ? Meets::kLocalClients : Meets::kNo;
  if (const auto* name = std::get_if<net::HostName>(&to)) {
    const bool here =
        core::EqualsIgnoreCase(name->name, "localhost") && (everywhere || socket->is_loopback());
    return here && name->port == port ? Meets::kYes : Meets::kNo;
  }
  const auto& other = std::get<net::SocketAddress>(to);
  if (other.family() == AF_UNIX || other.port() != port) return Meets::kNo;
  const bool same = everywhere ? local.Has(other)
                               : socket->Host() == other.Host() ||
                                     (LocalAddresses::IsWildcard(other) && local.Has(*socket));
  return same ? Meets::kYes : Meets::kNo;
}

class Checker {
 public:
  Checker(const Parsed& parsed, std::string_view file, const Situation& situation)
      : parsed_(parsed), config_(parsed.config), situation_(situation), file_(file) {}

  std::vector<Problem> Run() {
    if (!config_.user.empty() && IsNews(&Config::user) && !UserExists(config_.user))
      Report(Kind::kError, "User", 0, core::Cat("there is no user ", QuotedValue(config_.user)));
    if (!config_.pid_file.empty() && IsNews(&Config::pid_file)) CheckPidFile();
    CheckTempDirectory();
    CheckAddresses();
    if (situation_.stage == Stage::kCheck) CheckScanners();
    return std::move(problems_);
  }

 private:
  using Stage = Situation::Stage;

  // A running process does not check again the values that it has already used.
  bool IsNews(std::string Config::* member) const {
    return situation_.in_force == nullptr || situation_.in_force->*member != config_.*member;
  }

  // Reports a problem with the value number `index` of a setting.
  void Report(Kind kind, std::string_view setting, size_t index, std::string text) {
    const Place place = parsed_.PlaceOf(setting, index);
    problems_.push_back({.kind = kind,
                         .file = place.line == 0 && place.file.empty() ? file_ : place.file,
                         .line = place.line,
                         .setting = std::string(setting),
                         .text = std::move(text)});
  }

  // Whether it is a directory; if not, reports why.
  bool IsDirectory(std::string_view setting, const std::string& directory) {
    struct stat info = {};
    if (stat(directory.c_str(), &info) != 0) {
      const std::string_view why = std::strerror(errno);
      Report(Kind::kError, setting, 0, core::Cat("the directory ", QuotedValue(directory), ": ", why));
      return false;
    }
    if (!S_ISDIR(info.st_mode))
      Report(Kind::kError, setting, 0, core::Cat(QuotedValue(directory), " is no directory"));
    return S_ISDIR(info.st_mode);
  }

  void ReportUnwritable(std::string_view setting, const std::string& directory, int error) {
    const bool only_us = situation_.stage == Stage::kCheck && config_.user.empty() && geteuid() != 0;
    std::string who = core::Cat("user ", geteuid());
    const bool is_that_user = situation_.stage != Stage::kReload || !IsNews(&Config::user);
    if (!config_.user.empty() && is_that_user) who = core::Cat("user ", QuotedValue(config_.user));
    Report(only_us ? Kind::kWarning : Kind::kError, setting, 0,
           core::Cat("the directory ", QuotedValue(directory), " cannot be written to by ", who, ": ",
                     std::string_view(std::strerror(error))));
  }

  // The file is written before the program becomes User.
  void CheckPidFile() {
    const std::string& path = config_.pid_file;
    const size_t slash = path.rfind('/');
    const std::string directory = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
    if (!IsDirectory("PidFile", directory)) return;
    struct stat info = {};
    if (lstat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
      Report(Kind::kError, "PidFile", 0, core::Cat(QuotedValue(path), " exists and is no file"));
      return;
    }
    if (std::string why = WhyNotTrusted(path, TrustedWithPidFile(config_.user)); !why.empty()) {
      Report(Kind::kError, "PidFile", 0, std::move(why));
      return;
    }
    if (!config_.user.empty() && geteuid() != 0) return;
    // If the file exists and can be written, the directory need not be.
    if (faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) == 0) return;
    if (const int error = WriteErrorHere(directory); error != 0) {
      Report(situation_.stage != Stage::kStart && geteuid() != 0 ? Kind::kWarning : Kind::kError, "PidFile",
             0,
             core::Cat("the directory ", QuotedValue(directory), " cannot be written to by user ", geteuid(),
                       ": ", std::string_view(std::strerror(error))));
    }
  }

  void CheckTempDirectory() {
    if (!IsDirectory("TempDirectory", config_.temp_directory)) return;
    std::optional<int> error;
    if (situation_.stage == Stage::kReload) {
      error = WriteErrorHere(config_.temp_directory);
    } else if (config_.user.empty() || UserExists(config_.user)) {
      error = WriteErrorAs(config_.user, config_.temp_directory);
    }
    if (error.value_or(0) != 0) ReportUnwritable("TempDirectory", config_.temp_directory, *error);
  }

  void CheckAddresses() {
    if (situation_.listen_is_void) return;
    if (!config_.transparent_proxy) {
      CheckEndpoints("OutAddress", config_.out_address, "mail would come back here for ever");
    }
    CheckEndpoints("ClamAddress", config_.clam_address, "there is no scanner");
    // If this is the default address, a conflict with Listen is only a warning.
    if (config_.stats_address.has_value()) {
      CheckEndpoints("StatsAddress", {*config_.stats_address}, "mail is accepted there",
                     config_.stats_address_set ? Kind::kError : Kind::kWarning);
    }
  }

  // A running process checks its scanners itself, each time a scanner has been restarted.
  void CheckScanners() {
    uid_t own = geteuid();
    gid_t group = getegid();
    if (!config_.user.empty() && !FindUser(config_.user, own, group)) return;
    for (size_t i = 0; i < config_.clam_address.size(); ++i) {
      const auto* address = std::get_if<net::SocketAddress>(&config_.clam_address[i]);
      if (address == nullptr || address->family() != AF_UNIX) continue;
      if (scan::ListeningUser(address->ToString()) == own) {
        Report(Kind::kWarning, "ClamAddress", i,
               core::Cat("the scanner ", QuotedValue(address->ToString()), ": ", scan::kSameUserWarning));
      }
    }
  }

  void CheckEndpoints(std::string_view setting, const std::vector<net::Endpoint>& endpoints,
                      std::string_view consequence, Kind kind = Kind::kError) {
    for (size_t i = 0; i < endpoints.size(); ++i) {
      Meets worst = Meets::kNo;
      for (const net::Endpoint& listen : config_.listen)
        worst = std::max(worst, Meet(listen, endpoints[i], local_));
      const std::string shown = QuotedValue(net::ToString(endpoints[i]));
      if (worst == Meets::kYes) {
        Report(kind, setting, i,
               core::Cat(shown, " is where this program itself listens (Listen): ", consequence));
      } else if (worst == Meets::kLocalClients) {
        Report(Kind::kWarning, setting, i,
               core::Cat(shown, " is this program's own port (Listen): for a client on this machine ",
                         consequence));
      }
    }
  }

  const Parsed& parsed_;
  const Config& config_;
  const Situation& situation_;
  std::string file_;
  LocalAddresses local_;
  std::vector<Problem> problems_;
};

}  // namespace

uint32_t WorkersOf(const Config& config) {
  if (config.workers != 0) return config.workers;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return static_cast<uint32_t>(std::max(CPU_COUNT(&set), 1));
}

std::vector<Problem> CheckSurroundings(const Parsed& parsed, std::string_view file,
                                       const Situation& situation) {
  return Checker(parsed, file, situation).Run();
}

}  // namespace bivalve::appliance
