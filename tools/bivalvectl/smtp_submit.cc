#include "tools/bivalvectl/smtp_submit.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "core/fd.h"
#include "core/printable.h"
#include "core/text.h"
#include "net/ehlo.h"
#include "net/end_of_data.h"
#include "net/smtp_reply.h"
#include "tools/bivalvectl/output.h"

namespace bivalve::ctl {
namespace {

absl::Status Failure(std::string_view what) { return absl::UnavailableError(std::string(what)); }

bool IsAscii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

struct Reply {
  uint16_t code = 0;
  std::string text = {};  // as it came, all lines
  // For people: one line, without line ends.
  std::string Line() const {
    std::string line;
    for (std::string_view rest = text; !rest.empty();) {
      const size_t end = std::min(rest.find("\r\n"), rest.size());
      core::Append(line, line.empty() ? "" : " / ", Printable(rest.substr(0, end), 500));
      rest.remove_prefix(std::min(end + 2, rest.size()));
    }
    return line;
  }
};

class Dialogue {
 public:
  absl::Status Connect(const net::SocketAddress& server, std::chrono::seconds timeout) {
    fd_.Reset(socket(server.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval time = {.tv_sec = timeout.count(), .tv_usec = 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
    setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time));
    if (fd_.valid() && connect(fd_.get(), server.raw(), server.raw_size()) == 0) return absl::OkStatus();
    return Failure(
        core::Cat("cannot connect to ", server.ToString(), ": ", std::string_view(std::strerror(errno))));
  }

  absl::Status Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0)
        return Failure(core::Cat("the server was lost: ", std::string_view(std::strerror(errno))));
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return absl::OkStatus();
  }

