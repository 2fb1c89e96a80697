#include "tools/bivalvectl/command.h"

namespace bivalve::ctl {
namespace {

constexpr Option kJson = {.name = "--json", .doc = "As JSON, for programs."};
constexpr Option kDirectory = {
    .name = "--directory",
    .argument = "directory",
    .doc = "Where the quarantined messages are, in place of TempDirectory of the configuration.",
    .completion = Completion::kDirectory};

constexpr Option kCommonOptions[] = {
    {.name = "-s",
     .argument = "address",
     .doc = "The daemon's StatsAddress: an address and a port, a port of this machine, or the path of a "
            "local socket. Without it, what the configuration says; where there is none, 127.0.0.1:10027."},
    {.name = "-f",
     .argument = "configfile",
     .doc = "The daemon's configuration file. The default is /etc/bivalved.conf.",
     .completion = Completion::kFile},
};

constexpr Option kStatsOptions[] = {kJson};
constexpr Option kTopOptions[] = {
    {.name = "--interval",
     .argument = "seconds",
     .doc = "Between two looks at the daemon; the default is 1."},
    {.name = "--count", .argument = "number", .doc = "End after so many looks; the default is never."}};
constexpr Option kSessionsOptions[] = {{.name = "--limit",
                                        .argument = "number",
                                        .doc = "At most so many sessions, up to 1000; the default is 50."},
                                       kJson};
constexpr Option kSignalOptions[] = {
    {.name = "--wait",
     .argument = "seconds",
     .doc = "How long to wait for the result; the default is 60. After that the exit status is 1."}};
constexpr Option kCheckOptions[] = {
    kJson,
    {.name = "--clamd-conf",
     .argument = "file",
     .doc = "The clamd.conf of every scanner. Without it, the one in the usual places that says that it "
            "listens where ClamAddress points.",
     .completion = Completion::kFile},
    {.name = "--postfix-main-cf",
     .argument = "file",
     .doc = "Postfix's main.cf; the master.cf beside it is read too. The default is /etc/postfix/main.cf, "
            "where there is one.",
     .completion = Completion::kFile}};
constexpr Option kListOptions[] = {kJson, kDirectory};
constexpr Option kShowOptions[] = {
    kJson,
    {.name = "--message",
     .doc = "The message itself, byte for byte. On a terminal its control characters are escaped."},
    kDirectory};
constexpr Option kReleaseOptions[] = {
    {.name = "--to",
     .argument = "address",
     .doc = "The mail server, in place of OutAddress of the configuration: an address and a port, or a name "
            "and a port."},
    {.name = "--delete", .doc = "Delete the message when every recipient was accepted."},
    kDirectory};
constexpr Option kDeleteOptions[] = {
    {.name = "--older-than",
     .argument = "days",
     .doc = "Every message that was kept so many days ago or earlier, in place of one."},
    kDirectory};

constexpr Command kCommands[] = {
    {.name = "stats",
     .summary = "the counters of the running daemon",
     .doc = "Prints the counters in groups, the times of the phases of a message, and the state of each "
            "scanner. With --json it prints them for programs, as /stats has them.",
     .options = kStatsOptions,
     .run = RunStats},
    {.name = "ready",
     .summary = "whether mail is accepted and a scanner answers",
     .doc = "Says whether the daemon accepts mail and at least one scanner answers. The exit status is 0 "
            "when it does, else 1.",
     .run = RunReady},
    {.name = "top",
     .summary = "the daemon live: rates, latencies, scanners, viruses, sessions",
     .doc = "Shows what the daemon does, again and again: messages, megabytes, infected messages and "
            "failures a second; how long the phases of a message take; each scanner with its state, circuit, "
            "canary and what it has in hand; the viruses of the last ten minutes; the sessions by phase and "
            "age, and the longest of them. Rates and latencies are of the time between two looks; the first "
            "look has the latencies since the daemon was started. MAX is known to 6 percent. q ends it, s "
            "sorts the sessions by something else (age, time in the phase, bytes, messages, client), r turns "
            "their order round, v sorts the viruses by time or by number, and the space bar looks at once. "
            "When standard output is no terminal, each look is a line of names and values.",
     .options = kTopOptions,
     .run = RunTop},
    {.name = "sessions",
     .summary = "what is going on now, longest first",
     .doc =
         "Lists the sessions that last longest: client, phase, age, time in the phase, messages and bytes so "
         "far, the sender of the message under way, the client's greeting, and the scanner that has the "
         "message. The phases are start, command (the client's next command), server (the server's replies), "
         "room (memory for a message), receive, wait (for a scanner that is free), scan, deliver and end.",
     .options = kSessionsOptions,
     .run = RunSessions},
    {.name = "reload",
     .summary = "have the daemon read its configuration again",
     .doc = "Sends SIGHUP to the daemon on this machine and waits until it has read its configuration again. "
            "When the daemon does not take it, its reason is printed, the old settings stay, and the exit "
            "status is 1.",
     .options = kSignalOptions,
     .run = RunReload},
    {.name = "restart",
     .summary = "put a new process in the daemon's place, without a gap",
     .doc = "Sends SIGUSR2 to the daemon on this machine and waits until a new process has taken over its "
            "sockets. When the new one does not start, its reason is printed, the old one stays, and the "
            "exit status is 1.",
     .options = kSignalOptions,
     .run = RunRestart},
    {.name = "check",
     .summary = "the configuration, and whether clamd and Postfix fit it",
     .doc = "Reads the configuration and reports everything that is wrong with it, as bivalved "
            "--check-config does. Then it compares it with its neighbours: the limits, threads and times in "
            "clamd.conf, and the sizes and times of the Postfix services that send mail here or get it from "
            "here. Each finding is one line, with the advice. The exit status is 0 when there is nothing to "
            "say, 1 with warnings and 2 with errors.",
     .options = kCheckOptions,
     .run = RunCheck},
    {.name = "quarantine list",
     .summary = "the infected messages that were kept",
     .doc = "Lists the messages that Quarantine has kept, the newest first. A message without a usable "
            "record beside it is listed with the reason, and so is a record whose message is gone.",
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
     .doc = "Sends a quarantined message on to OutAddress, with the envelope it came with and byte for byte "
            "as it came. Parameters that came with the addresses and mean the same later (RET, ENVID, NOTIFY "
            "and ORCPT of DSN, MT-PRIORITY, RRVS) go along where the server offers what they belong to. It "
            "is not scanned again. The message is compared with the hash in its record first. Recipients "
            "that the server refuses are named, and the exit status is then 1. The message stays in "
            "quarantine unless --delete says otherwise.",
     .options = kReleaseOptions,
     .operands_min = 1,
     .operands_max = 1,
     .operand_completion = Completion::kQuarantineId,
     .run = RunQuarantineRelease},
    {.name = "quarantine delete",
     .operands = "[id ...]",
     .summary = "delete some of them",
     .doc = "Deletes quarantined messages, each with its record: those named, or all that are older than a "
            "number of days.",
     .options = kDeleteOptions,
     .operands_max = 1000,
     .operand_completion = Completion::kQuarantineId,
     .run = RunQuarantineDelete},
};

}  // namespace

std::span<const Command> Commands() { return kCommands; }
std::span<const Option> CommonOptions() { return kCommonOptions; }

}  // namespace bivalve::ctl
