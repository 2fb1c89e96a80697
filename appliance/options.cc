#include "appliance/options.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "appliance/header_template.h"
#include "appliance/option_values.h"
#include "core/check.h"
#include "core/fd.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

constexpr uint64_t kBytesMax = uint64_t{1} << 50;  // far beyond every machine, and far from overflow
constexpr uint64_t kDaySeconds = 86400;

absl::Status CheckHeader(std::string_view value) { return HeaderTemplate::Compile(value).status(); }

absl::Status CheckNotEmpty(std::string_view value) {
  return value.empty() ? absl::InvalidArgumentError("needs a value") : absl::OkStatus();
}

// What stands in a greeting: a domain or an address literal (RFC 5321 section 4.2). Underscores are no part
// of a domain, but host names in use have them.
absl::Status CheckHostName(std::string_view value) {
  if (absl::Status status = CheckNotEmpty(value); !status.ok()) return status;
  const bool plain = std::ranges::all_of(value, [](char c) {
    const char lower = core::AsciiLower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') ||
           std::string_view(".-_[]:").find(c) != std::string_view::npos;
  });
  if (plain && value.size() <= 255) return absl::OkStatus();
  return absl::InvalidArgumentError(core::Cat(QuotedValue(value), " is no host name"));
}

constexpr Option kOptions[] = {
    {.name = "OutAddress",
     .field = &Config::out_address,
     .default_text = "",
     .doc = "The mail server that gets the mail after the scan. A port alone means that port on the "
            "machine the client connects from. A host name is looked up again for new connections. The "
            "setting may be repeated: the next address is tried when one cannot be reached. Without a "
            "port, port 25 is used. With TransparentProxy it is not needed, and not used.",
     .required = true,
     .default_port = 25,
     .required_unless = &Config::transparent_proxy},
    {.name = "Listen",
     .field = &Config::listen,
     .default_text = "10025",
     .doc = "Where mail is accepted. A port alone means that port on all addresses of the machine, IPv4 "
            "and IPv6. The setting may be repeated to listen on several addresses.",
     .default_port = 10025},
    {.name = "ClamAddress",
     .field = &Config::clam_address,
     .default_text = "/var/run/clamav/clamd.ctl",
     .doc = "Where clamd listens: the path of its local socket, or an address and a port. A port alone "
            "means that port on this machine. The setting may be repeated: the load is spread over all "
            "scanners, and one that fails is left out until it answers again. The default is "
            "/var/run/clamav/clamd.ctl, or /var/run/clamav/clamd when only that one exists.",
     .port_alone_is_local = true,
     .default_else_path = "/var/run/clamav/clamd"},
    {.name = "Header",
     .field = &Config::header,
     .default_text = "X-Virus-Scanned: ClamAV using Bivalve",
     .doc = "The header that scanned mail gets. In it %i is the address of the client, %l the address it "
            "connected to, %d the date and %% a percent sign; \\r, \\n and \\t are the characters usually "
            "written so, and \\\\ is a backslash. The header goes to the end of the message's header "
            "section, one that starts with Received: to its top. An empty value adds no header. Started "
            "under the name clamsmtpd, the default is X-Virus-Scanned: ClamAV using ClamSMTP.",
     .check = CheckHeader,
     .default_clamsmtpd = "X-Virus-Scanned: ClamAV using ClamSMTP"},
    {.name = "Action",
     .field = &Config::action,
     .default_text = "drop",
     .doc = "What happens to an infected message. With drop it is accepted and thrown away, with bounce "
            "it is rejected with reply code 550, and with pass it is delivered with the header "
            "X-Virus-Infected added. Most viruses forge their sender, so bounce punishes the innocent "
            "unless the client is your own."},
    {.name = "Quarantine",
     .field = &Config::quarantine,
     .default_text = "off",
     .doc = "Whether infected messages are kept, as files in TempDirectory that only the user of this "
            "program can read. Their names are virus.XXXXXX, with six random characters; the content is the "
            "message as it was sent. A file that cannot be written, because the disk is full for example, "
            "is reported in the log and changes nothing for the client."},
    {.name = "VirusAction",
     .field = &Config::virus_action,
     .default_text = "",
     .doc = "A command that is run by /bin/sh for every infected message. What is known of the message is "
            "in environment variables; see VIRUS ACTIONS in bivalved(8). The command runs beside the "
            "mail, which does not wait for it; its output goes nowhere and its exit status is ignored. "
            "The default is none."},
    {.name = "TempDirectory",
     .field = &Config::temp_directory,
     .default_text = "/tmp",
     .doc = "The directory for files. Message bodies go there, as files without a name, when memory is "
            "short or the body is large, and infected messages when Quarantine is on. It should be "
            "writable for the user of this program and nobody else.",
     .check = CheckNotEmpty},
    {.name = "MaxConnections",
     .field = &Config::connections_max,
     .default_text = "20000",
     .doc = "The most client connections at one time, over all workers. Further ones get reply code 421. "
            "The limit on open files is raised at the start as far as the system allows.",
     .min = 1,
     .max = 1'000'000},
    {.name = "TimeOut",
     .field = &Config::timeout,
     .default_text = "180",
     .doc = "How many seconds to wait for the client or the mail server before the connection is given "
            "up.",
     .min = 1,
     .max = kDaySeconds},
    {.name = "KeepAlives",
     .field = &Config::keep_alives,
     .default_text = "0",
     .doc = "Every so many seconds the mail server gets a NOOP while a message is received and scanned, so "
            "that it does not give up waiting. With 0 it gets none.",
     .min = 0,
     .max = kDaySeconds},
    {.name = "XClient",
     .field = &Config::xclient,
     .default_text = "off",
     .doc = "Whether the mail server is told who the client is, by the command XCLIENT, when it offers "
            "that. It then applies its access rules to the client and not to this filter. In Postfix, "
            "smtpd_authorized_xclient_hosts must name this machine."},
    {.name = "TransparentProxy",
     .field = &Config::transparent_proxy,
     .default_text = "off",
     .doc = "Whether mail goes on to where the client wanted to connect, before the packet filter sent the "
            "connection here. Both REDIRECT and TPROXY rules work; see TRANSPARENT PROXY in bivalved(8). A "
            "connection that would come back to this program is refused."},
    {.name = "User",
     .field = &Config::user,
     .default_text = "",
     .doc = "The user, by name or number, that the program runs as after it has opened its sockets. It "
            "must then be started as root. The default is none: it stays who it is."},
    {.name = "PidFile",
     .field = &Config::pid_file,
     .default_text = "",
     .doc = "A file that gets the number of the process. An empty value, the default, writes none. The -p "
            "option of the command line comes first."},
    {.name = "Workers",
     .field = &Config::workers,
     .default_text = "auto",
     .doc = "How many threads handle mail. With auto there is one for each CPU that the process may use.",
     .min = 1,
     .max = 1024,
     .zero_name = "auto"},
    {.name = "ClamMethod",
     .field = &Config::clam_method,
     .default_text = "auto",
     .doc = "How clamd gets a message. With fildes it gets an open file, which needs a local socket and "
            "copies nothing; with instream the message is sent to it. With auto, local sockets use "
            "fildes, and everything else, a scanner that refuses open files included, uses instream."},
    {.name = "ClamConnections",
     .field = &Config::clam_connections,
     .default_text = "2",
     .doc = "How many connections each worker keeps to each scanner. Those of all workers together must "
            "stay below half of MaxQueue in clamd.conf.",
     .min = 1,
     .max = 1000},
    {.name = "ClamTimeOut",
     .field = &Config::clam_timeout,
     .default_text = "120",
     .doc = "How many seconds may pass from the end of a message to its verdict, waiting for a free "
            "scanner and one more try included. After that, ScanFailure decides.",
     .min = 1,
     .max = kDaySeconds},
    {.name = "ScanFailure",
     .field = &Config::scan_failure,
     .default_text = "tempfail",
     .doc = "What happens to a message that could not be scanned. With tempfail the client is told to try "
            "again later (reply code 451), with reject the message is refused (554), and with pass it is "
            "delivered unscanned, with a header that says so. One word holds for every cause; a list such "
            "as down=tempfail, size=reject, limits=pass sets the causes one by one, and those left out "
            "keep the default. The causes are down (no scanner answers), timeout, error (the scanner "
            "reports an error or talks nonsense), size (the message is larger than the scanner takes) and "
            "limits (the scanner says that it stopped at one of its own limits)."},
    {.name = "Canary",
     .field = &Config::canary,
     .default_text = "on",
     .doc = "A scanner with an empty signature database, or with limits that are too small, calls every "
            "message clean. So each one is sent a test message with the EICAR string, by the same way as "
            "mail: when a connection to it is opened, when its database has changed, and every hour. With "
            "on, a scanner that does not find it gets no mail until it does; with warn the log says so and "
            "the scanner is used all the same; with off there is no such test."},
    {.name = "MaxMessageSize",
     .field = &Config::message_bytes_max,
     .default_text = "100M",
     .doc = "The largest message, in bytes or with K, M or G for units of 1024. Larger ones are refused "
            "with reply code 552. With 0 there is no limit.",
     .min = 0,
     .max = kBytesMax},
    {.name = "BodyMemory",
     .field = &Config::body_memory_bytes,
     .default_text = "auto",
     .doc = "How much memory the messages in progress may take, in bytes or with K, M or G for units of "
            "1024. Beyond it, messages go to files in TempDirectory. With auto it is a quarter of the "
            "machine's memory.",
     .min = 1,
     .max = kBytesMax,
     .zero_name = "auto"},
    {.name = "BareNewline",
     .field = &Config::bare_newline,
     .default_text = "guard",
     .doc = "What happens to a message whose lines do not all end with CR and LF. With guard only a "
            "message that some mail server could read as two messages is rejected; with reject every "
            "message with a lone CR or LF is; with pass none is, which is safe only before a server that "
            "itself rejects them."},
    {.name = "ProxyProtocol",
     .field = &Config::proxy_protocol,
     .default_text = "off",
     .doc = "With on, every connection must begin with a header of the PROXY protocol, version 1 or 2, as "
            "HAProxy and others send it, and the client's address is the one in it. A connection without "
            "one is closed."},
    {.name = "ProxyProtocolFrom",
     .field = &Config::proxy_protocol_from,
     .default_text = "",
     .doc = "A network whose machines may send PROXY headers, as an address or as an address with the "
            "length of its prefix, such as 192.0.2.0/24. With ProxyProtocol on, connections from elsewhere "
            "are closed. The setting may be repeated. Without it, only this machine may."},
    {.name = "MaxConnectionsPerClient",
     .field = &Config::connections_per_client_max,
     .default_text = "off",
     .doc = "The most connections at one time from one client address, over all workers; an IPv6 client "
            "counts by the first 64 bits of its address. Further ones get reply code 421. With off there is "
            "no such limit.",
     .min = 1,
     .max = 1'000'000,
     .zero_name = "off"},
    {.name = "HostName",
     .field = &Config::host_name,
     .default_text = "smtp.passthru",
     .doc = "The name in the greeting and in the reply to EHLO.",
     .check = CheckHostName},
    {.name = "StatsAddress",
     .field = &Config::stats_address,
     .default_text = "127.0.0.1:10027",
     .doc = "Where the statistics can be read over HTTP: an address and a port, or the path of a local "
            "socket. A port alone means that port on this machine only. An empty value turns the "
            "statistics server off.",
     .port_alone_is_local = true,
     .set_flag = &Config::stats_address_set},
    {.name = "ShutdownTimeOut",
     .field = &Config::shutdown_timeout,
     .default_text = "30",
     .doc = "How many seconds messages in progress get to finish when the program is told to stop.",
     .min = 0,
     .max = kDaySeconds},
    {.name = "LogFormat",
     .field = &Config::log_format,
     .default_text = "text",
     .doc = "How the log is written, to syslog and to standard error. With text it has clamsmtpd's lines. "
            "With json each line is a JSON object, and that of a message has all that is known of it; see "
            "JSON LOG in bivalved(8)."},

    {.name = "DebugFiles",
     .field = &Config::debug_files,
     .default_text = "off",
     .doc = "Whether every scanned message is kept in TempDirectory, under a name that begins with the "
            "program's name. For finding faults only: nothing removes these files."},

    {.name = "Bounce",
     .doc = "The old form of Action: on means bounce and off means drop.",
     .alias_of = "Action",
     .value_on = "bounce",
     .value_off = "drop"},
    {.name = "ScanHeader", .doc = "The old name of Header.", .alias_of = "Header"},
};

