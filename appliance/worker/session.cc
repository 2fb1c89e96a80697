#include "appliance/worker/session.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "appliance/worker/replies.h"
#include "appliance/worker/session_limits.h"
#include "core/text.h"
#include "net/smtp_reply.h"

namespace bivalve::appliance {
namespace {

// How long a client gets to close its side after the last reply. It has all replies, so nothing is lost if it
// does not.
constexpr std::chrono::seconds kLinger{1};

bool IsQuit(const net::Connection::Line& line) {
  return line.state == net::Connection::LineState::kLine &&
         net::ParseCommand(line.text).verb == net::Verb::kQuit;
}

}  // namespace

core::Task<void> Session::Serve(SessionServices& services, Client client, uint64_t number) {
  Session session(services, client, number);
  co_await session.Run();
}

Session::Session(SessionServices& services, const Client& client, uint64_t number)
    : services_(services),
      settings_(services.settings.at(client.listener)),
      client_address_(client.address),
      number_(number),
      began_at_(services.loop.Now()),
      phase_since_(began_at_),
      wake_(services.loop),
      client_(services.loop, wake_, net::kCommandLineBytesMax),
      server_(services, settings_->config, wake_, number),
      account_(services, number),
      client_host_(client.address.Host()),
      bdat_patience_(config().timeout) {
  client_.stream().Adopt(client.fd);
  services_.sessions.Append(*this);
}

Session::~Session() { services_.sessions.Remove(*this); }

void Session::OnStopping() {
  server_.Interrupt();
  wake_.Notify();
}

core::Task<void> Session::Run() {
  counters().Add(Metric::kActive);
  CloseReason reason = CloseReason::kNone;
  if (client_address_.family() == AF_UNSPEC) {
    // The client reset the connection before it was accepted: there is nobody to open a server session for.
    client_host_ = "UNKNOWN";
    reason = CloseReason::kClientGone;
  }
  if (reason == CloseReason::kNone && config().proxy_protocol) reason = co_await TakeProxyHeader();
  if (reason == CloseReason::kNone) reason = CountClient();
  if (services_.log.Wants(Severity::kInfo)) {
    services_.log.Begin(EventKind::kConnection, Severity::kInfo, number_)
        .Add(EventField::kClient, client_host_);
    services_.log.Commit();
  }
  if (reason == CloseReason::kNone) reason = co_await OpenServer();
  while (reason == CloseReason::kNone) reason = co_await Step();
  co_await End(reason);
  UncountClient();
  counters().Subtract(Metric::kActive);
}

core::Task<void> Session::End(CloseReason reason) {
  SetPhase(SessionPhase::kEnd);
  const CloseReasonInfo& info = InfoOf(reason);
  if (info.metric.has_value()) counters().Add(*info.metric);
  if (!info.message.empty()) LogText(info.severity, info.message);
  if (info.farewell != nullptr) Answer(*info.farewell);
  client_.stream().Flush();  // also replies of a group that was cut short
  co_await server_.Leave(info.server_listens);
  const bool drained = co_await client_.stream().Drain(Deadline());
  // The client may have sent commands that will not be answered. They must not cost it the last reply.
  if (drained && !client_.stream().ended()) co_await client_.stream().Linger(services_.loop.Now() + kLinger);
  services_.bodies.Release(std::move(transaction_.chunks));
  co_await server_.Close();
  ReleaseOutgoingPort();
  co_await client_.stream().Close();
}

core::Task<CloseReason> Session::Step() {
  if (client_.stream().unsent_bytes() > kUnsentBytesMax) {
    const bool drained = co_await client_.stream().Drain(Deadline());
    if (!drained) co_return CloseReason::kClientGone;
  }
  CloseReason reason = CheckPatience();
  if (reason == CloseReason::kNone) reason = co_await AwaitCommand();
  if (reason != CloseReason::kNone) co_return reason;

  const std::string_view line = client_.PeekLine().text;
  const net::Command command = net::ParseCommand(line);
  if (config().xclient && !introduced_ && command.verb != net::Verb::kQuit) {
    reason = co_await IntroduceClient(command);
    if (reason != CloseReason::kNone) co_return reason;
  }
  if (command.kind != net::CommandKind::kOwn || !net::LineIsClean(line)) co_return co_await RelayGroup();
  (void)client_.NextLine();
  if (command.verb != net::Verb::kBdat) ++commands_without_message_;
  switch (command.verb) {
    case net::Verb::kHelo:
    case net::Verb::kEhlo:
      co_return co_await RelayHello(command.verb, line);
    case net::Verb::kData:
      co_return co_await Data(command.arguments, line);
    case net::Verb::kBdat:
      co_return co_await Bdat(command.arguments);
    case net::Verb::kAuth:
      co_return co_await RelayAuth(command, line);
    case net::Verb::kQuit:
      co_return co_await RelayQuit();
    default:
      BV_CHECK(false);
  }
}

// Waits for a complete command line. Meanwhile both peers are read from, so that a server that hangs up or
// says 421 between two commands is noticed at once.
core::Task<CloseReason> Session::AwaitCommand(bool* too_long) {
  const core::MonoTime deadline = Deadline();
  SetPhase(SessionPhase::kCommand);
  for (;;) {
    // This comes first: what the server says unasked must not be taken for the reply to the next command.
    if (server_.HasSpoken()) co_return co_await RelayUnasked();
    const net::Connection::Line line = client_.PeekLine();
    // Without this check, a client that always has one more command waiting would never be told. QUIT is
    // excepted: its reply ends the session too, and a client that is told of a failure instead might take a
    // message for lost.
    if (MayStop() && line.state != net::Connection::LineState::kNone && !IsQuit(line))
      co_return CloseReason::kShutdown;
    switch (line.state) {
      case net::Connection::LineState::kLine:
        SetPhase(SessionPhase::kServer);
        co_return CloseReason::kNone;
      case net::Connection::LineState::kTooLong: {
        counters().Add(Metric::kProtocolErrors);
        counters().Add(Metric::kLinesTooLong);
        if (too_long != nullptr) {
          *too_long = true;
          SetPhase(SessionPhase::kServer);
          co_return CloseReason::kNone;
        }
        Answer(replies::kLineTooLong);
        const CloseReason reason = CheckPatience();
        if (reason != CloseReason::kNone) co_return reason;
        continue;
      }
      case net::Connection::LineState::kNone:
        break;
    }
    if (client_.stream().ended() || client_.stream().write_error() != 0) co_return CloseReason::kClientGone;
    if (server_.ended()) {
      if (transaction_.mail_accepted || account_.messages() == 0) co_return CloseReason::kServerLost;
      co_return co_await AwaitQuit();
    }
    if (MayStop()) co_return CloseReason::kShutdown;
    client_.stream().StartReading();
    server_.Listen();
    const bool in_time = co_await wake_.Wait(deadline);
    if (!in_time && client_.PeekLine().state == net::Connection::LineState::kNone) {
      co_return CloseReason::kClientTimeout;
    }
  }
}

// The server has closed after a message. QUIT is still answered: a client that is told of a failure instead
// would take the message for lost. Any other command fails, because there is no server for it.
core::Task<CloseReason> Session::AwaitQuit() {
  const core::MonoTime deadline = services_.loop.Now() + kLinger;
  for (;;) {
    const net::Connection::Line line = client_.PeekLine();
    if (IsQuit(line)) {
      Answer(replies::kGoodbye);
      co_return CloseReason::kQuit;
    }
    if (line.state != net::Connection::LineState::kNone) co_return CloseReason::kServerLost;
    if (client_.stream().ended() || client_.stream().write_error() != 0) co_return CloseReason::kClientGone;
    client_.stream().StartReading();
    const bool in_time = co_await wake_.Wait(deadline);
    if (!in_time && client_.PeekLine().state == net::Connection::LineState::kNone)
      co_return CloseReason::kServerGone;
  }
}

// The server spoke unasked. A 421 before it closes (RFC 5321 section 3.8) is passed on.
core::Task<CloseReason> Session::RelayUnasked() {
  client_.stream().Flush();  // replies that wait for a 354
  const ServerReply reply = co_await server_.NextReply();
  if (reply.ok()) co_return CloseReason::kServerNonsense;
  co_return Relay(reply);
}

// Passes on all commands that have arrived, up to one that is a step of its own.
core::Task<CloseReason> Session::RelayGroup() {
  group_.clear();
  // If the service stops, the end of a transaction may be the end of the session.
  const size_t commands_max = services_.stopping ? 1 : kGroupMax;
  while (group_.size() < commands_max) {
    const net::Connection::Line line = client_.PeekLine();
    if (line.state == net::Connection::LineState::kNone) break;
    if (line.state == net::Connection::LineState::kTooLong) {
      counters().Add(Metric::kProtocolErrors);
      counters().Add(Metric::kLinesTooLong);
      group_.push_back({.own_reply = &replies::kLineTooLong});
      continue;
    }
    const net::Command command = net::ParseCommand(line.text);
    const bool clean = net::LineIsClean(line.text);
    if (clean && command.kind == net::CommandKind::kOwn) break;
    (void)client_.NextLine();
    if (command.verb != net::Verb::kRcpt) ++commands_without_message_;
    if (!clean) {
      counters().Add(Metric::kProtocolErrors);
      group_.push_back({.own_reply = &replies::kBadLine});
      continue;
    }
    const bool last = AddToGroup(command, line.text);
    if (last) break;
  }
  server_.Flush();

  // The texts of the commands stay valid, because the client is not read from until all replies are here.
  for (const Pending& pending : group_) {
    if (pending.own_reply != nullptr) {
      WriteReply(LineOf(*pending.own_reply), pending.own_reply->code());
      continue;
    }
    // Only DATA and AUTH may get a 3xx reply, and neither is in a group. After a 3xx reply to another command
    // the server would take the next commands for data.
    const ServerReply reply = co_await server_.NextReply();
    if (!reply.ok()) co_return Relay(reply);
    WriteReply(reply.text, reply.code);
    NoteReply(pending, reply.code);
  }
  // One send for these replies and the 354 (RFC 2920 section 3.1): most mail comes that way.
  if (!DataFollows()) client_.stream().Flush();
  co_return CloseReason::kNone;
}

bool Session::DataFollows() {
  const net::Connection::Line line = client_.PeekLine();
  return line.state == net::Connection::LineState::kLine && transaction_.has_recipients() &&
         net::ParseCommand(line.text).verb == net::Verb::kData;
}

// True when nothing may be sent behind this command before its reply.
bool Session::AddToGroup(const net::Command& command, std::string_view line) {
  Pending pending{.verb = command.verb};
  switch (command.kind) {
    case net::CommandKind::kRefuse:
      pending.own_reply = &replies::kNotImplemented;
      break;
    case net::CommandKind::kForbid:
      pending.own_reply = &replies::kForbidden;
      break;
    default:
      break;
  }
  if (command.verb == net::Verb::kMail || command.verb == net::Verb::kRcpt) {
    pending.path = net::ParsePath(command.arguments).value_or(command.arguments);
    pending.parameters = net::ParseParameters(command.arguments);
  }
  if (command.verb == net::Verb::kXForward) pending.path = command.arguments;
  std::string_view cut;  // the part of the line that the server does not get
  if (command.verb == net::Verb::kMail) {
    const std::string_view declared = net::FindParameter(command.arguments, "SIZE").value_or("");
    pending.declared_bytes = net::ParseNumber(declared).value_or(0);
    // If there are several BODY parameters, the server may use any of them.
    std::string_view words = pending.parameters;
    for (std::string_view word = net::NextWord(words); !word.empty(); word = net::NextWord(words))
      pending.binary_mime = pending.binary_mime || core::StartsWithIgnoreCase(word, "BODY=BINARYMIME");
    if (pending.binary_mime && !(config().binary_mime && extensions().chunking))
      pending.own_reply = &replies::kNoBinaryMime;
    const uint64_t limit = MessageBytesMax();
    if (limit != 0 && pending.declared_bytes > limit) pending.own_reply = &replies::kTooLarge;
    // SIZE is announced even if the server does not have it; such a server would refuse the parameter.
    constexpr std::string_view kParameter = "SIZE=";
    if (!declared.empty() && !extensions().size) {
      cut = {declared.data() - kParameter.size(), declared.size() + kParameter.size()};
      // Cuts the blank before it too, if there is one ("<a@b>SIZE=1").
      const char before = *(cut.data() - 1);
      if (before == ' ' || before == '\t') cut = {cut.data() - 1, cut.size() + 1};
    }
  }
  if (command.verb == net::Verb::kRcpt &&
      transaction_.recipients_accepted + group_.size() >= limits::kRecipientsMax) {
    const auto under_way = static_cast<size_t>(
        std::ranges::count_if(group_, [](const Pending& one) { return one.verb == net::Verb::kRcpt; }));
    if (transaction_.recipients_accepted + under_way >= limits::kRecipientsMax) {
      counters().Add(Metric::kTooManyRecipients);
      pending.own_reply = &replies::kTooManyRecipients;
    }
  }
  group_.push_back(pending);
  if (pending.own_reply != nullptr) {
    if (command.verb != net::Verb::kRcpt) counters().Add(Metric::kProtocolErrors);
    return false;
  }
  if (!cut.empty()) {
    const auto before = static_cast<size_t>(cut.data() - line.data());
    server_.Write(line.substr(0, before));
    line.remove_prefix(before + cut.size());
  }
  server_.Write(line);
  server_.Write("\r\n");
  return command.kind == net::CommandKind::kPassLast || !extensions().pipelining;
}

void Session::NoteReply(const Pending& pending, uint16_t code) {
  if (!net::IsPositive(code)) return;
  switch (pending.verb) {
    case net::Verb::kMail: {
      net::OriginalClient original_client = std::move(original_client_);  // arrived for this transaction
      ForgetTransaction();
      original_client_ = std::move(original_client);
      transaction_.mail_accepted = true;
      transaction_.reverse_path = pending.path;
      if (config().quarantine) transaction_.mail_parameters = pending.parameters;
      transaction_.declared_bytes = pending.declared_bytes;
      transaction_.binary_mime = pending.binary_mime;
      break;
    }
    case net::Verb::kRcpt:
      transaction_.AddRecipient(pending.path, config().quarantine ? pending.parameters : "",
                                config().quarantine || !config().virus_action.empty());
      break;
    case net::Verb::kXForward:
      net::ApplyXForward(pending.path, original_client_);
      break;
    case net::Verb::kRset:
      ForgetTransaction();
      break;
    default:
      break;
  }
}

core::Task<CloseReason> Session::RelayHello(net::Verb verb, std::string_view line) {
  helo_ = net::ParseCommand(line).arguments.substr(0, limits::kHeloBytesKept);
  const ServerReply reply = co_await server_.Hello(verb, line);
  if (reply.ok() && net::IsPositive(reply.code)) ForgetTransaction();
  co_return Relay(reply);
}

// AUTH (RFC 4954 section 4): after a 334 the client's next line is a response and never a command.
core::Task<CloseReason> Session::RelayAuth(const net::Command& command, std::string_view line) {
  std::string_view words = command.arguments;
  const std::string_view mechanism = net::NextWord(words);
  // Bytes under a security layer can be neither read nor scanned.
  const bool has_layer = net::HasSecurityLayer(mechanism);
  if (has_layer || net::BindsToTls(mechanism)) {
    counters().Add(Metric::kProtocolErrors);
    Answer(has_layer ? replies::kNotImplemented : replies::kNoSuchMechanism);
    co_return CloseReason::kNone;
  }
  for (;;) {
    const ServerReply reply = co_await server_.Ask(line, net::kAuthContinues);
    ++commands_without_message_;
    CloseReason reason = Relay(reply);
    if (reason != CloseReason::kNone || reply.code != net::kAuthContinues) co_return reason;
    bool too_long = false;
    reason = co_await AwaitCommand(&too_long);
    if (reason != CloseReason::kNone) co_return reason;
    line = too_long ? "*" : client_.NextLine().text;
    // A response that no server should see is replaced by "*", with which a client ends the exchange itself.
    if (!net::LineIsClean(line)) line = "*";
  }
}

core::Task<CloseReason> Session::RelayQuit() {
  const ServerReply reply = co_await server_.Ask("QUIT");
  // The client's business is done, even if the server fails. A client that is told of a failure would take
  // messages that were delivered for lost.
  if (reply.text.empty()) {
    Answer(replies::kGoodbye);
  } else {
    Answer(reply.text, reply.code);
  }
  co_return CloseReason::kQuit;
}

std::string_view Session::LineOf(const OwnReply& reply) const {
  return reply.line(extensions().enhanced_status_codes);
}

void Session::Answer(const OwnReply& reply) { Answer(LineOf(reply), reply.code()); }

void Session::Answer(std::string_view text, uint16_t code) {
  WriteReply(text, code);
  client_.stream().Flush();
}

CloseReason Session::Relay(const ServerReply& reply) {
  if (!reply.text.empty()) Answer(reply.text, reply.code);
  return reply.failure;
}

// Counts errors in a row, see limits::kErrorsInARowMax. 500 to 504 are about the form of a command. All other
// negative codes are the server's judgement of a sender, a recipient or its own state.
void Session::WriteReply(std::string_view text, uint16_t code) {
  client_.stream().Write(text);
  if (code >= 500 && code <= 504) {
    ++errors_in_a_row_;
  } else if (code < 400) {
    errors_in_a_row_ = 0;
  }
}

CloseReason Session::CheckPatience() const {
  if (errors_in_a_row_ > limits::kErrorsInARowMax) return CloseReason::kTooManyErrors;
  if (commands_without_message_ > limits::kCommandsWithoutMessageMax) return CloseReason::kTooManyCommands;
  return CloseReason::kNone;
}

void Session::ForgetTransaction() {
  services_.bodies.Release(std::move(transaction_.chunks));
  transaction_ = Transaction();
  original_client_ = {};
}

}  // namespace bivalve::appliance
