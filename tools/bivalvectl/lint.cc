#include "tools/bivalvectl/lint.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <variant>

#include "core/text.h"
#include "scan/clamd_pool.h"
#include "tools/bivalvectl/output.h"

namespace bivalve::ctl {
namespace {

using appliance::Config;
using appliance::Problem;
using std::chrono::seconds;

// In the largest unit that is exact, as a configuration would have it.
std::string Bytes(uint64_t bytes) {
  for (const auto& [shift, unit] : {std::pair(30, 'G'), std::pair(20, 'M'), std::pair(10, 'K')}) {
    if (bytes != 0 && bytes % (uint64_t{1} << shift) == 0) return core::Cat(bytes >> shift, unit);
  }
  return core::Cat(bytes);
}

class ClamdLint {
 public:
  ClamdLint(const Config& config, uint32_t workers, const ScannerNeighbour& scanner)
      : config_(config),
        workers_(workers),
        scanner_(scanner),
        conf_(scanner.conf),
        limits_(scanner.conf.limits) {}

  std::vector<Problem> Run() {
    CheckSizes();
    CheckQueue();
    CheckTimes();
    if (!conf_.alert_exceeds_max) {
      Warn("AlertExceedsMax",
           "is not yes: clamd says OK to what lies beyond its limits, such as a deeply nested archive; with "
           "\"AlertExceedsMax yes\" it says so, and ScanFailure decides");
    }
    if (!conf_.concurrent_reload) {
      Warn("ConcurrentDatabaseReload",
           "is no: all messages wait while clamd loads a new database; say yes where memory allows two of "
           "them");
    }
    return std::move(problems_);
  }

 private:
  template <typename... Pieces>
  void Warn(std::string_view setting, const Pieces&... pieces) {
    problems_.push_back({.kind = Problem::Kind::kWarning,
                         .file = scanner_.path,
                         .setting = std::string(setting),
                         .text = core::Cat(pieces...)});
  }

  void CheckSizes() {
    // 0 is without limit, on both sides.
    const uint64_t message = config_.message_bytes_max;
    const auto check = [this, message](std::string_view setting, uint64_t limit, std::string_view what) {
      if (limit == 0 || (message != 0 && message <= limit)) return;
      const std::string ours = message == 0 ? "without limit (MaxMessageSize)"
                                            : core::Cat("up to ", Bytes(message), " (MaxMessageSize)");
      Warn(setting, "is ", Bytes(limit), ", and mail is accepted ", ours, ": ", what,
           "; raise it, or lower MaxMessageSize to ", Bytes(limit));
    };
    if (scanner_.by_stream)
      check("StreamMaxLength", limits_.stream_bytes_max,
            "larger messages get no verdict, and ScanFailure decides for the cause size");
    // With AlertExceedsMax clamd says that it stopped at a limit; without it, its OK for such a message is
    // doubted.
    check("MaxFileSize", limits_.file_bytes_max,
          core::Cat("larger messages are not looked at, and ScanFailure decides for the cause ",
                    conf_.alert_exceeds_max ? "limits" : "size"));
    check("MaxScanSize", limits_.scan_bytes_max,
          "what lies behind that in a larger message is not looked at");
  }

  void CheckQueue() {
    uint64_t connections = uint64_t{workers_} * config_.clam_connections;
    if (const uint64_t share = scan::ShareOfQueue(limits_, workers_);
        share != 0 && 2 * connections >= limits_.queue_max) {
      Warn("MaxQueue", "is ", limits_.queue_max, ", and ", workers_, " workers with ClamConnections ",
           config_.clam_connections, " would keep ", connections,
           " connections, which is not below half of it: each keeps ",
           std::min<uint64_t>(share, config_.clam_connections), "; raise it to ", 2 * connections + 1,
           " or lower ClamConnections");
      connections = std::min(connections, share * workers_);
    }
    const uint64_t each = scanner_.by_stream ? 1 : scan::ClamdPool::Options{}.outstanding_max;
    if (connections * each < conf_.threads_max) {
      Warn("MaxThreads", "is ", conf_.threads_max, ", and at most ", connections * each,
           " messages are with this clamd at a time: raise ClamConnections to ",
           (conf_.threads_max + workers_ * each - 1) / (workers_ * each), " to use its threads");
    }
  }