// Forgets the values of a repeatable setting; others are overwritten anyway.
void ClearRepeatable(Config& config, const Option& option) {
  if (const auto* endpoints = std::get_if<std::vector<net::Endpoint> Config::*>(&option.field))
    config.** endpoints = {};
  if (const auto* networks = std::get_if<std::vector<net::Network> Config::*>(&option.field))
    config.** networks = {};
}

// How many characters must be inserted, removed, replaced or swapped with their neighbour to get from one
// name to the other, without regard to case.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> before_last(b.size() + 1);
  std::vector<size_t> last(b.size() + 1);
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  auto same = [&](size_t i, size_t j) { return core::AsciiLower(a[i]) == core::AsciiLower(b[j]); };
  for (size_t i = 1; i <= a.size(); ++i) {
    std::swap(before_last, last);
    std::swap(last, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (same(i - 1, j - 1) ? 0 : 1)});
      if (i > 1 && j > 1 && same(i - 1, j - 2) && same(i - 2, j - 1)) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
  }
  return row[b.size()];
}

// The setting that was probably meant, or nothing.
std::string_view NearestName(std::string_view name) {
  std::string_view nearest;
  size_t nearest_distance = 4;
  for (const Option& option : kOptions) {
    if (!option.alias_of.empty()) continue;
    // A third of the letters wrong is still the same word; beyond, a guess would only mislead.
    const size_t distance_max = std::min<size_t>(3, option.name.size() / 3);
    const size_t longer = std::max(name.size(), option.name.size());
    if (longer - std::min(name.size(), option.name.size()) > distance_max) continue;
    const size_t distance = EditDistance(name, option.name);
    if (distance <= distance_max && distance < nearest_distance) {
      nearest = option.name;
      nearest_distance = distance;
    }
  }
  return nearest;
}

