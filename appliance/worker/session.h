// Session: one client connection and what serves it. Reads like the dialogue that it holds, from the greeting
// to the close; each co_await is a place where other sessions run and where either peer may have gone.
//
// A step takes all command lines that have arrived (RFC 2920), passes them to the server in one send, reads
// the replies in order and answers in one send. HELO, EHLO, DATA, BDAT, AUTH and QUIT are steps of their own.
// Start reading at Run().
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "appliance/log/event.h"
#include "appliance/settings/config.h"
#include "appliance/settings/header_template.h"
#include "appliance/stats/worker_stats.h"
#include "appliance/viruses/virus_report.h"
#include "appliance/worker/address_list.h"
#include "appliance/worker/client_counts.h"
#include "appliance/worker/session_info.h"
#include "appliance/worker/transaction.h"
#include "core/body_pool.h"
#include "core/condition.h"
#include "core/linked_list.h"
#include "core/loop.h"
#include "core/task.h"
#include "net/address.h"
#include "net/chunking_proof.h"
#include "net/connection.h"
#include "net/delivery.h"
#include "net/ehlo.h"
#include "net/header_section.h"
#include "net/keep_alive.h"
#include "net/line_survey.h"
#include "net/mail_data.h"
#include "net/mime_parts.h"
#include "net/reply_reader.h"
#include "net/smtp_command.h"
#include "net/transparent.h"
#include "net/xforward.h"
#include "scan/clamd_pool.h"

namespace bivalve::appliance {

// The settings as a worker's sessions use them: its own copy, shared by the sessions that began under it.
struct SessionSettings {
  Config config = {};
  HeaderTemplate header = {};
  AddressList servers = {};  // OutAddress; the worker's thread only, once a session has it
};

class Session;

// What a worker lends to its sessions.
struct SessionServices {
  core::Loop& loop;
  core::BodyPool& bodies;
  scan::ClamdPool& scanners;
  WorkerStats& stats;
  EventLog& log;
  std::shared_ptr<SessionSettings> settings;       // for new sessions
  core::LinkedList<Session> sessions = {};         // those that are served now, in the order of their start
  bool stopping = false;                           // sessions end when no transaction is open
  ClientCounts* client_counts = nullptr;           // of all workers; null: clients are not counted
  ReportOutlet* reports = nullptr;                 // any thread's; null: nothing is kept or reported
  std::vector<net::SocketAddress> listening = {};  // this program's own addresses, for TransparentProxy
  net::OutgoingPorts* outgoing_ports = nullptr;    // all workers'; null: no TransparentProxy
  net::ChunkingProof chunking_proof = {};          // of the servers
};

class Session : public core::Linked<Session> {
 public:
  // Serves a client until its connection is closed. Takes ownership of the descriptor. `number` is the one in
  // the log.
  static core::Task<void> Serve(SessionServices& services, int client_fd, net::SocketAddress client_address,
                                uint64_t number);
  // Tells a waiting session to look at services.stopping.
  void Notify() { wake_.Notify(); }
  // What is going on in it now (session_report.cc). Never suspends.
  SessionInfo Describe() const;

 private:
  enum class CloseReason : uint8_t {
    kNone,
    kQuit,  // the server has said goodbye, and its words were relayed
    kClientGone,
    kClientTimeout,
    kUnreachable,  // no server could be connected to
    kServerLost,
    kServerTimeout,
    kServerNonsense,
    kShutdown,
    kServerGone,          // it has closed behind the last message, and the client has nothing to ask
    kNotIntroduced,       // XClient: the server was not told who the client is
    kProxyHeader,         // there is none, or it is not to be believed
    kTooManyConnections,  // of this client
    kTooManyErrors,
    kBadChunk,  // a BDAT whose size cannot be read
    kTooManyCommands,
    kTooSlow,  // mail data came too slowly
  };

  // How a received message ended; CONTRACT's identity is over these.
  enum class Outcome : uint8_t { kDelivered, kRefused, kDropped, kBounced, kTempfailed, kRejected, kLost };