  void CheckTimes() {
    const auto ping = std::chrono::duration_cast<seconds>(scan::ClamdPool::Options{}.ping_interval);
    if (conf_.read_timeout <= 2 * ping && conf_.read_timeout.count() != 0) {
      Warn("ReadTimeout", "is ", conf_.read_timeout.count(),
           " s: clamd cuts connections that are quiet for so long, and Bivalve speaks every ", ping.count(),
           " s; raise it above ", 2 * ping.count(), " s");
    }
    constexpr seconds kCommandReadTimeoutMin{5};
    if (conf_.command_read_timeout < kCommandReadTimeoutMin) {
      Warn("CommandReadTimeout", "is ", conf_.command_read_timeout.count(),
           " s: new connections are cut on a busy machine; clamd's default is 30 s");
    }
    const auto scan_time = std::chrono::duration_cast<seconds>(limits_.scan_time_max);
    if (scan_time >= config_.clam_timeout || scan_time.count() == 0) {
      Warn("MaxScanTime",
           scan_time.count() == 0 ? std::string("is without limit")
                                  : core::Cat("is ", scan_time.count(), " s"),
           ", and Bivalve waits ", config_.clam_timeout.count(),
           " s for a verdict (ClamTimeOut): clamd goes on with what nobody waits for; lower it below "
           "ClamTimeOut");
    }
  }

  const Config& config_;
  uint32_t workers_;
  const ScannerNeighbour& scanner_;
  const scan::ClamdConf& conf_;
  const scan::ScannerLimits& limits_;
  std::vector<Problem> problems_;
};

class PostfixLint {
 public:
  PostfixLint(const Config& config, const PostfixConf& postfix, const std::string& directory)
      : config_(config), postfix_(postfix), directory_(directory) {}

  std::vector<Problem> Run() {
    bool sends_here = false;
    for (const PostfixService& service : postfix_.services()) {
      if (service.command != "smtpd") continue;
      if (LeadsHere(postfix_.Value(&service, "smtpd_proxy_filter", "").text)) {
        sends_here = true;
        CheckSize(&service, "refuses them while Postfix's client waits");
        CheckTime(&service, "smtpd_proxy_timeout", "100s",
                  "Postfix gives up before the verdict, and the client sends the message again");
      }
      if (const std::string filter = postfix_.Value(&service, "content_filter", "").text; LeadsHere(filter)) {
        sends_here = true;
        CheckSize(&service, "refuses them, so that they bounce");
        CheckTransport(filter);
      }
      if (IsServer(service)) CheckServer(service);
    }
    // Without a master.cf there is still what main.cf says for all services.
    if (!sends_here && postfix_.services().empty()) {
      const std::string filter = postfix_.Value(nullptr, "content_filter", "").text;
      if (LeadsHere(filter)) {
        CheckSize(nullptr, "refuses them, so that they bounce");
        CheckTransport(filter);
      }
    }
    return std::move(problems_);
  }

 private:
  void Warn(const PostfixValue& value, std::string_view setting, std::string text) {
    Problem problem{.kind = Problem::Kind::kWarning,
                    .file = core::Cat(directory_, "/", value.file),
                    .line = value.line,
                    .setting = std::string(setting),
                    .text = std::move(text)};
    // Two services that say the same are told so once.
    if (told_.insert(ToString(problem)).second) problems_.push_back(std::move(problem));
  }

  // Whether "127.0.0.1:10025", "inet:host:port", "scan:[127.0.0.1]:10025" or "unix:/path" is where we listen.
  bool LeadsHere(std::string_view filter) const {
    if (filter.empty()) return false;
    for (const net::Endpoint& listen : config_.listen) {
      const std::string text = net::ToString(listen);
      const std::string_view end = std::holds_alternative<net::SocketAddress>(listen) && text.starts_with('/')
                                       ? std::string_view(text)
                                       : std::string_view(text).substr(text.rfind(':') + 1);
      if (filter.ends_with(end) && (filter.size() == end.size() || text.starts_with('/') ||
                                    filter[filter.size() - end.size() - 1] == ':'))
        return true;
    }
    return false;
  }