// One reading of a configuration.
class Reader {
 public:
  Reader(std::string_view file_name, ProgramName program, PathExists exists) : file_(file_name) {
    for (const Option& option : kOptions) {
      const std::string_view text = DefaultText(option, program, exists);
      if (!option.alias_of.empty() || option.required) continue;
      BV_CHECK(SetOption(parsed_.config, option, text).ok());
    }
  }

  void ReadLines(std::string_view text) {
    if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // some editors mark UTF-8 so
    while (!text.empty()) {
      ++line_;
      const size_t end = text.find('\n');
      ReadLine(text.substr(0, end));
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
  }

  void ApplyOverrides(std::span<const Override> overrides) {
    file_ = "command line";
    line_ = 0;
    std::array<bool, std::size(kOptions)> overridden = {};
    for (const Override& item : overrides) {
      const Option* option = FindOption(item.setting);
      if (option == nullptr || !option->alias_of.empty()) {
        Report(Problem::Kind::kError, item.setting, "unknown setting");
        continue;
      }
      if (!std::exchange(overridden[Index(*option)], true)) ClearRepeatable(parsed_.config, *option);
      SetValue(*option, option->name, item.value);
    }
  }

  Parsed Finish(std::string_view file_name) {
    file_ = file_name;
    line_ = 0;
    for (const Option& option : kOptions) {
      if (option.required_unless != nullptr && parsed_.config.*option.required_unless) continue;
      if (option.required && !given_[Index(option)].given) {
        Report(Problem::Kind::kError, option.name, "is required, and is missing");
      }
    }
    return std::move(parsed_);
  }

 private:
  struct Given {
    bool given = false;
    int line = 0;           // of the first
    std::string_view name;  // the name used there, maybe an old one
  };

  static size_t Index(const Option& option) { return static_cast<size_t>(&option - kOptions); }

  void Report(Problem::Kind kind, std::string_view setting, std::string_view text) {
    Problem problem{.kind = kind, .file = file_, .line = line_, .setting = {}, .text = std::string(text)};
    core::AppendEscaped(problem.setting, setting, 100);
    parsed_.problems.push_back(std::move(problem));
  }

  void ReadLine(std::string_view line) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.size() > kConfigLineBytesMax) {
      Report(Problem::Kind::kError, "", core::Cat("the line is longer than ", kConfigLineBytesMax, " bytes"));
      return;
    }
    if (line.find('\0') != std::string_view::npos) {
      Report(Problem::Kind::kError, "", "the line has a NUL byte");
      return;
    }
    line = core::Trim(line);
    if (line.empty() || line.starts_with('#')) return;

