// quarantine list, show, release and delete.
#include <pwd.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <string>
#include <variant>
#include <vector>

#include "appliance/viruses/quarantine_record.h"
#include "core/sha256.h"
#include "core/text.h"
#include "core/utc_time.h"
#include "net/address.h"
#include "net/look_up.h"
#include "tools/bivalvectl/command.h"
#include "tools/bivalvectl/daemon_client.h"
#include "tools/bivalvectl/output.h"
#include "tools/bivalvectl/quarantine_store.h"
#include "tools/bivalvectl/smtp_submit.h"

namespace bivalve::ctl {
namespace {

using appliance::QuarantineRecord;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

absl::StatusOr<QuarantineStore> OpenStore(const Invocation& invocation) {
  if (invocation.Has("--directory")) return QuarantineStore::Open(invocation.Value("--directory"));
  const absl::StatusOr<appliance::Config> config = LoadConfig(invocation);
  if (!config.ok()) return config.status();
  return QuarantineStore::Open(config->temp_directory);
}

Json EntryJson(const QuarantineEntry& entry) {
  Json json = {{"id", entry.id},
               {"time", core::FormatUtcTime(entry.time)},
               {"size", entry.size_bytes},
               {"message", entry.has_message},
               {"problem", entry.problem}};
  if (entry.record.has_value()) json["record"] = Json::parse(ToJson(*entry.record));
  return json;
}

std::string SenderText(const QuarantineRecord& record) { return record.from.empty() ? "<>" : record.from; }

std::string RecipientsText(const QuarantineRecord& record) {
  if (record.recipients.empty()) return {};
  const uint64_t more = record.recipients.size() - 1 + record.recipients_left_out;
  const std::string& first = record.recipients.front().path;
  return more == 0 ? first : core::Cat(first, " +", more);
}

std::string ListText(const std::vector<QuarantineEntry>& entries, size_t width) {
  std::vector<std::vector<std::string>> rows;
  for (const QuarantineEntry& entry : entries) {
    std::vector<std::string> row = {entry.id, core::FormatUtcTime(entry.time),
                                    entry.has_message ? ShortBytes(entry.size_bytes) : "-"};
    if (entry.record.has_value()) {
      const QuarantineRecord& record = *entry.record;
      row.insert(row.end(), {record.client, record.virus, SenderText(record), RecipientsText(record)});
    } else {
      row.insert(row.end(), 4, "-");
    }
    row.push_back(entry.problem);
    rows.push_back(std::move(row));
  }
  return Table({{"ID"},
                {"TIME"},
                {"SIZE", true},
                {"CLIENT", false, true},
                {"VIRUS", false, true},
                {"FROM", false, true},
                {"TO", false, true},
                {"NOTE"}},
               rows, width);
}

// Releasing trusts a record, which says to whom: it must be the daemon's, not of somebody else who can write
// to the directory.
absl::Status CheckOwner(const QuarantineEntry& entry, const std::string& user) {
  if (entry.owner == 0 || entry.owner == geteuid()) return absl::OkStatus();
  uid_t number = 0;
  const passwd* account = user.empty() ? nullptr : getpwnam(user.c_str());
  const auto [end, error] = std::from_chars(user.data(), user.data() + user.size(), number);
  const bool is_number = !user.empty() && error == std::errc() && end == user.data() + user.size();
  if (account != nullptr && account->pw_uid == entry.owner) return absl::OkStatus();
  if (is_number && number == entry.owner) return absl::OkStatus();
  return absl::FailedPreconditionError(
      core::Cat(entry.id, " belongs to user ", entry.owner, ", who is neither root nor User nor you"));
}

absl::Status CheckContent(const QuarantineEntry& entry, const std::string& content) {
  core::Sha256 hash;
  hash.Add(content);
  if (content.size() == entry.record->size_bytes && core::ToHex(hash.Finish()) == entry.record->sha256)
    return absl::OkStatus();
  return absl::DataLossError(core::Cat(entry.id, " is not the message of its record: the hash is another"));
}

std::vector<net::SocketAddress> AddressesOf(const net::Endpoint& endpoint) {
  if (const auto* address = std::get_if<net::SocketAddress>(&endpoint)) return {*address};
  if (const auto* name = std::get_if<net::HostName>(&endpoint))
    return net::LookUp(*name, net::LookUpFor::kConnecting).value_or(std::vector<net::SocketAddress>());
  // A port alone stands for the client's own machine; here that is this one.
  const auto local = net::ParseEndpoint(core::Cat("127.0.0.1:", std::get<net::PortOnly>(endpoint).port));
  return {std::get<net::SocketAddress>(*local)};
}

// Sends to the first server that can be reached.
absl::StatusOr<SubmissionResult> SubmitToAny(const std::vector<net::Endpoint>& servers,
                                             const Submission& submission) {
  absl::Status failure = absl::UnavailableError("there is no server to send it to");
  for (const net::Endpoint& endpoint : servers) {
    const std::vector<net::SocketAddress> addresses = AddressesOf(endpoint);
    if (addresses.empty())
      failure = absl::UnavailableError(core::Cat(net::ToString(endpoint), " cannot be looked up"));
    for (const net::SocketAddress& address : addresses) {
      absl::StatusOr<SubmissionResult> result = Submit(address, submission);
      if (result.ok() || !Message(result.status()).starts_with("cannot connect")) return result;
      failure = result.status();
    }
  }
  return failure;
}

void PrintRecord(const QuarantineEntry& entry) {
  std::string out;
  const auto row = [&out](std::string_view name, std::string_view value) {
    if (!value.empty()) core::Append(out, Fitted(name, 12), Printable(value), '\n');
  };
  row("id", entry.id);
  row("note", entry.problem);
  if (entry.has_message || entry.record.has_value()) row("time", core::FormatUtcTime(entry.time));
  if (entry.record.has_value()) {
    const QuarantineRecord& record = *entry.record;
    row("virus", record.virus);
    row("session", record.session);
    const auto with = [](const std::string& path, const std::string& parameters) {
      return parameters.empty() ? path : core::Cat(path, " ", parameters);
    };
    row("from", with(SenderText(record), record.mail_parameters));
    for (const auto& [path, parameters] : record.recipients) row("to", with(path, parameters));
    if (record.recipients_left_out > 0) row("to", core::Cat("and ", record.recipients_left_out, " more"));
    row("client", record.client);
    row("helo", record.helo);
    row("remote", record.remote);
    row("remote helo", record.remote_helo);
    row("scanner", record.scanner);
    row("version", record.scanner_version);
    row("sha256", record.sha256);
  }
  if (entry.has_message) row("size", core::Cat(entry.size_bytes));
  std::fputs(out.c_str(), stdout);
}

}  // namespace

int RunQuarantineList(const Invocation& invocation) {
  const absl::StatusOr<QuarantineStore> store = OpenStore(invocation);
  if (!store.ok()) return Fail(kExitUsage, Message(store.status()));
  const std::vector<QuarantineEntry> entries = store->List();
  if (invocation.Has("--json")) {
    Json json = Json::array();
    for (const QuarantineEntry& entry : entries) json.push_back(EntryJson(entry));
    std::fputs(JsonText(json).c_str(), stdout);
  } else {
    std::fputs(ListText(entries, OutputWidth()).c_str(), stdout);
  }
  return kExitOk;
}

int RunQuarantineShow(const Invocation& invocation) {
  const absl::StatusOr<std::string> id = QuarantineStore::CheckId(invocation.operands[0]);
  if (!id.ok()) return Fail(kExitUsage, Message(id.status()));
  const absl::StatusOr<QuarantineStore> store = OpenStore(invocation);
  if (!store.ok()) return Fail(kExitUsage, Message(store.status()));
  if (invocation.Has("--message")) {
    const absl::StatusOr<std::string> content = store->ReadMessage(*id);
    if (!content.ok()) return Fail(kExitFailed, Message(content.status()));
    const std::string shown = isatty(STDOUT_FILENO) != 0 ? PrintableLines(*content) : *content;
    const bool written = std::fwrite(shown.data(), 1, shown.size(), stdout) == shown.size();
    return written ? kExitOk : Fail(kExitFailed, "cannot write the message");
  }
  const absl::StatusOr<QuarantineEntry> entry = store->Find(*id);
  if (!entry.ok()) return Fail(kExitFailed, Message(entry.status()));
  if (invocation.Has("--json")) {
    std::fputs(JsonText(EntryJson(*entry)).c_str(), stdout);
  } else {
    PrintRecord(*entry);
  }
  return kExitOk;
}

int RunQuarantineRelease(const Invocation& invocation) {
  const absl::StatusOr<std::string> id = QuarantineStore::CheckId(invocation.operands[0]);
  if (!id.ok()) return Fail(kExitUsage, Message(id.status()));
  // With --to and --directory everything is said, and a configuration is not needed.
  const absl::StatusOr<appliance::Config> config = LoadConfig(invocation);
  if (!config.ok() && !(invocation.Has("--to") && invocation.Has("--directory")))
    return Fail(kExitUsage, Message(config.status()));
  std::vector<net::Endpoint> servers;
  if (invocation.Has("--to")) {
    const absl::StatusOr<net::Endpoint> to = net::ParseEndpoint(invocation.Value("--to"), 25);
    if (!to.ok()) return Fail(kExitUsage, core::Cat("--to: ", Message(to.status())));
    servers.push_back(*to);
  } else {
    servers = config->out_address;
    if (servers.empty()) return Fail(kExitUsage, "the configuration has no OutAddress; say where with --to");
  }
  const absl::StatusOr<QuarantineStore> store = OpenStore(invocation);
  if (!store.ok()) return Fail(kExitUsage, Message(store.status()));
  const absl::StatusOr<QuarantineEntry> entry = store->Find(*id);
  if (!entry.ok()) return Fail(kExitFailed, Message(entry.status()));
  if (!entry->problem.empty() || !entry->record.has_value())
    return Fail(kExitFailed, core::Cat(*id, " cannot be released: ", entry->problem));
  if (absl::Status status = CheckOwner(*entry, config.ok() ? config->user : ""); !status.ok())
    return Fail(kExitFailed, Message(status));
  const absl::StatusOr<std::string> content = store->ReadMessage(*id);
  if (!content.ok()) return Fail(kExitFailed, Message(content.status()));
  if (absl::Status status = CheckContent(*entry, *content); !status.ok())
    return Fail(kExitFailed, Message(status));

  Submission submission{.host_name = config.ok() ? config->host_name : "localhost",
                        .from = entry->record->from,
                        .recipients = entry->record->recipients,
                        .content = *content,
                        .mail_parameters = entry->record->mail_parameters};
  if (config.ok()) submission.timeout = config->timeout;
  const absl::StatusOr<SubmissionResult> result = SubmitToAny(servers, submission);
  if (!result.ok()) return Fail(kExitFailed, core::Cat(*id, " is not released: ", Message(result.status())));
  std::printf("%s: %s\n", id->c_str(), result->reply.c_str());
  for (const auto& [recipient, reply] : result->refused)
    Fail(kExitFailed, core::Cat(*id, ": ", Printable(recipient), " is refused: ", reply));
  if (entry->record->recipients_left_out > 0) {
    Fail(kExitFailed, core::Cat(*id, ": ", entry->record->recipients_left_out,
                                " more recipients are not in the record, and get nothing"));
  }
  if (!result->refused.empty() || entry->record->recipients_left_out > 0) return kExitFailed;
  if (!invocation.Has("--delete")) return kExitOk;
  const absl::Status deleted = store->Delete(*id);
  return deleted.ok() ? kExitOk : Fail(kExitFailed, Message(deleted));
}

int RunQuarantineDelete(const Invocation& invocation) {
  if (invocation.operands.empty() == !invocation.Has("--older-than"))
    return Fail(kExitUsage, "quarantine delete needs either IDs or --older-than");
  std::vector<std::string> ids;
  for (const std::string& operand : invocation.operands) {
    absl::StatusOr<std::string> id = QuarantineStore::CheckId(operand);
    if (!id.ok()) return Fail(kExitUsage, Message(id.status()));
    ids.push_back(*std::move(id));
  }
  const absl::StatusOr<double> days = invocation.Number("--older-than", 0, 0, 100'000);
  if (!days.ok()) return Fail(kExitUsage, Message(days.status()));
  const absl::StatusOr<QuarantineStore> store = OpenStore(invocation);
  if (!store.ok()) return Fail(kExitUsage, Message(store.status()));
  if (invocation.Has("--older-than")) {
    const auto before =
        std::chrono::system_clock::now() - std::chrono::seconds(static_cast<int64_t>(*days * 86400));
    for (const QuarantineEntry& entry : store->List()) {
      if (entry.time <= before) ids.push_back(entry.id);
    }
  }
  int status = kExitOk;
  size_t deleted = 0;
  for (const std::string& id : ids) {
    if (const absl::Status done = store->Delete(id); done.ok()) {
      ++deleted;
    } else {
      status = Fail(kExitFailed, Message(done));
    }
  }
  std::printf("%zu deleted\n", deleted);
  return status;
}

}  // namespace bivalve::ctl