  // A service of this Postfix that gets the mail behind us, by its port.
  bool IsServer(const PostfixService& service) const {
    if (service.type != "inet") return false;
    const std::string_view port = std::string_view(service.name).substr(service.name.rfind(':') + 1);
    return std::ranges::any_of(config_.out_address, [port](const net::Endpoint& endpoint) {
      const std::string text = net::ToString(endpoint);
      const auto* address = std::get_if<net::SocketAddress>(&endpoint);
      const bool here = std::holds_alternative<net::PortOnly>(endpoint) ||
                        (address != nullptr && address->is_loopback()) || text.starts_with("localhost:");
      return here && text.substr(text.rfind(':') + 1) == (port == "smtp" ? "25" : port);
    });
  }

  void CheckSize(const PostfixService* service, std::string_view consequence) {
    constexpr uint64_t kHeaderRoom = 8192;  // Postfix adds lines of its own behind its limit
    const uint64_t ours = config_.message_bytes_max;
    const PostfixValue value = postfix_.Value(service, "message_size_limit", "10240000");
    const std::optional<uint64_t> theirs = PostfixConf::Number(value);
    if (!theirs.has_value() || ours == 0 || (*theirs != 0 && *theirs + kHeaderRoom <= ours)) return;
    Warn(value, "message_size_limit",
         core::Cat("is ", *theirs == 0 ? std::string("without limit") : Bytes(*theirs),
                   ", and MaxMessageSize is ", Bytes(ours),
                   ": Postfix takes messages that are too large for Bivalve, which ", consequence, "; ",
                   *theirs == 0 ? std::string("set it below MaxMessageSize")
                                : core::Cat("set MaxMessageSize to ",
                                            Bytes((((*theirs + kHeaderRoom) >> 20) + 1) << 20), " or more")));
  }

  void CheckTime(const PostfixService* service, const std::string& name, std::string_view default_text,
                 std::string_view consequence) {
    const PostfixValue value = postfix_.Value(service, name, default_text);
    const std::optional<seconds> time = PostfixConf::Time(value);
    if (!time.has_value() || *time > config_.clam_timeout) return;
    Warn(value, name,
         core::Cat("is ", time->count(), " s, and the verdict on a message may take ",
                   config_.clam_timeout.count(), " s (ClamTimeOut): ", consequence, "; set it to ",
                   (config_.clam_timeout + config_.timeout).count(),
                   "s (ClamTimeOut and TimeOut) or lower ClamTimeOut"));
  }

  // content_filter = transport:nexthop; the transport is a service of smtp or lmtp.
  void CheckTransport(std::string_view filter) {
    const std::string_view name = filter.substr(0, filter.find(':'));
    const auto found = std::ranges::find_if(postfix_.services(), [name](const PostfixService& service) {
      return service.name == name && service.type == "unix";
    });
    const PostfixService* service = found == postfix_.services().end() ? nullptr : &*found;
    const std::string command = service != nullptr && service->command == "lmtp" ? "lmtp" : "smtp";
    CheckTime(service, command + "_data_done_timeout", "600s",
              "Postfix gives up before the verdict and sends the message again later, perhaps a second time");
  }

  // It waits, in the middle of a session, for as long as the message is received and scanned.
  void CheckServer(const PostfixService& service) {
    const PostfixValue value = postfix_.Value(&service, "smtpd_timeout", "300s");
    const std::optional<seconds> time = PostfixConf::Time(value);
    if (!time.has_value() || config_.keep_alives.count() != 0 || *time > config_.clam_timeout) return;
    Warn(value, "smtpd_timeout",
         core::Cat("is ", time->count(), " s, and a scan may take ", config_.clam_timeout.count(),
                   " s (ClamTimeOut): the server behind Bivalve hangs up meanwhile; set KeepAlives to ",
                   std::max<int64_t>(time->count() / 3, 1)));
  }

  const Config& config_;
  const PostfixConf& postfix_;
  const std::string& directory_;
  std::set<std::string> told_;
  std::vector<Problem> problems_;
};

}  // namespace

std::vector<Problem> LintClamd(const Config& config, uint32_t workers, const ScannerNeighbour& scanner) {
  return ClamdLint(config, workers, scanner).Run();
}

std::vector<Problem> LintPostfix(const Config& config, const PostfixConf& postfix,
                                 const std::string& directory) {
  return PostfixLint(config, postfix, directory).Run();
}

}  // namespace bivalve::ctl
