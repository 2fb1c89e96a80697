// Session: the dialogue with one client, from the greeting to the close. At each co_await other sessions run,
// and either peer may have gone afterwards. A ServerLink is its connection to the mail server, a MessageScan
// scans a message, and a MessageAccount counts and logs messages.
//
// A step takes all command lines that have arrived (RFC 2920), passes them to the server in one send, reads
// the replies in order and answers in one send. HELO, EHLO, DATA, BDAT, AUTH and QUIT are steps of their own.
// Start reading at Run().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "appliance/log/event.h"
#include "appliance/worker/close_reason.h"
#include "appliance/worker/message_account.h"
#include "appliance/worker/message_scan.h"
#include "appliance/worker/replies.h"
#include "appliance/worker/server_link.h"
#include "appliance/worker/session_info.h"
#include "appliance/worker/session_services.h"
#include "appliance/worker/transaction.h"
#include "core/body.h"
#include "core/condition.h"
#include "core/linked_list.h"
#include "core/patience.h"
#include "core/task.h"
#include "net/address.h"
#include "net/connection.h"
#include "net/ehlo.h"
#include "net/end_of_data.h"
#include "net/header_section.h"
#include "net/mail_data.h"
#include "net/smtp_command.h"
#include "net/xforward.h"
#include "scan/clamd_pool.h"

namespace bivalve::appliance {

class Session : public core::Linked<Session> {
 public:
  // A connection that was accepted.
  struct Client {
    int fd = -1;          // the session takes ownership
    size_t listener = 0;  // index of the listener that it came to
    net::SocketAddress address = {};
  };
  // Serves a client until its connection is closed. `number` is the session's number in the log.
  static core::Task<void> Serve(SessionServices& services, Client client, uint64_t number);
  // To be called after services.stopping was set: the session ends as soon as no transaction is open; before
  // its greeting it ends at once. Never suspends.
  void OnStopping();
  // What the session does now (session_report.cc). Never suspends.
  SessionInfo Describe() const;

 private:
  // A command of a group that still waits for its reply, from the server or our own.
  struct Pending {
    net::Verb verb = net::Verb::kUnknown;
    const OwnReply* own_reply = nullptr;  // null: the server replies
    std::string_view path = {};  // of MAIL and RCPT, arguments of XFORWARD; borrows from the client's input
    std::string_view parameters = {};  // after the path; borrows likewise
    uint64_t declared_bytes = 0;
    bool binary_mime = false;
  };
  static constexpr size_t kGroupMax = 64;
  // If a client does not read its replies, we do not read from it either.
  static constexpr size_t kUnsentBytesMax = size_t{64} << 10;

  Session(SessionServices& services, const Client& client, uint64_t number);
  ~Session();

  core::Task<void> Run();
  // --- Before the first command (session_start.cc, session_transparent.cc, session_xclient.cc).
  core::Task<CloseReason> TakeProxyHeader();
  CloseReason CountClient();
  void UncountClient();
  core::Task<CloseReason> OpenServer();
  core::Task<bool> ConnectServer();
  // The addresses to connect to, in order; with TransparentProxy the one that the client wanted.
  std::vector<net::SocketAddress> ServerAddresses();
  // With TransparentProxy a socket for the connection to the server; otherwise -1: any socket will do.
  int OpenOutgoing(const net::SocketAddress& server);
  void ReleaseOutgoingPort();
  // XClient: called before the client's first command, which is `command`, is handled.
  core::Task<CloseReason> IntroduceClient(const net::Command& command);
  CloseReason NotIntroduced(std::string_view why);
  net::ClientIdentity Identity(const net::Command& command) const;

  // --- The dialogue.
  // If `too_long` is given, a line that is too long is reported there and not answered.
  core::Task<CloseReason> AwaitCommand(bool* too_long = nullptr);
  core::Task<CloseReason> Step();
  core::Task<CloseReason> RelayGroup();
  bool AddToGroup(const net::Command& command, std::string_view line);
  // The next command is a DATA that we answer ourselves, without asking anybody.
  bool DataFollows();
  void NoteReply(const Pending& pending, uint16_t code);
  core::Task<CloseReason> RelayUnasked();
  core::Task<CloseReason> RelayHello(net::Verb verb, std::string_view line);
  core::Task<CloseReason> RelayAuth(const net::Command& command, std::string_view line);
  core::Task<CloseReason> RelayQuit();
  core::Task<CloseReason> AwaitQuit();
  core::Task<void> End(CloseReason reason);

