#include "appliance/worker/session.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "appliance/worker/replies.h"
#include "appliance/worker/session_limits.h"
#include "core/text.h"
#include "net/smtp_reply.h"

namespace bivalve::appliance {
namespace {

// For one address of a server. Shorter than TimeOut, so that the next one is tried while the client still
// waits: RFC 5321 section 4.5.3.2.1 gives a client five minutes for the greeting.
constexpr std::chrono::seconds kConnectTimeout{30};

// How long a client gets to close its side after the last reply. It has what it needs; nothing is lost with
// it.
constexpr std::chrono::seconds kLinger{1};

bool IsQuit(const net::Connection::Line& line) {
  return line.state == net::Connection::LineState::kLine &&
         net::ParseCommand(line.text).verb == net::Verb::kQuit;
}

}  // namespace

core::Task<void> Session::Serve(SessionServices& services, int client_fd, net::SocketAddress client_address,
                                uint64_t number) {
  Session session(services, client_fd, client_address, number);
  co_await session.Run();
}

Session::Session(SessionServices& services, int client_fd, const net::SocketAddress& client_address,
                 uint64_t number)
    : services_(services),
      settings_(services.settings),
      client_address_(client_address),
      number_(number),
      began_at_(services.loop.Now()),
      phase_since_(began_at_),
      wake_(services.loop),
      client_(services.loop, wake_, net::kCommandLineBytesMax),
      server_(services.loop, wake_, net::kReplyLineBytesMax),
      keep_alive_(server_, wake_),
      client_host_(client_address.Host()) {
  client_.stream().Adopt(client_fd);
  services_.sessions.Append(*this);
}

Session::~Session() { services_.sessions.Remove(*this); }

core::Task<void> Session::Run() {
  counters().Add(Metric::kActive);
  CloseReason reason = CloseReason::kNone;
  if (client_address_.family() == AF_UNSPEC) {
    // Reset before it was accepted: nobody is there to open a session with the server for.
    client_host_ = "UNKNOWN";
    reason = CloseReason::kClientGone;
  }
  if (reason == CloseReason::kNone && config().proxy_protocol) reason = co_await TakeProxyHeader();
  if (reason == CloseReason::kNone) reason = EnterClient();
  if (services_.log.Wants(Severity::kInfo)) {
    services_.log.Begin(EventKind::kConnection, Severity::kInfo, number_)
        .Add(EventField::kClient, client_host_);
    services_.log.Commit();
  }
  if (reason == CloseReason::kNone) reason = co_await OpenServer();
  while (reason == CloseReason::kNone) reason = co_await Step();
  co_await End(reason);
  LeaveClient();
  counters().Subtract(Metric::kActive);
}

// Connects to the server and greets the client in its stead (RFC 5321 section 4.3.1).
core::Task<Session::CloseReason> Session::OpenServer() {
  const bool connected = co_await ConnectServer();
  if (!connected) co_return CloseReason::kUnreachable;
  std::string greeting;
  const net::Reply reply = co_await ServerReply(greeting);
  if (!reply.ok()) co_return ReasonOf(reply.status);
  if (reply.code == 220) {
    Answer(core::Cat("220 ", config().host_name, "\r\n"));
    co_return CloseReason::kNone;
  }
  if (!net::IsTransient(reply.code) && !net::IsPermanent(reply.code)) co_return CloseReason::kServerNonsense;
  // The server does not want to talk now: its own words say it best.
  Answer(greeting);
  co_return CloseReason::kQuit;
}

core::Task<bool> Session::ConnectServer() {
  const std::vector<net::SocketAddress> addresses = ServerAddresses();
  for (const net::SocketAddress& address : addresses) {
    const core::MonoTime began = services_.loop.Now();
    const core::IoResult result = co_await server_.stream().Connect(
        address.raw(), address.raw_size(),
        began + std::min<core::Duration>(config().timeout, kConnectTimeout), OpenOutgoing(address));
    if (result.ok()) {
      counters().Add(Metric::kServerConnects);
      services_.stats.server_connect_us.Record(core::Microseconds(services_.loop.Now() - began));
      server_address_ = address;
      server_host_ = address.Host();
      co_return true;
    }
    counters().Add(Metric::kServerErrors);
    LogText(Severity::kError, core::Cat("cannot connect to mail server ", address.ToString(), ": ",
                                        std::string_view(std::strerror(result.error()))));
    if (ClientLeft()) co_return false;
  }
  if (addresses.empty()) LogText(Severity::kError, "no address of a mail server is known");
  co_return false;
}

core::Task<void> Session::End(CloseReason reason) {
  Enter(SessionPhase::kEnd);
  keep_alive_.Stop();
  std::string_view farewell;
  bool server_listens = true;
  switch (reason) {
    case CloseReason::kNone:
    case CloseReason::kQuit:
      server_listens = false;
      break;
    case CloseReason::kClientGone:
      LogText(Severity::kDebug, "client closed the connection");
      break;
    case CloseReason::kClientTimeout:
      farewell = replies::kClientTimeout;
      counters().Add(Metric::kTimeouts);
      LogText(Severity::kWarning, "client was silent for too long");
      break;
    case CloseReason::kUnreachable:
      farewell = replies::kUnreachable;
      server_listens = false;
      break;
    case CloseReason::kServerLost:
      farewell = replies::kServerLost;
      server_listens = false;
      LogText(Severity::kError, "mail server closed the connection");
      break;
    case CloseReason::kServerTimeout:
      farewell = replies::kServerTimeout;
      server_listens = false;
      counters().Add(Metric::kTimeouts);
      LogText(Severity::kError, "mail server was silent for too long");
      break;
    case CloseReason::kServerNonsense:
      farewell = replies::kServerNonsense;
      server_listens = false;
      counters().Add(Metric::kProtocolErrors);
      LogText(Severity::kError, "mail server broke the protocol");
      break;
    case CloseReason::kShutdown:
      farewell = replies::kShutdown;
      break;
    case CloseReason::kServerGone:
      server_listens = false;
      LogText(Severity::kDebug, "mail server closed the connection");
      break;
    case CloseReason::kNotIntroduced:
      farewell = replies::kNotIntroduced;
      counters().Add(Metric::kNotIntroduced);
      break;
    case CloseReason::kProxyHeader:
      counters().Add(Metric::kProxyHeaders);
      break;
    case CloseReason::kTooManyConnections:
      farewell = replies::kTooManyConnections;
      break;
    case CloseReason::kBadChunk:
      farewell = replies::kBadChunk;
      LogText(Severity::kWarning, "client sent a BDAT whose size cannot be read");
      break;
    case CloseReason::kTooManyErrors:
      farewell = replies::kTooManyErrors;
      break;
    case CloseReason::kTooManyCommands:
      farewell = replies::kTooManyCommands;
      break;
    case CloseReason::kTooSlow:
      farewell = replies::kTooSlow;
      counters().Add(Metric::kTooSlow);
      LogText(Severity::kWarning, "client sends its message too slowly");
      break;
  }
  Answer(farewell);
  if (server_listens && server_.stream().open()) {
    server_.stream().Write("QUIT\r\n");
    (void)co_await server_.stream().Drain(Deadline());
  }
  const bool drained = co_await client_.stream().Drain(Deadline());
  // Commands that will not be answered any more must not cost the client the last answer.
  if (drained && !client_.stream().ended()) co_await client_.stream().Linger(services_.loop.Now() + kLinger);
  services_.bodies.Release(std::move(transaction_.chunks));
  co_await server_.stream().Close();
  ReleaseOutgoingPort();
  co_await client_.stream().Close();
}

core::Task<Session::CloseReason> Session::Step() {
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

// Waits until a whole command line is there. Both sides' readers are armed meanwhile, so that a server that
// hangs up or says 421 between two commands is noticed at once.
core::Task<Session::CloseReason> Session::AwaitCommand(bool* too_long) {
  const core::MonoTime deadline = Deadline();
  Enter(SessionPhase::kCommand);
  for (;;) {
    // First of all: what a server says unasked must not pass for the reply to the next command.
    if (!server_.stream().input().empty()) co_return co_await RelayUnasked();
    const net::Connection::Line line = client_.PeekLine();
    // A client that has always one more command waiting is told as well. The answer to QUIT says the same,
    // and told of a failure instead, a client might take a message for lost.
    if (MayStop() && line.state != net::Connection::LineState::kNone && !IsQuit(line))
      co_return CloseReason::kShutdown;
    switch (line.state) {
      case net::Connection::LineState::kLine:
        Enter(SessionPhase::kServer);
        co_return CloseReason::kNone;
      case net::Connection::LineState::kTooLong: {
        counters().Add(Metric::kProtocolErrors);
        counters().Add(Metric::kLinesTooLong);
        if (too_long != nullptr) {
          *too_long = true;
          Enter(SessionPhase::kServer);
          co_return CloseReason::kNone;
        }
        ++errors_in_a_row_;
        Answer(replies::kLineTooLong);
        const CloseReason reason = CheckPatience();
        if (reason != CloseReason::kNone) co_return reason;
        continue;
      }
      case net::Connection::LineState::kNone:
        break;
    }
    if (client_.stream().ended() || client_.stream().write_error() != 0) co_return CloseReason::kClientGone;
    if (server_.stream().ended()) {
      if (transaction_.mail_accepted || messages_received_ == 0) co_return CloseReason::kServerLost;
      co_return co_await AwaitQuit();
    }
    if (MayStop()) co_return CloseReason::kShutdown;
    client_.stream().StartReading();
    server_.stream().StartReading();
    const bool in_time = co_await wake_.Wait(deadline);
    if (!in_time && client_.PeekLine().state == net::Connection::LineState::kNone) {
      co_return CloseReason::kClientTimeout;
    }
  }
}

// The server has closed behind a message. Told of a failure instead of getting its QUIT answered, the client
// would take the message for lost; any other command fails, because nobody is there for it.
core::Task<Session::CloseReason> Session::AwaitQuit() {
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

// The server spoke though nothing was asked: a 421 before it closes (RFC 5321 section 3.8) is passed on.
core::Task<Session::CloseReason> Session::RelayUnasked() {
  std::string text;
  const net::Reply reply = co_await ServerReply(text);
  if (!reply.ok()) co_return ReasonOf(reply.status);
  if (reply.code != 421) co_return CloseReason::kServerNonsense;
  Answer(text);
  co_return CloseReason::kQuit;
}

// Passes on all commands that have arrived, up to one that is a step of its own.
core::Task<Session::CloseReason> Session::RelayGroup() {
  group_.clear();
  // When the service stops, the end of a transaction may be the end of the session.
  const size_t commands_max = services_.stopping ? 1 : kGroupMax;
  while (group_.size() < commands_max) {
    const net::Connection::Line line = client_.PeekLine();
    if (line.state == net::Connection::LineState::kNone) break;
    if (line.state == net::Connection::LineState::kTooLong) {
      counters().Add(Metric::kProtocolErrors);
      counters().Add(Metric::kLinesTooLong);
      group_.push_back({.own_reply = replies::kLineTooLong});
      continue;
    }
    const net::Command command = net::ParseCommand(line.text);
    const bool clean = net::LineIsClean(line.text);
    if (clean && command.kind == net::CommandKind::kOwn) break;
    (void)client_.NextLine();
    if (command.verb != net::Verb::kRcpt) ++commands_without_message_;
    if (!clean) {
      counters().Add(Metric::kProtocolErrors);
      group_.push_back({.own_reply = replies::kBadLine});
      continue;
    }
    const bool last = AddToGroup(command, line.text);
    if (last) break;
  }
  server_.stream().Flush();

  // The commands' texts stay valid: the client is not read from until all replies are there.
  std::string text;
  for (const Pending& pending : group_) {
    if (!pending.own_reply.empty()) {
      client_.stream().Write(pending.own_reply);
      CountReply(pending.own_reply.starts_with("50") ? 500 : 400);
      continue;
    }
    text.clear();
    const net::Reply reply = co_await ServerReply(text);
    if (!reply.ok()) co_return ReasonOf(reply.status);
    // Only DATA and AUTH may be answered so, and neither is in a group: the server would take what follows
    // for data.
    if (net::IsIntermediate(reply.code)) co_return CloseReason::kServerNonsense;
    client_.stream().Write(text);
    CountReply(reply.code);
    NoteReply(pending, reply.code);
    if (reply.code == 421) co_return CloseReason::kQuit;
  }
  client_.stream().Flush();
  co_return CloseReason::kNone;
}

// True when nothing may be sent behind this command before its reply.
bool Session::AddToGroup(const net::Command& command, std::string_view line) {
  Pending pending{.verb = command.verb};
  switch (command.kind) {
    case net::CommandKind::kRefuse:
      pending.own_reply = replies::kNotImplemented;
      break;
    case net::CommandKind::kForbid:
      pending.own_reply = replies::kForbidden;
      break;
    default:
      break;
  }
  if (command.verb == net::Verb::kMail || command.verb == net::Verb::kRcpt) {
    pending.path = net::ParsePath(command.arguments).value_or(command.arguments);
    pending.parameters = net::ParseParameters(command.arguments);
  }
  if (command.verb == net::Verb::kXForward) pending.path = command.arguments;
  std::string_view cut;  // what of the line the server does not get
  if (command.verb == net::Verb::kMail) {
    const std::string_view declared = net::FindParameter(command.arguments, "SIZE").value_or("");
    pending.declared_bytes = net::ParseNumber(declared).value_or(0);
    // Of two the server may take the other one.
    std::string_view words = pending.parameters;
    for (std::string_view word = net::NextWord(words); !word.empty(); word = net::NextWord(words))
      pending.binary_mime = pending.binary_mime || core::StartsWithIgnoreCase(word, "BODY=BINARYMIME");
    if (pending.binary_mime && !(config().binary_mime && extensions_.chunking))
      pending.own_reply = replies::kNoBinaryMime;
    const uint64_t limit = MessageBytesMax();
    if (limit != 0 && pending.declared_bytes > limit) pending.own_reply = replies::kTooLarge;
    // SIZE is announced even where the server lacks it, and such a server would refuse the parameter.
    constexpr std::string_view kParameter = "SIZE=";
    if (!declared.empty() && !extensions_.size) {
      cut = {declared.data() - kParameter.size(), declared.size() + kParameter.size()};
      // With the blank before it, where there is one ("<a@b>SIZE=1").
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
      pending.own_reply = replies::kTooManyRecipients;
    }
  }
  group_.push_back(pending);
  if (!pending.own_reply.empty()) {
    if (command.verb != net::Verb::kRcpt) counters().Add(Metric::kProtocolErrors);
    return false;
  }
  if (!cut.empty()) {
    const auto before = static_cast<size_t>(cut.data() - line.data());
    server_.stream().Write(line.substr(0, before));
    line.remove_prefix(before + cut.size());
  }
  server_.stream().Write(line);
  server_.stream().Write("\r\n");
  return command.kind == net::CommandKind::kPassLast || !extensions_.pipelining;
}

void Session::NoteReply(const Pending& pending, uint16_t code) {
  if (!net::IsPositive(code)) return;
  switch (pending.verb) {
    case net::Verb::kMail: {
      net::OriginalClient original_client = std::move(original_client_);  // came for this transaction
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
      transaction_.AddRecipient(pending.path);
      if (config().quarantine || !config().virus_action.empty())
        transaction_.AddRecipientLine(pending.path, config().quarantine ? pending.parameters : "");
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

// HELO and EHLO (RFC 5321 section 4.1.1.1): the client sees our name, and what of the server's extensions a
// filter can let it use.
core::Task<Session::CloseReason> Session::RelayHello(net::Verb verb, std::string_view line) {
  helo_ = net::ParseCommand(line).arguments.substr(0, limits::kHeloBytesKept);
  server_.stream().Write(line);
  server_.stream().Write("\r\n");
  server_.stream().Flush();
  std::string text;
  const net::Reply reply = co_await ServerReply(text);
  if (!reply.ok()) co_return ReasonOf(reply.status);
  if (net::IsIntermediate(reply.code)) co_return CloseReason::kServerNonsense;
  if (!net::IsPositive(reply.code)) {
    Answer(text);
    CountReply(reply.code);
    co_return reply.code == 421 ? CloseReason::kQuit : CloseReason::kNone;
  }
  ForgetTransaction();
  if (verb == net::Verb::kHelo) {
    extensions_ = {};
    Answer(core::Cat("250 ", config().host_name, "\r\n"));
    co_return CloseReason::kNone;
  }
  const bool chunking = !services_.chunking_proof.Refuses(server_address_, services_.loop.Now());
  net::EhloReply ehlo(config().host_name, {.size_bytes_max = config().message_bytes_max,
                                           .chunking = chunking,
                                           .binary_mime = config().binary_mime});
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = rest.find("\r\n");
    ehlo.Add(net::ParseReplyLine(rest.substr(0, end))->text);
    rest.remove_prefix(end + 2);
  }
  extensions_ = ehlo.server();
  extensions_.chunking = extensions_.chunking && chunking;
  Answer(ehlo.Finish());
  co_return CloseReason::kNone;
}

// AUTH (RFC 4954 section 4): after a 334 the client's next line is a response and never a command.
core::Task<Session::CloseReason> Session::RelayAuth(const net::Command& command, std::string_view line) {
  std::string_view words = command.arguments;
  const std::string_view mechanism = net::NextWord(words);
  // What is said behind a security layer can be neither read nor scanned.
  const bool has_layer = net::HasSecurityLayer(mechanism);
  if (has_layer || net::BindsToTls(mechanism)) {
    counters().Add(Metric::kProtocolErrors);
    Answer(has_layer ? replies::kNotImplemented : replies::kNoSuchMechanism);
    CountReply(has_layer ? 502 : 504);
    co_return CloseReason::kNone;
  }
  server_.stream().Write(line);
  for (;;) {
    server_.stream().Write("\r\n");
    server_.stream().Flush();
    std::string text;
    const net::Reply reply = co_await ServerReply(text);
    if (!reply.ok()) co_return ReasonOf(reply.status);
    if (net::IsIntermediate(reply.code) && reply.code != 334) co_return CloseReason::kServerNonsense;
    Answer(text);
    if (reply.code == 421) co_return CloseReason::kQuit;
    CountReply(reply.code);
    ++commands_without_message_;
    if (reply.code != 334) co_return CloseReason::kNone;
    bool too_long = false;
    const CloseReason reason = co_await AwaitCommand(&too_long);
    if (reason != CloseReason::kNone) co_return reason;
    const std::string_view response = too_long ? "*" : client_.NextLine().text;
    // A response that no server should see ends the exchange as the client itself could.
    server_.stream().Write(net::LineIsClean(response) ? response : "*");
  }
}

core::Task<Session::CloseReason> Session::RelayQuit() {
  server_.stream().Write("QUIT\r\n");
  server_.stream().Flush();
  std::string text;
  const net::Reply reply = co_await ServerReply(text);
  // Whatever becomes of the server, the client's business is done: told of a failure, it would take messages
  // that were delivered for lost.
  Answer(reply.ok() && !net::IsIntermediate(reply.code) ? text : replies::kGoodbye);
  co_return CloseReason::kQuit;
}

core::Task<net::Reply> Session::ServerReply(std::string& text) {
  co_return co_await net::ReadReply(server_, wake_, config().timeout, text);
}

void Session::Answer(std::string_view reply) {
  client_.stream().Write(reply);
  client_.stream().Flush();
}

Session::CloseReason Session::ReasonOf(net::ReplyStatus status) {
  switch (status) {
    case net::ReplyStatus::kOk:
      return CloseReason::kNone;
    case net::ReplyStatus::kEnded:
      return CloseReason::kServerLost;
    case net::ReplyStatus::kTimeout:
      return CloseReason::kServerTimeout;
    case net::ReplyStatus::kGarbage:
      return CloseReason::kServerNonsense;
  }
  BV_CHECK(false);
}

// A client that has closed its side and left commands unanswered may still be reading (printf … | nc).
bool Session::ClientLeft() const {
  const core::Stream& stream = client_.stream();
  return stream.error() != 0 || stream.write_error() != 0 || (stream.ended() && stream.input().empty());
}

void Session::ForgetTransaction() {
  services_.bodies.Release(std::move(transaction_.chunks));
  transaction_ = Transaction();
  original_client_ = {};
}

}  // namespace bivalve::appliance
