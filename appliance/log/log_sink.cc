#include "appliance/log/log_sink.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "appliance/log/event_json.h"
#include "core/await_op.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

constexpr std::string_view kSyslogPath = "/dev/log";

// "<22>Nov  5 10:11:12 bivalved[17]: ", RFC 3164 section 4.1, as syslog(3) writes it.
std::string SyslogHead(Severity severity, const std::string& ident) {
  const int priority = LOG_MAIL | (LOG_ERR + static_cast<int>(severity));
  const std::time_t now = std::time(nullptr);
  std::tm local = {};
  localtime_r(&now, &local);
  char date[32];
  const size_t size = std::strftime(date, sizeof(date), "%b %e %H:%M:%S ", &local);
  std::string head = core::Cat("<", priority, ">", std::string_view(date, size), ident);
  // clamsmtpd's lines have no process number, and Debian's patterns for logcheck expect none.
  if (ident != "clamsmtpd") core::Append(head, "[", getpid(), "]");
  return head + ": ";
}

}  // namespace

void LogSink::Add(Severity severity, std::string_view text) {
  Event event;
  event.severity = severity;
  event.time_us = EventTime();
  event.fields.push_back({EventField::kDetail, text});
  Add(event);
}

void LogSink::Add(const Event& event) {
  if (event.severity > severity_max_) return;
  if (pending_.size() > kPendingBytesMax) {
    ++lost_;
    return;
  }
  if (lost_ > 0) {
    const std::string text =
        core::Cat(std::exchange(lost_, 0), " log lines were lost, the log is not being read");
    Add(Severity::kWarning, text);
  }
  const bool json = format_ == LogFormat::kJson;
  const std::string line = json ? FormatEventJson(event) : FormatEvent(event);
  if (!to_stderr_) {
    core::Append(pending_, SyslogHead(event.severity, ident_), line, '\0');
  } else if (json) {
    core::Append(pending_, line, '\n');
  } else {
    core::Append(pending_, ident_, ": ", line, '\n');
  }
}

bool LogSink::ConnectSyslog() {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, kSyslogPath.data(), kSyslogPath.size());
  syslog_.Reset(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (syslog_.valid() &&
      connect(syslog_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    syslog_.Reset();
  }
  return syslog_.valid();
}

core::Task<bool> LogSink::SendSyslog(core::Loop& loop, std::string& datagram) {
  // A second try on a new socket: the syslog daemon may have been restarted.
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (!syslog_.valid() && !ConnectSyslog()) break;
    const core::IoRequest send = core::IoRequest::Send(syslog_.get(), datagram);
    const core::IoResult sent = co_await core::AwaitOp(loop, send, loop.Now() + std::chrono::seconds(1));
    if (sent.ok()) co_return true;
    syslog_.Reset();
  }
  co_return false;
}

core::Task<void> LogSink::Flush(core::Loop& loop) {
  std::string batch = std::exchange(pending_, {});
  if (to_stderr_) {
    for (size_t done = 0; done < batch.size();) {
      const core::IoRequest write =
          core::IoRequest::Write(STDERR_FILENO, std::string_view(batch).substr(done));
      const core::IoResult written = co_await core::AwaitOp(loop, write);
      if (!written.ok() || written.eof()) co_return;
      done += written.value();
    }
    co_return;
  }
  for (size_t at = 0; at < batch.size();) {
    const size_t end = batch.find('\0', at);
    std::string datagram = batch.substr(at, end - at);
    at = end + 1;
    const bool sent = co_await SendSyslog(loop, datagram);
    if (!sent) ++lost_;
  }
}

void LogSink::FlushBlocking() {
  std::string batch = std::exchange(pending_, {});
  if (to_stderr_) {
    for (size_t done = 0; done < batch.size();) {
      const ssize_t written = write(STDERR_FILENO, batch.data() + done, batch.size() - done);
      if (written <= 0) return;
      done += static_cast<size_t>(written);
    }
    return;
  }
  for (size_t at = 0; at < batch.size();) {
    const size_t end = batch.find('\0', at);
    if (!syslog_.valid() && !ConnectSyslog()) return;
    if (send(syslog_.get(), batch.data() + at, end - at, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) syslog_.Reset();
    at = end + 1;
  }
}

}  // namespace bivalve::appliance