  // --- A message (session_message.cc).
  core::Task<CloseReason> Data(std::string_view arguments, std::string_view line);
  core::Task<CloseReason> DataWithoutRecipients(std::string_view line);
  // A body for the message that DATA announces; null if there is no room in time.
  core::Task<std::unique_ptr<core::Body>> AcquireBody();
  core::Task<CloseReason> Bdat(std::string_view arguments);
  core::Task<CloseReason> RefuseChunk(uint64_t chunk_bytes, const OwnReply& reply);
  core::Task<CloseReason> FinishMessage(std::unique_ptr<core::Body> body, net::MailDataResult data);
  net::MailDataLimits DataLimits() const;
  net::EndOfData::Check DataCheck() const;
  uint64_t MessageBytesMax() const;

  // --- The verdict on a message, and what follows (session_verdict.cc).
  core::Task<CloseReason> ScanAndAct(std::unique_ptr<core::Body> body, bool may_need_stuffing);
  core::Task<CloseReason> ActOnVirus(core::Body& body, const std::string& name, bool may_need_stuffing);
  core::Task<CloseReason> ActOnFailure(core::Body& body, const MessageScan& scan, bool may_need_stuffing);
  // A message on its way to the server: the header that is added, and the log's word for the message.
  struct Onward {
    std::string header = {};
    bool header_at_top = false;
    bool may_need_stuffing = false;
    bool infected = false;
    std::string status = {};
  };
  core::Task<CloseReason> DeliverMessage(core::Body& body, const Onward& onward);
  core::Task<CloseReason> AnswerAndReset(const OwnReply& reply, Outcome outcome, std::string_view status);
  core::Task<CloseReason> ResetServer();
  std::string UsualHeader();
  // For Quarantine, VirusAction and DebugFiles (session_report.cc): gives the message to the control thread,
  // which then shares the body.
  void ReportMessage(core::Body& body, const scan::Verdict& verdict);
  void Conclude(Outcome outcome, std::string_view status, bool infected_passed = false);

  // --- Replies to the client. Each one counts for our patience with it (CheckPatience).
  std::string_view LineOf(const OwnReply& reply) const;
  void Answer(const OwnReply& reply);
  void Answer(std::string_view text, uint16_t code);
  // Passes the reply on. If it is not ok(), the session ends for its reason.
  CloseReason Relay(const ServerReply& reply);
  // Writes the reply without sending it yet.
  void WriteReply(std::string_view text, uint16_t code);
  CloseReason CheckPatience() const;

  void SetPhase(SessionPhase phase) {
    phase_ = phase;
    phase_since_ = services_.loop.Now();
  }
  void LogText(Severity severity, std::string_view text) { services_.log.Text(severity, number_, text); }
  void ForgetTransaction();
  // True if the service stops and nothing is under way here that it has to wait for.
  bool MayStop() const { return services_.stopping && !transaction_.mail_accepted; }

  MetricCounters& counters() { return services_.stats.counters; }
  const SessionConfig& config() const { return settings_->config; }
  const net::ServerExtensions& extensions() const { return server_.extensions(); }
  core::MonoTime Deadline() const { return services_.loop.Now() + config().timeout; }

  SessionServices& services_;
  std::shared_ptr<SessionSettings> settings_;
  net::SocketAddress client_address_;
  uint64_t number_;
  const core::MonoTime began_at_;
  SessionPhase phase_ = SessionPhase::kStart;
  core::MonoTime phase_since_;
  core::Condition wake_;
  net::Connection client_;
  ServerLink server_;
  MessageAccount account_;
  std::string helo_;            // the client's last HELO or EHLO name, shortened for the log
  bool introduced_ = false;     // XClient: it was tried
  uint16_t outgoing_port_ = 0;  // our entry in services_.outgoing_ports
  // From an XFORWARD that the server accepted; ends with the transaction.
  net::OriginalClient original_client_;
  std::string client_host_;
  std::string local_host_;                // looked up when a header needs it
  net::HeaderSection header_;             // of the message in progress
  const core::Body* incoming_ = nullptr;  // the body that is being received into
  const MessageScan* scan_ = nullptr;     // while a verdict is awaited
  Transaction transaction_;
  std::vector<Pending> group_;
  core::Patience bdat_patience_;                  // for the message that comes in chunks
  std::optional<net::SocketAddress> counted_as_;  // our entry in services_.client_counts
  uint32_t errors_in_a_row_ = 0;
  uint32_t commands_without_message_ = 0;
};

}  // namespace bivalve::appliance
