#include "tools/bivalvectl/command.h"

namespace bivalve::ctl {
namespace {

constexpr Option kJson = {.name = "--json", .doc = "Print JSON, for programs."};
constexpr Option kDirectory = {
    .name = "--directory",
    .argument = "directory",
    .doc = "The directory of the quarantined messages, instead of TempDirectory of the configuration.",
    .completion = Completion::kDirectory};

constexpr Option kCommonOptions[] = {
    {.name = "-s",
     .argument = "address",
     .doc = "The daemon's StatsAddress: an address and a port, a port of this machine, or the path of a "
            "local socket. The default is the address in the configuration or, if it has none, "
            "127.0.0.1:10027."},
    {.name = "-f",
     .argument = "configfile",
     .doc = "The daemon's configuration file. The default is /etc/bivalved.conf.",
     .completion = Completion::kFile},
};

constexpr Option kStatsOptions[] = {kJson};
constexpr Option kTopOptions[] = {
    {.name = "--interval",
     .argument = "seconds",
     .doc = "The time between two readings of the statistics; the default is 1."},
    {.name = "--count",
     .argument = "number",
     .doc = "End after this number of readings; by default, never."}};
constexpr Option kSessionsOptions[] = {{.name = "--limit",
                                        .argument = "number",
                                        .doc = "How many sessions at most, up to 1000; the default is 50."},
                                       kJson};
constexpr Option kSignalOptions[] = {
    {.name = "--wait",
     .argument = "seconds",
     .doc = "How long to wait for the result; the default is 60. After that the exit status is 1."}};
constexpr Option kCheckOptions[] = {
    kJson,
    {.name = "--clamd-conf",
     .argument = "file",
     .doc = "The clamd.conf of every scanner. Without it, the one in the usual places that says that clamd "
            "listens where ClamAddress points.",
     .completion = Completion::kFile},
    {.name = "--postfix-main-cf",
     .argument = "file",
     .doc = "Postfix's main.cf; the master.cf beside it is read too. The default is /etc/postfix/main.cf, "
            "if it exists.",
     .completion = Completion::kFile}};
constexpr Option kListOptions[] = {kJson, kDirectory};
constexpr Option kShowOptions[] = {
    kJson,
    {.name = "--message",
     .doc = "Print the message itself, byte for byte. On a terminal its control characters are escaped."},
    kDirectory};
constexpr Option kReleaseOptions[] = {
    {.name = "--to",
     .argument = "address",
     .doc = "The mail server, instead of OutAddress of the configuration: an address and a port, or a name "
            "and a port."},
    {.name = "--delete", .doc = "Delete the message if every recipient was accepted."},
    kDirectory};
constexpr Option kDeleteOptions[] = {
    {.name = "--older-than",
     .argument = "days",
     .doc = "Delete every message that was kept at least this number of days ago, instead of a single one."},
    kDirectory};

constexpr Command kCommands[] = {
    {.name = "stats",
     .summary = "the counters of the running daemon",
     .doc = "Prints the counters in groups, the times of the phases of a message, and the state of each "
            "scanner. With --json it prints the same as /stats, for programs.",
     .options = kStatsOptions,
     .run = RunStats},
    {.name = "ready",
     .summary = "whether mail is accepted and a scanner answers",
     .doc = "Says whether the daemon accepts mail and at least one scanner answers. The exit status is 0 if "
            "it does, otherwise 1.",
     .run = RunReady},
    {.name = "top",
     .summary = "the daemon live: rates, latencies, scanners, viruses, sessions",
     .doc = "Shows continuously what the daemon does: messages, megabytes, infected messages and failures "
            "per second; how long the phases of a message take; each scanner with its state, circuit, "
            "canary and present work; the viruses of the last ten minutes; the sessions by phase and age, "
            "and the oldest of them. Rates and latencies are those of the time between two readings; the "
            "first one shows the latencies since the daemon was started. MAX is accurate to 6 percent. q "
            "ends the program, s sorts the sessions in another way (age, time in the phase, bytes, "
            "messages, client), r reverses their order, v sorts the viruses by time or by number, and the "
            "space bar reads at once. If standard output is not a terminal, each reading is a line of names "
            "and values.",
     .options = kTopOptions,
     .run = RunTop},
    {.name = "sessions",
     .summary = "what is going on now, longest first",
     .doc = "Lists the oldest sessions: client, phase, age, time in the phase, messages and bytes so far, "
            "the sender of the message under way, the client's greeting, and the scanner that has the "
            "message. The phases are start, command (waits for the client's next command), server (waits "
            "for the server's replies), room (waits for memory for a message), receive, wait (waits for a "
            "free scanner), scan, deliver and end.",
     .options = kSessionsOptions,
     .run = RunSessions},
    {.name = "reload",
     .summary = "have the daemon read its configuration again",
     .doc = "Sends SIGHUP to the daemon on this machine and waits until it has read its configuration "
            "again. If the daemon does not accept the configuration, its reason is printed, the old "
            "settings stay, and the exit status is 1.",
     .options = kSignalOptions,
     .run = RunReload},
    {.name = "restart",
     .summary = "put a new process in the daemon's place, without a gap",
     .doc = "Sends SIGUSR2 to the daemon on this machine and waits until a new process has taken over its "
            "sockets. If the new process does not start, its reason is printed, the old process continues, "
            "and the exit status is 1.",
     .options = kSignalOptions,
     .run = RunRestart},
    {.name = "check",
     .summary = "the configuration, and whether clamd and Postfix fit it",
     .doc = "Reads the configuration and reports everything that is wrong with it, as bivalved "
            "--check-config does. Then it compares the configuration with the limits, threads and times in "
            "clamd.conf, and with the sizes and times of the Postfix services that send mail here or get it "
            "from here. Each finding is one line, with the advice. The exit status is 0 if there are no "
            "findings, 1 with warnings and 2 with errors.",
     .options = kCheckOptions,
     .run = RunCheck},
    {.name = "quarantine list",
     .summary = "the infected messages that were kept",
     .doc = "Lists the messages that Quarantine has kept, newest first. A message without a usable record "
            "beside it is listed with the reason, and so is a record without its message.",
     .options = kListOptions,
     .run = RunQuarantineList},
    {.name = "quarantine show",
     .operands = "id",
     .summary = "what is known of one of them, or the message",
     .doc =
         "Prints the record of a quarantined message: envelope, client, virus, scanner, time, size and hash.",
     .options = kShowOptions,
     .operands_min = 1,
     .operands_max = 1,
     .operand_completion = Completion::kQuarantineId,
     .run = RunQuarantineShow},
    {.name = "quarantine release",
     .operands = "id",
     .summary = "send one on to its recipients, unscanned",
     .doc = "Sends a quarantined message to OutAddress, with its original envelope and byte for byte as it "
            "was received. It is not scanned again. Parameters of the original addresses that mean the same "
            "later (RET, ENVID, NOTIFY and ORCPT of DSN, MT-PRIORITY, RRVS) are sent too if the server "
            "offers their extensions. First the message is compared with the hash in its record. "
            "Recipients that the server refuses are named, and the exit status is then 1. The message stays "
            "in quarantine, except with --delete.",
     .options = kReleaseOptions,
     .operands_min = 1,
     .operands_max = 1,
     .operand_completion = Completion::kQuarantineId,
     .run = RunQuarantineRelease},
    {.name = "quarantine delete",
     .operands = "[id ...]",
     .summary = "delete some of them",
     .doc = "Deletes quarantined messages, each with its record: either the named ones, or all that are "
            "older than a number of days.",
     .options = kDeleteOptions,
     .operands_max = 1000,
     .operand_completion = Completion::kQuarantineId,
     .run = RunQuarantineDelete},
};

}  // namespace

std::span<const Command> Commands() { return kCommands; }
std::span<const Option> CommonOptions() { return kCommonOptions; }

}  // namespace bivalve::ctl