  // A command of a group whose reply is still to come: the server's, or one of our own.
  struct Pending {
    net::Verb verb = net::Verb::kUnknown;
    std::string_view own_reply = {};  // empty: the server's
    std::string_view path = {};  // of MAIL and RCPT, arguments of XFORWARD; borrows from the client's input
    std::string_view parameters = {};  // behind the path; borrows likewise
    uint64_t declared_bytes = 0;
    bool binary_mime = false;
  };
  static constexpr size_t kGroupMax = 64;
  // A client that does not read its replies is not read from either.
  static constexpr size_t kUnsentBytesMax = size_t{64} << 10;

  Session(SessionServices& services, int client_fd, const net::SocketAddress& client_address,
          uint64_t number);
  ~Session();

  core::Task<void> Run();
  core::Task<CloseReason> TakeProxyHeader();
  CloseReason EnterClient();
  void LeaveClient();
  void CountReply(uint16_t code);
  CloseReason CheckPatience();
  core::Task<CloseReason> OpenServer();
  core::Task<bool> ConnectServer();
  // Where to connect to, in order; with TransparentProxy (session_transparent.cc) where the client wanted to.
  std::vector<net::SocketAddress> ServerAddresses();
  // With TransparentProxy a socket for the connection to the server; else -1, and any will do.
  int OpenOutgoing(const net::SocketAddress& server);
  void ReleaseOutgoingPort();
  core::Task<void> End(CloseReason reason);

  // With `too_long`, a line that is too long is not answered but told there.
  core::Task<CloseReason> AwaitCommand(bool* too_long = nullptr);
  core::Task<CloseReason> Step();
  core::Task<CloseReason> RelayGroup();
  bool AddToGroup(const net::Command& command, std::string_view line);
  void NoteReply(const Pending& pending, uint16_t code);
  core::Task<CloseReason> RelayUnasked();
  core::Task<CloseReason> RelayHello(net::Verb verb, std::string_view line);
  core::Task<CloseReason> AwaitQuit();
  // XClient (session_xclient.cc): before the client's first command, which this is.
  core::Task<CloseReason> IntroduceClient(const net::Command& command);
  CloseReason NotIntroduced(std::string_view why);
  net::ClientIdentity Identity(const net::Command& command) const;
  net::SocketAddress LocalAddress() const;
  core::Task<CloseReason> RelayAuth(const net::Command& command, std::string_view line);
  core::Task<CloseReason> RelayQuit();

  core::Task<CloseReason> Data(std::string_view arguments, std::string_view line);
  core::Task<CloseReason> DataWithoutRecipients(std::string_view line);
  core::Task<CloseReason> Bdat(std::string_view arguments);
  core::Task<CloseReason> RefuseChunk(uint64_t chunk_bytes, std::string_view reply);
  core::Task<CloseReason> FinishMessage(std::unique_ptr<core::Body> body, const net::MailDataResult& data);
  core::Task<CloseReason> ScanAndAct(std::unique_ptr<core::Body> body, bool may_need_stuffing);
  enum class ScanEnd : uint8_t { kVerdict, kTimeout, kClientLeft };
  core::Task<ScanEnd> ScanReadings(scan::Request& request, core::Body& body, scan::Verdict& verdict);
  core::Task<ScanEnd> AwaitVerdict(scan::Request& request, core::Body& body, core::MonoTime deadline);
  core::Task<ScanEnd> ScanAsMail(scan::Request& request, core::Body& body, const net::HeaderSection& header,
                                 net::LineSurvey survey, core::MonoTime deadline, scan::Verdict& verdict);
  core::Task<ScanEnd> ScanParts(const core::Body& body, const net::MimeParts& parts, core::MonoTime deadline,
                                scan::Verdict& verdict);
  core::Task<bool> DecodePart(const core::Body& body, const net::MimePart& part, core::Body& decoded,
                              core::MonoTime deadline);
  core::Task<ScanEnd> ScanHeads(scan::Request& request, core::Body& body, const net::HeaderSection& header,
                                core::MonoTime deadline, scan::Verdict& verdict);
  // For Quarantine, VirusAction and DebugFiles (session_report.cc): hands the message to the control thread,
  // which then shares the body.
  void ReportMessage(core::Body& body, const scan::Verdict& verdict);
  core::Task<CloseReason> ActOnVirus(core::Body& body, const std::string& name, bool may_need_stuffing);
  core::Task<CloseReason> ActOnFailure(core::Body& body, const scan::Verdict& verdict,
                                       bool may_need_stuffing);
  // A message on its way to the server: what is added to it, and how the log calls it.
  struct Onward {
    std::string header = {};
    bool header_at_top = false;
    bool may_need_stuffing = false;
    bool infected = false;
    std::string status = {};
  };
  core::Task<CloseReason> DeliverMessage(core::Body& body, const Onward& onward);
  core::Task<CloseReason> AnswerAndReset(std::string_view reply, Outcome outcome, std::string_view status);
  core::Task<CloseReason> ResetServer();