  // RFC 5321 section 4.2.1: lines up to the one with a blank behind its code.
  absl::StatusOr<Reply> Read() {
    Reply reply;
    for (size_t lines = 0; lines < net::kReplyLinesMax; ++lines) {
      size_t end = 0;
      while ((end = input_.find('\n')) == std::string::npos) {
        char block[4096];
        const ssize_t got = recv(fd_.get(), block, sizeof(block), 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
          return Failure(core::Cat("the server was lost: ", std::string_view(std::strerror(errno))));
        if (got == 0) return Failure("the server has closed the connection");
        input_.append(block, static_cast<size_t>(got));
        if (input_.size() > net::kReplyLineBytesMax + sizeof(block))
          return Failure("the server speaks no SMTP");
      }
      const std::string_view line = core::Trim(std::string_view(input_).substr(0, end), "\r\n");
      const auto parsed = net::ParseReplyLine(line);
      if (!parsed.has_value()) return Failure("the server speaks no SMTP");
      reply.code = parsed->code;
      core::Append(reply.text, line, "\r\n");
      const bool last = parsed->last;
      input_.erase(0, end + 1);
      if (last) return reply;
    }
    return Failure("the server's reply has no end");
  }

  absl::StatusOr<Reply> Command(std::string_view line) {
    if (absl::Status status = Send(core::Cat(line, "\r\n")); !status.ok()) return status;
    return Read();
  }

 private:
  core::UniqueFd fd_;
  std::string input_;
};

// A path goes into a command line; what could be read there as anything but one path goes nowhere.
absl::Status CheckPaths(const Submission& submission) {
  const auto check = [](std::string_view who, const std::string& path) {
    const std::string_view fault = PathFault(path);
    if (fault.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        core::Cat("the ", who, " '", Printable(path, 200), "' in the record is no address: it has ", fault));
  };
  if (submission.recipients.empty()) return absl::InvalidArgumentError("there are no recipients");
  if (absl::Status status = check("sender", submission.from); !status.ok()) return status;
  for (const auto& [recipient, parameters] : submission.recipients) {
    if (recipient.empty()) return absl::InvalidArgumentError("a recipient in the record is empty");
    if (absl::Status status = check("recipient", recipient); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// Parameters that mean the same when the message is sent later, by somebody else, and what a server must
// offer for them: what to report of the delivery (RFC 3461), how urgent it is (RFC 6710), whose the mailbox
// must have been (RFC 7293).
constexpr std::pair<std::string_view, std::string_view> kHandedOn[] = {
    {"RET", "DSN"},  {"ENVID", "DSN"}, {"NOTIFY", "DSN"}, {"ORCPT", "DSN"}, {"MT-PRIORITY", "MT-PRIORITY"},
    {"RRVS", "RRVS"}};

std::string MailCommand(const Submission& submission, std::string_view extensions) {
  const auto offers = [extensions](std::string_view name) {
    return net::FindExtensionValues(extensions, name).has_value();
  };
  std::string line = core::Cat("MAIL FROM:<", submission.from, ">");
  if (offers("SIZE")) core::Append(line, " SIZE=", submission.content.size());
  if (offers("8BITMIME") && !IsAscii(submission.content)) line += " BODY=8BITMIME";
  const bool plain =
      IsAscii(submission.from) && std::ranges::all_of(submission.recipients, IsAscii, &net::Recipient::path);
  if (offers("SMTPUTF8") && !plain) line += " SMTPUTF8";
  return line;
}

absl::StatusOr<SubmissionResult> Transact(Dialogue& server, const Submission& submission,
                                          std::string_view extensions) {
  const bool chunking = NeedsChunking(submission.content);
  if (chunking && !net::FindExtensionValues(extensions, "CHUNKING").has_value()) {
    return Failure(
        "the message ends in the middle of a line, or has line ends that servers read differently, and this "
        "server has no CHUNKING to carry it");
  }
  const absl::StatusOr<std::string> parameters = OfferedParameters(submission.mail_parameters, extensions);
  if (!parameters.ok()) return parameters.status();
  std::vector<std::string> of_recipients(submission.recipients.size());
  for (size_t i = 0; i < of_recipients.size(); ++i) {
    absl::StatusOr<std::string> one = OfferedParameters(submission.recipients[i].parameters, extensions);
    if (!one.ok()) return one.status();
    of_recipients[i] = *std::move(one);
  }
  absl::StatusOr<Reply> reply = server.Command(MailCommand(submission, extensions) + *parameters);
  if (!reply.ok()) return reply.status();
  if (!net::IsPositive(reply->code)) return Failure(core::Cat("the sender is refused: ", reply->Line()));
  SubmissionResult result;
  for (size_t i = 0; i < submission.recipients.size(); ++i) {
    const std::string& recipient = submission.recipients[i].path;
    reply = server.Command(core::Cat("RCPT TO:<", recipient, ">", of_recipients[i]));
    if (!reply.ok()) return reply.status();
    if (!net::IsPositive(reply->code)) result.refused.emplace_back(recipient, reply->Line());
  }
  if (result.refused.size() == submission.recipients.size()) {
    return Failure(core::Cat("every recipient is refused; the last reply was ", reply->Line()));
  }
  absl::Status sent;
  if (chunking) {
    sent = server.Send(core::Cat("BDAT ", submission.content.size(), " LAST\r\n"));
    if (sent.ok()) sent = server.Send(submission.content);
  } else {
    reply = server.Command("DATA");
    if (!reply.ok()) return reply.status();
    if (reply->code != 354) return Failure(core::Cat("DATA is refused: ", reply->Line()));
    sent = server.Send(Stuffed(submission.content));
  }
  if (!sent.ok()) return sent;
  reply = server.Read();
  if (!reply.ok()) return reply.status();
  if (!net::IsPositive(reply->code)) return Failure(core::Cat("the message is refused: ", reply->Line()));
  result.reply = reply->Line();
  return result;
}

}  // namespace

std::string_view PathFault(std::string_view path) {
  constexpr size_t kPathBytesMax = 4000;
  if (path.size() > kPathBytesMax) return "too many characters";
  bool quoted = false;
  bool escaped = false;
  for (size_t i = 0; i < path.size();) {
    const core::Utf8Character c = core::Decode(path.substr(i));
    i += c.bytes;
    if (c.valid && (c.code == '\r' || c.code == '\n')) return "a line end";
    if (c.valid && (c.code < 0x20 || (c.code >= 0x7f && c.code < 0xa0))) return "a control character";
    if (!quoted && c.code == ' ') return "a blank";
    if (!quoted && c.code == '<') return "a '<'";
    if (!quoted && c.code == '>') return "a '>'";
    // Some servers take it for an escape there too, some do not.
    if (!quoted && c.code == '\\') return "a backslash outside of quotes";
    if (c.code == '"' && !escaped) quoted = !quoted;
    escaped = c.code == '\\' && !escaped;
  }
  return quoted ? "a quote without its end" : "";
}

absl::StatusOr<std::string> OfferedParameters(std::string_view parameters, std::string_view extensions) {
  std::string out;
  for (std::string_view rest = core::Trim(parameters, " \t"); !rest.empty(); rest = core::Trim(rest, " \t")) {
    const std::string_view word = rest.substr(0, rest.find_first_of(" \t"));
    rest.remove_prefix(word.size());
    const std::string_view keyword = word.substr(0, word.find('='));
    const auto row = std::ranges::find_if(
        kHandedOn, [keyword](const auto& one) { return core::EqualsIgnoreCase(one.first, keyword); });
    if (row == std::end(kHandedOn) || !net::FindExtensionValues(extensions, row->second).has_value())
      continue;
    if (!PathFault(word).empty() || word.find('"') != std::string_view::npos) {
      return absl::InvalidArgumentError(
          core::Cat("the parameter '", Printable(word, 200), "' in the record is none"));
    }
    core::Append(out, " ", word);
  }
  return out;
}

bool NeedsChunking(std::string_view content) {
  if (!content.empty() && !content.ends_with("\r\n")) return true;
  // What the filter itself would refuse in DATA.
  std::string wire = Stuffed(content);
  net::EndOfData end(net::EndOfData::Check::kGuard);
  const net::EndOfData::Result result = end.Process(std::span<char>(wire.data(), wire.size()));
  return end.ambiguous() || end.dot_after_bare_newline() || !result.ended ||
         result.content_bytes != content.size();
}

std::string Stuffed(std::string_view content) {
  std::string out;
  out.reserve(content.size() + content.size() / 64 + 3);
  for (bool at_line_start = true;; at_line_start = false) {
    const size_t dot = net::NextDot(content, at_line_start);
    out += content.substr(0, dot);
    if (dot == content.size()) break;
    out += "..";
    content.remove_prefix(dot + 1);
  }
  return out + ".\r\n";
}

absl::StatusOr<SubmissionResult> Submit(const net::SocketAddress& address, const Submission& submission) {
  if (absl::Status status = CheckPaths(submission); !status.ok()) return status;
  Dialogue server;
  if (absl::Status status = server.Connect(address, submission.timeout); !status.ok()) return status;
  absl::StatusOr<Reply> reply = server.Read();
  if (!reply.ok()) return reply.status();
  if (!net::IsPositive(reply->code)) return Failure(core::Cat("the server says ", reply->Line()));
  reply = server.Command(core::Cat("EHLO ", submission.host_name));
  if (!reply.ok()) return reply.status();
  const std::string extensions = net::IsPositive(reply->code) ? reply->text : std::string();
  if (extensions.empty()) {
    reply = server.Command(core::Cat("HELO ", submission.host_name));
    if (!reply.ok()) return reply.status();
    if (!net::IsPositive(reply->code)) return Failure(core::Cat("the greeting is refused: ", reply->Line()));
  }
  absl::StatusOr<SubmissionResult> result = Transact(server, submission, extensions);
  // Not waited for: the message has its reply, or none will come.
  (void)server.Send("QUIT\r\n");
  return result;
}

}  // namespace bivalve::ctl
