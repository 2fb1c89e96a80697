#include "appliance/settings/options.h"

#include <unistd.h>

#include <algorithm>

#include "appliance/settings/header_template.h"
#include "appliance/settings/quoted_value.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

constexpr uint64_t kBytesMax = uint64_t{1} << 50;  // far beyond every machine, and far from overflow
constexpr uint64_t kDaySeconds = 86400;

absl::Status CheckHeader(std::string_view value) { return HeaderTemplate::Compile(value).status(); }

absl::Status CheckNotEmpty(std::string_view value) {
  return value.empty() ? absl::InvalidArgumentError("needs a value") : absl::OkStatus();
}

// The name in a greeting: a domain or an address literal (RFC 5321 section 4.2). Underscores do not belong in
// a domain, but some host names in use have them.
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
     .on_reload = OnReload::kNewSessions,
     .doc = "The mail server that gets the mail after the scan. A port alone means that port on the machine "
            "from which the client connects. A host name is looked up again for new connections. The "
            "setting may be repeated: if an address cannot be reached, the next one is tried. Without a "
            "port, port 25 is used. With TransparentProxy the setting is not needed and not used.",
     .required = true,
     .default_port = 25,
     .required_unless = &Config::transparent_proxy},
    {.name = "Listen",
     .field = &Config::listen,
     .default_text = "10025",
     .on_reload = OnReload::kNextStart,
     .doc = "The address at which the program accepts mail. A port alone means that port on all addresses "
            "of the machine, IPv4 and IPv6. The setting may be repeated to listen on several addresses.",
     .default_port = 10025},
    {.name = "ClamAddress",
     .field = &Config::clam_address,
     .default_text = "/var/run/clamav/clamd.ctl",
     .on_reload = OnReload::kAtOnce,
     .doc = "The address of clamd: the path of its local socket, or an address and a port. A port alone "
            "means that port on this machine. The setting may be repeated: the load is spread over all "
            "scanners, and a scanner that fails gets no messages until it answers again. The default is "
            "/var/run/clamav/clamd.ctl, or /var/run/clamav/clamd if only that one exists.",
     .port_alone_is_local = true,
     .default_else_path = "/var/run/clamav/clamd"},
    {.name = "Header",
     .field = &Config::header,
     .default_text = "X-Virus-Scanned: ClamAV using Bivalve",
     .on_reload = OnReload::kNewSessions,
     .doc = "The header that is added to scanned mail. In it %i is the address of the client, %l the "
            "address to which the client connected, %d the date and %% a percent sign; \\r, \\n and \\t are "
            "carriage return, line feed and tab, and \\\\ is a backslash. The header is added at the end of "
            "the message's header section; a header that starts with Received: is added at its top. An "
            "empty value adds no header. If the program is started as clamsmtpd, the default is "
            "X-Virus-Scanned: ClamAV using ClamSMTP.",
     .check = CheckHeader,
     .default_clamsmtpd = "X-Virus-Scanned: ClamAV using ClamSMTP"},
    {.name = "Action",
     .field = &Config::action,
     .default_text = "drop",
     .on_reload = OnReload::kNewSessions,
     .doc = "What happens to an infected message. With drop it is accepted and thrown away, with bounce it "
            "is rejected with reply code 550, and with pass it is delivered with the header "
            "X-Virus-Infected added. Most viruses have a forged sender, and with bounce innocent people can "
            "get error messages; use it only for clients of your own."},
    {.name = "Quarantine",
     .field = &Config::quarantine,
     .default_text = "off",
     .on_reload = OnReload::kNewSessions,
     .doc = "Whether infected messages are kept. They are kept as files in TempDirectory that only the user "
            "of this program can read. Their names are virus.XXXXXX, with six random characters; the "
            "content is the message as it was sent. Beside each file, virus.XXXXXX.json has the envelope, "
            "the client, the virus, the scanner, the time and a SHA-256 hash of the message; see quarantine "
            "in bivalvectl(1). A file gets its name when it is complete. If a file cannot be written, for "
            "example because the disk is full, the log reports it and nothing changes for the client."},
    {.name = "VirusAction",
     .field = &Config::virus_action,
     .default_text = "",
     .on_reload = OnReload::kAtOnce,
     .doc = "A command that /bin/sh runs for every infected message. Environment variables describe the "
            "message; see VIRUS ACTIONS in bivalved(8). Mail does not wait for the command; its output is "
            "thrown away and its exit status is ignored. The default is none."},
    {.name = "TempDirectory",
     .field = &Config::temp_directory,
     .default_text = "/tmp",
     .on_reload = OnReload::kAtOnce,
     .doc = "The directory for files. Message bodies go there, as files without a name, if memory is short "
            "or the body is large; infected messages go there if Quarantine is on. Only the user of this "
            "program should be able to write to it.",
     .check = CheckNotEmpty},
    {.name = "MaxConnections",
     .field = &Config::connections_max,
     .default_text = "20000",
     .on_reload = OnReload::kAtOnce,
     .doc = "The maximum number of client connections at one time, over all workers. Further ones get reply "
            "code 421. At the start, the limit on open files is raised as far as the system allows.",
     .min = 1,
     .max = 1'000'000},
    {.name = "TimeOut",
     .field = &Config::timeout,
     .default_text = "180",
     .on_reload = OnReload::kNewSessions,
     .doc = "How many seconds to wait for the client or the mail server before the connection is ended.",
     .min = 1,
     .max = kDaySeconds},
    {.name = "KeepAlives",
     .field = &Config::keep_alives,
     .default_text = "0",
     .on_reload = OnReload::kNewSessions,
     .doc = "The interval, in seconds, at which the mail server gets a NOOP while a message is received and "
            "scanned, so that it does not give up waiting. With 0 it gets none.",
     .min = 0,
     .max = kDaySeconds},
    {.name = "XClient",
     .field = &Config::xclient,
     .default_text = "off",
     .on_reload = OnReload::kNewSessions,
     .doc = "Whether the mail server is told who the client is, with the command XCLIENT, if the server "
            "offers it. The server then applies its access rules to the client and not to this filter. In "
            "Postfix, smtpd_authorized_xclient_hosts must name this machine. The server is told before it "
            "gets the client's first command. XClientFailure says what happens if the server cannot be "
            "told."},
    {.name = "XClientFailure",
     .field = &Config::xclient_failure,
     .default_text = "refuse",
     .on_reload = OnReload::kNewSessions,
     .doc = "What happens if XClient is on and the mail server does not offer XCLIENT, or refuses it. With "
            "refuse the client gets 421 and the connection is closed. With allow the session continues, and "
            "the server takes the client for this filter: if the server lets this machine send mail to any "
            "address (mynetworks in Postfix), every client can do so."},
    {.name = "TransparentProxy",
     .field = &Config::transparent_proxy,
     .default_text = "off",
     .on_reload = OnReload::kNextStart,
     .doc = "Whether mail is delivered to the server to which the client wanted to connect when the packet "
            "filter redirected the connection to this program. Both REDIRECT and TPROXY rules work; see "
            "TRANSPARENT PROXY in bivalved(8). A connection that would come back to this program is "
            "refused."},
    {.name = "User",
     .field = &Config::user,
     .default_text = "",
     .on_reload = OnReload::kNextStart,
     .doc = "The user, by name or number, that the program runs as after it has opened its sockets. The "
            "program must then be started as root. The default is none: the user does not change. It should "
            "not be the scanner's user, because the scanner could then change messages; the log warns of "
            "that."},
    {.name = "PidFile",
     .field = &Config::pid_file,
     .default_text = "",
     .on_reload = OnReload::kNextStart,
     .doc = "A file to which the number of the process is written. With an empty value, the default, no "
            "file is written. The -p option of the command line replaces this setting. The file is written "
            "before the program becomes User. A user who can change the file can make scripts signal "
            "another process. Therefore the program does not start if the file, a directory above it or a "
            "symbolic link on the way belongs to somebody who is neither root nor User, or if others may "
            "write there; a directory with the sticky bit, such as /tmp, is allowed."},
    {.name = "Workers",
     .field = &Config::workers,
     .default_text = "auto",
     .on_reload = OnReload::kNextStart,
     .doc = "The number of threads that handle mail. With auto there is one for each CPU that the process "
            "may use.",
     .min = 1,
     .max = 1024,
     .zero_name = "auto"},
    {.name = "ClamMethod",
     .field = &Config::clam_method,
     .default_text = "auto",
     .on_reload = OnReload::kAtOnce,
     .doc = "How clamd gets a message. With fildes it gets an open file, which needs a local socket and "
            "copies nothing; with instream the message is sent to it. With auto, fildes is used for local "
            "sockets; instream is used for other addresses, and for a scanner that refuses open files."},
    {.name = "ClamConnections",
     .field = &Config::clam_connections,
     .default_text = "2",
     .on_reload = OnReload::kAtOnce,
     .doc = "The number of connections that each worker keeps to each scanner. The connections of all "
            "workers together must stay below half of MaxQueue in clamd.conf. Each connection has at most "
            "four messages at once. With one or two workers, 4 connections keep a busy scanner busier than "
            "2.",
     .min = 1,
     .max = 1000},
    {.name = "ClamTimeOut",
     .field = &Config::clam_timeout,
     .default_text = "120",
     .on_reload = OnReload::kNewSessions,
     .doc = "The maximum number of seconds from the end of a message to its verdict, including the wait for "
            "a free scanner and one more try. After that, ScanFailure decides.",
     .min = 1,
     .max = kDaySeconds},
    {.name = "ScanFailure",
     .field = &Config::scan_failure,
     .default_text = "down=tempfail, timeout=tempfail, error=tempfail, size=reject, limits=reject",
     .on_reload = OnReload::kNewSessions,
     .doc = "What happens to a message that could not be scanned. With tempfail the client is told to try "
            "again later (reply code 451), with reject the message is refused (554), and with pass it is "
            "delivered unscanned, with a header that says so. One word applies to all causes; a list such "
            "as down=tempfail, size=reject, limits=pass sets the causes one by one, and causes that are not "
            "in the list keep the default. The causes are down (no scanner answers), timeout (no answer in "
            "time, or the scan took as long as the scanner's MaxScanTime), error (the scanner reports an "
            "error, or its answer is not understood), size (the message is larger than the scanner accepts, "
            "or larger than it is known to scan) and limits (the scanner says that it stopped at one of its "
            "own limits; with AlertExceedsMax it also says this of a message above its MaxFileSize)."},
    {.name = "Canary",
     .field = &Config::canary,
     .default_text = "on",
     .on_reload = OnReload::kAtOnce,
     .doc = "A scanner with an empty signature database, or with limits that are too small, calls every "
            "message clean. Therefore each scanner gets a test message with the EICAR string, in the same "
            "way as mail: when a connection to it is opened, when its database has changed, and every hour. "
            "With on, a scanner that does not find it gets no mail until it does; with warn, the log "
            "reports it and the scanner is still used; with off, there is no such test. If no clamd.conf on "
            "this machine tells a scanner's limits, the scanner's OK for a message of more than 64 KiB is "
            "trusted only after the scanner has found a test message at least as large."},
    {.name = "MaxMessageSize",
     .field = &Config::message_bytes_max,
     .default_text = "100M",
     .on_reload = OnReload::kNewSessions,
     .doc = "The size of the largest message that is accepted, in bytes or with K, M or G for units of "
            "1024. Larger messages are refused with reply code 552. With 0 there is no limit.",
     .min = 0,
     .max = kBytesMax},
    {.name = "BodyMemory",
     .field = &Config::body_memory_bytes,
     .default_text = "auto",
     .on_reload = OnReload::kAtOnce,
     .doc = "How much memory the messages in progress may use, in bytes or with K, M or G for units of "
            "1024. Beyond that, messages go to files in TempDirectory. With auto it is a quarter of the "
            "machine's memory. Memory of finished messages is used again, and is returned to the system "
            "after some idle seconds, except 32 MB for each worker.",
     .min = 1,
     .max = kBytesMax,
     .zero_name = "auto"},
    {.name = "BareNewline",
     .field = &Config::bare_newline,
     .default_text = "guard",
     .on_reload = OnReload::kNewSessions,
     .doc = "What happens to a message whose lines do not all end with CR and LF. With guard, only a "
            "message that mail servers could understand differently is rejected: one with a dot alone "
            "between such line ends, which some servers could read as two messages; and, if the server has "
            "no CHUNKING, one with any line that begins with a dot after a lone CR or LF. With reject, "
            "every message with a lone CR or LF is rejected. With pass, none is rejected, which is safe "
            "only if the mail server itself rejects them."},
    {.name = "BinaryMime",
     .field = &Config::binary_mime,
     .default_text = "off",
     .on_reload = OnReload::kNewSessions,
     .doc = "With on, clients see BINARYMIME if the server offers it and CHUNKING, and may send parts of a "
            "message in binary. clamd does not scan such parts properly: it reads them as lines of text. "
            "Therefore each of them is also scanned as a file of its own, which costs one more scan. With "
            "off, BINARYMIME is hidden, and MAIL with BODY=BINARYMIME is refused."},
    {.name = "ProxyProtocol",
     .field = &Config::proxy_protocol,
     .default_text = "off",
     .on_reload = OnReload::kNewSessions,
     .doc = "With on, every connection must begin with a header of the PROXY protocol, version 1 or 2, as "
            "HAProxy and others send it. The client's address is then the one in the header. A connection "
            "without a header is closed."},
    {.name = "ProxyProtocolFrom",
     .field = &Config::proxy_protocol_from,
     .default_text = "",
     .on_reload = OnReload::kNewSessions,
     .doc = "A network whose machines may send PROXY headers: an address, or an address with the length of "
            "its prefix, such as 192.0.2.0/24. With ProxyProtocol on, connections from other machines are "
            "closed. The setting may be repeated. Without it, only this machine may send PROXY headers."},
    {.name = "MaxConnectionsPerClient",
     .field = &Config::connections_per_client_max,
     .default_text = "off",
     .on_reload = OnReload::kNewSessions,
     .doc = "The maximum number of connections at one time from one client address, over all workers. An "
            "IPv6 client is counted by the first 64 bits of its address. Further connections get reply code "
            "421. With off there is no such limit.",
     .min = 1,
     .max = 1'000'000,
     .zero_name = "off"},
    {.name = "HostName",
     .field = &Config::host_name,
     .default_text = "smtp.passthru",
     .on_reload = OnReload::kNewSessions,
     .doc = "The name in the greeting and in the reply to EHLO.",
     .check = CheckHostName},
    {.name = "StatsAddress",
     .field = &Config::stats_address,
     .default_text = "127.0.0.1:10027",
     .on_reload = OnReload::kNextStart,
     .doc = "The address at which the statistics can be read over HTTP: an address and a port, or the path "
            "of a local socket, which is removed when the service ends. A port alone means that port on "
            "this machine only. At a loopback address, requests get the status 421 unless their Host is an "
            "address, localhost or HostName; otherwise a web page in a browser on this machine could read "
            "the statistics. An empty value turns the statistics server off.",
     .port_alone_is_local = true,
     .set_flag = &Config::stats_address_set},
    {.name = "SocketMode",
     .field = &Config::socket_mode,
     .default_text = "0660",
     .on_reload = OnReload::kNextStart,
     .doc = "The mode, in octal, of a local socket that the program creates for Listen or StatsAddress. "
            "Users who may write to the socket may connect. By default these are the socket's user and "
            "group, which are those that the program is started as. A hot restart keeps the sockets and "
            "their modes. The mode of a socket from a service manager is not changed."},
    {.name = "ShutdownTimeOut",
     .field = &Config::shutdown_timeout,
     .default_text = "30",
     .on_reload = OnReload::kAtOnce,
     .doc = "How many seconds messages in progress have to finish when the program is told to stop.",
     .min = 0,
     .max = kDaySeconds},
    {.name = "LogFormat",
     .field = &Config::log_format,
     .default_text = "text",
     .on_reload = OnReload::kAtOnce,
     .doc = "The form of the log, in syslog and on standard error. With text the lines are those of "
            "clamsmtpd. With json each line is a JSON object, and the object of a message has everything "
            "that is known about the message; see JSON LOG in bivalved(8)."},
    {.name = "DrainTimeOut",
     .field = &Config::drain_timeout,
     .default_text = "300",
     .on_reload = OnReload::kAtOnce,
     .doc = "How many seconds the sessions of the old process may continue after a hot restart. Then the "
            "old process stops in the usual way: messages in progress have ShutdownTimeOut to finish.",
     .min = 0,
     .max = kDaySeconds},
    {.name = "RestartTimeOut",
     .field = &Config::restart_timeout,
     .default_text = "30",
     .on_reload = OnReload::kAtOnce,
     .doc = "How many seconds the new process of a hot restart may take until it is ready for mail. If it "
            "takes longer, it is ended, and the old process continues as before.",
     .min = 1,
     .max = kDaySeconds},

    {.name = "DebugFiles",
     .field = &Config::debug_files,
     .default_text = "off",
     .on_reload = OnReload::kNewSessions,
     .doc = "Whether every scanned message is kept in TempDirectory, under a name that begins with the "
            "program's name. Use this only to find faults: nothing removes these files."},

    {.name = "Bounce",
     .doc = "The old form of Action: on means bounce and off means drop.",
     .alias_of = "Action",
     .value_on = "bounce",
     .value_off = "drop"},
    {.name = "ScanHeader", .doc = "The old name of Header.", .alias_of = "Header"},
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
  // If neither exists yet, as at boot, the first is the one to wait for.
  if (!option.default_else_path.empty() && !exists(std::string(option.default_text)) &&
      exists(std::string(option.default_else_path))) {
    return option.default_else_path;
  }
  return option.default_text;
}

}  // namespace bivalve::appliance