  core::Task<net::Reply> ServerReply(std::string& text);
  void Answer(std::string_view reply);
  uint64_t MessageBytesMax() const;
  void BeginMessage();
  void CountReceived(uint64_t content_bytes);
  // Gives the message in progress its outcome, in the counters and in the log. Once for each message
  // received.
  void Conclude(Outcome outcome, std::string_view status, bool infected_passed = false);
  // The message's line or record in the log (session_report.cc).
  void LogMessage(Metric outcome, std::string_view status);
  void Enter(SessionPhase phase) {
    phase_ = phase;
    phase_since_ = services_.loop.Now();
  }
  void LogText(Severity severity, std::string_view text) { services_.log.Text(severity, number_, text); }
  void ForgetTransaction();
  static CloseReason ReasonOf(net::ReplyStatus status);
  bool ClientLeft() const;
  // The service stops, and nothing is under way here that it waits for.
  bool MayStop() const { return services_.stopping && !transaction_.mail_accepted; }
  net::MailDataLimits DataLimits() const;
  net::EndOfData::Check DataCheck() const;
  std::string UsualHeader();

  MetricCounters& counters() { return services_.stats.counters; }
  const Config& config() const { return settings_->config; }
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
  net::Connection server_;
  net::ServerExtensions extensions_;  // of the server, from its reply to EHLO
  net::KeepAlive keep_alive_;
  std::string helo_;  // what the client called itself last, as far as the log wants it
  net::SocketAddress server_address_;
  std::string server_host_;     // for VirusAction
  bool introduced_ = false;     // XClient: it was tried
  uint16_t outgoing_port_ = 0;  // ours in services_.outgoing_ports
  net::OriginalClient
      original_client_;  // from an XFORWARD that the server accepted; ends with the transaction
  std::string client_host_;
  std::string local_host_;    // found out when a header wants it
  bool in_progress_ = false;  // a message was received and has no outcome yet
  core::MonoTime received_at_{};
  core::MonoTime data_began_at_{};
  uint64_t shrunken_files_ = 0;  // that this thread had met when the message began
  net::HeaderSection header_;    // of the message in progress
  MessageRecord record_;
  const core::Body* incoming_ = nullptr;    // what is being received into
  const scan::Request* request_ = nullptr;  // the message's, while its verdict is awaited
  uint64_t messages_received_ = 0;
  uint64_t content_bytes_received_ = 0;  // of those
  Transaction transaction_;
  std::vector<Pending> group_;
  net::DataRate bdat_rate_;                       // of the message that comes in chunks
  std::optional<net::SocketAddress> entered_as_;  // in services_.client_counts
  uint32_t errors_in_a_row_ = 0;
  uint32_t commands_without_message_ = 0;
};

}  // namespace bivalve::appliance