    const size_t colon = line.find(':');
    const std::string_view name = core::Trim(line.substr(0, colon));
    if (colon == std::string_view::npos || name.empty()) {
      Report(Problem::Kind::kError, "", core::Cat(QuotedValue(line), " is not like \"Name: value\""));
      return;
    }
    const Option* option = FindOption(name);
    if (option == nullptr) {
      const std::string_view nearest = NearestName(name);
      Report(Problem::Kind::kError, name,
             nearest.empty() ? "unknown setting" : core::Cat("unknown setting; did you mean ", nearest, "?"));
      return;
    }
    SetFromFile(*option, core::Trim(line.substr(colon + 1)));
  }

  void SetFromFile(const Option& written, std::string_view value) {
    const Option* option = &written;
    if (!written.alias_of.empty()) {
      option = FindOption(written.alias_of);
      std::string instead(written.alias_of);
      if (!written.value_on.empty()) {
        bool on = false;
        if (absl::Status status = ParseSwitch(value, on); !status.ok()) {
          Report(Problem::Kind::kError, written.name, std::string(status.message()));
          return;
        }
        value = on ? written.value_on : written.value_off;
        instead = core::Cat('"', option->name, ": ", value, '"');
      }
      Report(Problem::Kind::kWarning, written.name, core::Cat("is an old name; use ", instead, " instead"));
    }

    Given& given = given_[Index(*option)];
    if (given.given && !option->repeatable()) {
      const bool other_name = given.name != written.name;
      Report(Problem::Kind::kError, written.name,
             core::Cat("stands already in line ", given.line, other_name ? core::Cat(" as ", given.name) : "",
                       ", and may stand only once"));
      return;
    }
    if (!given.given) {
      ClearRepeatable(parsed_.config, *option);
      given = {.given = true, .line = line_, .name = written.name};
    }
    SetValue(*option, written.name, value);
  }

  void SetValue(const Option& option, std::string_view name, std::string_view value) {
    given_[Index(option)].given = true;
    const bool has_control =
        std::ranges::any_of(value, [](char c) { return (c >= '\0' && c < ' ' && c != '\t') || c == '\x7f'; });
    if (has_control) {
      Report(Problem::Kind::kError, name, core::Cat(QuotedValue(value), " has a control character"));
      return;
    }
    if (absl::Status status = SetOption(parsed_.config, option, core::Trim(value)); !status.ok()) {
      Report(Problem::Kind::kError, name, std::string(status.message()));
      return;
    }
    if (option.set_flag != nullptr) parsed_.config.*option.set_flag = true;
    CheckRepeated(option, name);
  }

  // Twice the same address is once too often: a scanner would count as two, a listener would take two
  // sockets.
  void CheckRepeated(const Option& option, std::string_view name) {
    if (const auto* endpoints = std::get_if<std::vector<net::Endpoint> Config::*>(&option.field)) {
      CheckRepeated(parsed_.config.**endpoints, name);
    } else if (const auto* networks = std::get_if<std::vector<net::Network> Config::*>(&option.field)) {
      CheckRepeated(parsed_.config.**networks, name);
    }
  }
  static std::string TextOf(const net::Endpoint& endpoint) { return net::ToString(endpoint); }
  static std::string TextOf(const net::Network& network) { return network.ToString(); }

  template <typename Value>
  void CheckRepeated(std::vector<Value>& values, std::string_view name) {
    if (values.empty()) return;
    if (values.size() > kRepeatMax) {
      values.pop_back();
      Report(Problem::Kind::kError, name, core::Cat("may not stand more than ", kRepeatMax, " times"));
      return;
    }
    const std::string last = TextOf(values.back());
    for (size_t i = 0; i + 1 < values.size(); ++i) {
      if (TextOf(values[i]) != last) continue;
      values.pop_back();
      Report(Problem::Kind::kWarning, name,
             core::Cat(QuotedValue(last), " stands there twice and counts once"));
      return;
    }
  }

  std::string file_;
  int line_ = 0;
  std::array<Given, std::size(kOptions)> given_ = {};
  Parsed parsed_ = {};
};

}  // namespace

bool Option::repeatable() const {
  return std::holds_alternative<std::vector<net::Endpoint> Config::*>(field) ||
         std::holds_alternative<std::vector<net::Network> Config::*>(field);
}

std::span<const Option> Options() { return kOptions; }

const Option* FindOption(std::string_view name) {
  for (const Option& option : kOptions) {
    if (core::EqualsIgnoreCase(option.name, name)) return &option;
  }
  return nullptr;
}

bool PathExistsOnDisk(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

std::string_view DefaultText(const Option& option, ProgramName program, PathExists exists) {
  if (program == ProgramName::kClamsmtpd && !option.default_clamsmtpd.empty())
    return option.default_clamsmtpd;
  // When neither is there yet, as at boot, the first is the one to wait for.
  if (!option.default_else_path.empty() && !exists(std::string(option.default_text)) &&
      exists(std::string(option.default_else_path))) {
    return option.default_else_path;
  }
  return option.default_text;
}

std::string ToString(const Problem& problem) {
  std::string out;
  core::AppendEscaped(out, problem.file);
  if (problem.line != 0) core::Append(out, ':', problem.line);
  if (!problem.setting.empty()) core::Append(out, ": ", problem.setting);
  core::Append(out, ": ", problem.text);
  return out;
}

bool Parsed::ok() const {
  return std::ranges::none_of(problems, [](const Problem& p) { return p.kind == Problem::Kind::kError; });
}

Parsed ParseConfig(std::string_view text, std::string_view file_name, ProgramName program,
                   std::span<const Override> overrides, PathExists exists) {
  Reader reader(file_name, program, exists);
  reader.ReadLines(text);
  reader.ApplyOverrides(overrides);
  return reader.Finish(file_name);
}

absl::StatusOr<std::string> ReadConfigFile(std::string_view path) {
  const std::string name(path);
  auto failed = [&](int error) {
    std::string text = "cannot read ";
    core::AppendEscaped(text, name);
    return absl::ErrnoToStatus(error, text);
  };
  const core::UniqueFd file(open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!file.valid()) return failed(errno);
  std::string text(kConfigBytesMax + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t count = read(file.get(), text.data() + size, text.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed(errno);
    if (count == 0) {
      text.resize(size);
      return text;
    }
    size += static_cast<size_t>(count);
  }
  std::string message;
  core::AppendEscaped(message, name);
  core::Append(message, " is larger than ", kConfigBytesMax, " bytes; is it a configuration file?");
  return absl::InvalidArgumentError(message);
}

std::string DumpConfig(const Config& config) {
  std::string out;
  for (const Option& option : kOptions) {
    if (!option.alias_of.empty()) continue;
    const bool is_default = option.set_flag != nullptr && !(config.*option.set_flag);
    for (const std::string& value : PrintOption(config, option)) {
      core::Append(out, is_default ? "#" : "", option.name, value.empty() ? ":" : ": ", value, '\n');
    }
  }
  return out;
}

}  // namespace bivalve::appliance
