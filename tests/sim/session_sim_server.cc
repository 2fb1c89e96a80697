#include "tests/sim/session_sim_server.h"

#include <algorithm>
#include <array>
#include <utility>

namespace bivalve::sim {
namespace {

using core::Cat;
using core::EqualsIgnoreCase;
using core::StartsWithIgnoreCase;

// RFC 2920 section 3.1: commands that may stand before others in a group.
bool MayBeFollowed(std::string_view verb) {
  return EqualsIgnoreCase(verb, "MAIL") || EqualsIgnoreCase(verb, "RCPT") || EqualsIgnoreCase(verb, "RSET");
}

std::string_view PathOf(std::string_view arguments) {
  const size_t begin = arguments.find('<');
  const size_t end = arguments.find('>');
  if (begin == std::string_view::npos || end == std::string_view::npos) return {};
  return arguments.substr(begin + 1, end - begin - 1);
}

}  // namespace

SimSmtpServer::SimSmtpServer(uint64_t seed, ServerChances chances, Ledger& ledger)
    : random_(seed),
      chances_(chances),
      ledger_(ledger),
      pipelining_(random_.Chance(0.6)),
      chunking_(random_.Chance(0.5)),
      size_(random_.Chance(0.5)),
      late_(random_.Chance(0.3)) {}

void SimSmtpServer::OnConnect(SimSocket& socket) {
  Dialogue& d = dialogues_[&socket];
  d.socket = &socket;
  if (Misfortune(d)) return;
  if (random_.Chance(chances_.refuse / 4)) {
    d.spoiled = true;
    Say(d, "554 5.3.2 no service here\r\n");
    return;
  }
  Reply(d, 220, "sim.example ESMTP");
}

void SimSmtpServer::OnClose(SimSocket& socket) {
  Dialogue& d = dialogues_[&socket];
  CheckUnfinished(d);
  // A stop can come when the connection is there and the session does not know it yet.
  const bool cut_at_once = ledger_.stopped_at != core::kNever && d.last_line.empty();
  if (d.phase != Phase::kOver && !d.spoiled && !ledger_.connections_break && !cut_at_once &&
      d.last_line != "QUIT\r\n")
    ledger_.Problem("server: no QUIT before the end, but ", d.last_line);
  d.phase = Phase::kOver;
}

void SimSmtpServer::OnBytes(SimSocket& socket, std::string_view bytes) {
  Dialogue& d = dialogues_[&socket];
  if (d.phase == Phase::kOver) {
    if (socket.open()) ledger_.Problem("server: bytes after QUIT or after its end: ", bytes.substr(0, 40));
    return;
  }
  if (d.reply_due && !d.may_be_followed) {
    ledger_.Problem("server: bytes before the reply to a command that nothing may follow: ",
                    bytes.substr(0, 40));
  }
  if (d.knows_no_bdat) ledger_.Problem("server: bytes behind a chunk that was refused unread");
  d.input.append(bytes);
  Process(d);
}

void SimSmtpServer::Process(Dialogue& d) {
  while (!d.reply_due && d.phase != Phase::kOver) {
    if (d.phase == Phase::kData) {
      if (!TakeData(d)) return;
    } else if (d.phase == Phase::kChunk) {
      if (!TakeChunk(d)) return;
    } else {
      const size_t end = d.input.find('\n');
      if (end == std::string::npos) return;
      const std::string line = d.input.substr(0, end + 1);
      d.input.erase(0, end + 1);
      d.last_line = line;
      Command(d, line);
    }
  }
}

void SimSmtpServer::Command(Dialogue& d, std::string_view line) {
  if (!line.ends_with("\r\n")) ledger_.Problem("server: a command ends in LF alone: ", line);
  line.remove_suffix(std::min<size_t>(line.size(), 2));
  if (line.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos) {
    ledger_.Problem("server: a command holds CR, LF or NUL: ", line);
  }
  const std::string_view verb = line.substr(0, line.find(' '));
  const std::string_view arguments = line.substr(std::min(verb.size() + 1, line.size()));
  const bool pipelining = pipelining_ && d.extended && ledger_.mutation != Mutation::kServerHasNoPipelining;
  d.may_be_followed = pipelining && d.phase == Phase::kCommand && MayBeFollowed(verb);
  const bool chunk_follows = EqualsIgnoreCase(verb, "BDAT");
  if (!d.input.empty() && !d.may_be_followed && !chunk_follows) {
    ledger_.Problem("server: '", line, "' is followed by '", std::string_view(d.input).substr(0, 40),
                    "' before its reply");
  }
  if (chunk_follows) return Bdat(d, arguments);
  if (Misfortune(d, EqualsIgnoreCase(verb, "DATA"))) return;
  if (d.phase == Phase::kAuth) {
    if (--d.auth_left > 0) return Reply(d, 334, "VXNlcm5hbWU6");
    d.phase = Phase::kCommand;
    return line == "*" ? Reply(d, 501, "5.7.0 cancelled") : Reply(d, 235, "2.7.0 welcome");
  }
  if (EqualsIgnoreCase(verb, "QUIT")) {
    d.socket->Send(Cat("221 2.0.0 [", verb, "]\r\n"));
    d.phase = Phase::kOver;
    if (!d.input.empty()) ledger_.Problem("server: bytes behind QUIT");
    if (random_.Chance(0.8)) d.socket->Close();
  } else if (EqualsIgnoreCase(verb, "EHLO")) {
    if (random_.Chance(chances_.refuse)) return Reply(d, 502, "5.5.1 no EHLO here");
    d.greeted = d.extended = true;
    Forget(d);
    std::string reply =
        "250-sim.example at your service\r\n250-STARTTLS\r\n250-XCLIENT NAME\r\n250-AUTH LOGIN GSSAPI\r\n";
    if (pipelining_) reply += "250-PIPELINING\r\n";
    if (chunking_) reply += "250-CHUNKING\r\n";
    if (size_) reply += "250-SIZE 500000\r\n";
    reply += "250 8BITMIME\r\n";
    Say(d, std::move(reply));
  } else if (EqualsIgnoreCase(verb, "HELO")) {
    d.greeted = true;
    d.extended = false;
    Forget(d);
    Reply(d, 250, "sim.example");
  } else if (EqualsIgnoreCase(verb, "MAIL")) {
    Mail(d, arguments);
  } else if (EqualsIgnoreCase(verb, "RCPT")) {
    Recipient(d, arguments);
  } else if (EqualsIgnoreCase(verb, "DATA")) {
    const std::string token = Cat("[DATA ", Number(d), "]");
    if (!d.mail) return Reply(d, 503, Cat("5.5.1 no MAIL ", token));
    if (d.to.empty()) return Reply(d, 554, Cat("5.5.1 no recipients ", token));
    if (Refuse(d, token)) return;
    d.phase = Phase::kData;
    d.content.clear();
    Reply(d, 354, "go ahead");
  } else if (EqualsIgnoreCase(verb, "RSET")) {
    // Bivalve's own, in upper case: no client has asked for the reply.
    if (verb == "RSET" && Refuse(d, "[RSET]")) {
      d.spoiled = true;
      return;
    }
    Forget(d);
    Reply(d, 250, Cat("2.0.0 [", verb, "]"));
  } else if (EqualsIgnoreCase(verb, "NOOP") || EqualsIgnoreCase(verb, "VRFY")) {
    if (Refuse(d, Cat("[", line, "]"))) return;
    Reply(d, 250, Cat("2.0.0 [", line, "]"));
  } else if (EqualsIgnoreCase(verb, "AUTH")) {
    d.phase = Phase::kAuth;
    d.auth_left = 2;
    Reply(d, 334, "VXNlcm5hbWU6");
  } else if (EqualsIgnoreCase(verb, "WHAT")) {  // the unknown command of simulated clients
    Reply(d, 500, Cat("5.5.2 [", line, "]"));
  } else {
    ledger_.Problem("server: unknown command '", line, "'");
    Reply(d, 500, "5.5.2 what?");
  }
}

void SimSmtpServer::Mail(Dialogue& d, std::string_view arguments) {
  const std::string token = Cat("[MAIL ", PathOf(arguments), "]");
  if (!StartsWithIgnoreCase(arguments, "FROM:<")) ledger_.Problem("server: bad MAIL ", arguments);
  if (!size_ && arguments.find("SIZE=") != std::string_view::npos) {
    ledger_.Problem("server: SIZE without the extension: ", arguments);
  }
  // Simulated clients send RSET when they themselves have to end a transaction.
  if (d.mail) ledger_.Problem("server: MAIL within a transaction");
  if (!d.greeted || d.mail) return Reply(d, 503, Cat("5.5.1 out of sequence ", token));
  if (Refuse(d, token)) return;
  Forget(d);
  d.mail = true;
  d.from = PathOf(arguments);
  Reply(d, 250, Cat("2.1.0 ", token));
}

void SimSmtpServer::Recipient(Dialogue& d, std::string_view arguments) {
  const std::string token = Cat("[RCPT ", PathOf(arguments), "]");
  if (!d.mail) return Reply(d, 503, Cat("5.5.1 no MAIL ", token));
  if (Refuse(d, token)) return;
  d.to.emplace_back(PathOf(arguments));
  Reply(d, random_.Chance(0.1) ? 251 : 250, Cat("2.1.5 ", token));
  if (ledger_.mutation == Mutation::kServerSpeaksTwice) Say(d, "250 2.1.5 [RCPT again]\r\n");
}

// RFC 3030 section 2: the chunk follows whatever the reply is.
void SimSmtpServer::Bdat(Dialogue& d, std::string_view arguments) {
  if (!chunking_ || !d.extended) ledger_.Problem("server: BDAT without CHUNKING");
  if (!d.mail || d.to.empty()) ledger_.Problem("server: BDAT without a recipient");
  const size_t end = std::min(arguments.find(' '), arguments.size());
  d.chunk_left = 0;
  for (const char digit : arguments.substr(0, end)) {
    if (digit < '0' || digit > '9') ledger_.Problem("server: bad BDAT ", arguments);
    d.chunk_left = d.chunk_left * 10 + static_cast<uint64_t>(digit - '0');
  }
  const std::string_view rest = arguments.substr(end);
  if (!rest.empty() && rest != " LAST") ledger_.Problem("server: bad BDAT ", arguments);
  d.chunk_last = !rest.empty();
  if (!std::exchange(d.in_chunks, !d.chunk_last)) d.content.clear();
  d.phase = Phase::kChunk;
  d.may_be_followed = false;
}

// False: more bytes must arrive first.
bool SimSmtpServer::TakeData(Dialogue& d) {
  for (;;) {
    const size_t end = d.input.find("\r\n");
    if (end == std::string::npos) return false;
    if (random_.Chance(chances_.early / 8)) {
      Leave(d, Cat("552 5.3.4 too much [END ", Number(d), "]\r\n"));
      return false;
    }
    std::string line = d.input.substr(0, end + 2);
    d.input.erase(0, end + 2);
    if (line == ".\r\n") break;
    if (line.starts_with('.')) {
      if (!line.starts_with("..")) ledger_.Problem("server: a line that begins with a dot was not stuffed");
      line.erase(0, 1);
    }
    d.content += line;
  }
  if (!d.input.empty()) ledger_.Problem("server: bytes behind the end of data before its reply");
  d.may_be_followed = false;
  EndOfMessage(d);
  return true;
}

bool SimSmtpServer::TakeChunk(Dialogue& d) {
  const auto bytes = static_cast<size_t>(std::min<uint64_t>(d.chunk_left, d.input.size()));
  d.content.append(d.input, 0, bytes);
  d.input.erase(0, bytes);
  d.chunk_left -= bytes;
  if (d.chunk_left > 0) {
    if (random_.Chance(chances_.early)) {
      Leave(d, Cat("552 5.3.4 too much [END ", Number(d), "]\r\n"));
    }
    return false;
  }
  if (!d.input.empty()) ledger_.Problem("server: bytes behind the chunk before its reply");
  if (!d.chunk_last) {
    FirstByte(d);
  } else {
    EndOfMessage(d);
  }
  return true;
}

// By this chunk Bivalve finds out whether the server knows BDAT at all; some that list CHUNKING do not.
void SimSmtpServer::FirstByte(Dialogue& d) {
  if (d.content.size() != 1) ledger_.Problem("server: a chunk of more than a byte that is not the last");
  d.phase = Phase::kCommand;
  const std::string token = Cat("[END ", Number(d), "]");
  if (Misfortune(d)) return;
  if (random_.Chance(chances_.refuse / 2)) {
    Reply(d, 502, Cat("5.5.1 what ", token));
    d.knows_no_bdat = d.spoiled = true;
  } else if (Refuse(d, token)) {
    d.in_chunks = false;
  } else {
    Reply(d, 250, "2.0.0 a byte");
  }
}

void SimSmtpServer::EndOfMessage(Dialogue& d) {
  // After a refused chunk the state of the transaction is unclear (RFC 3030 section 2): it may stay open
  // until RSET.
  const bool stays_open = d.phase == Phase::kChunk && random_.Chance(0.5);
  const bool by_data = d.phase != Phase::kChunk;
  d.phase = Phase::kCommand;
  const Message* message = ledger_.Find(d.from);
  if (message == nullptr) {
    ledger_.Problem("server: a message from '", d.from, "', who sends none");
  } else {
    CheckContent(*message, d.content, by_data);
  }
  const std::string token = Cat("[END ", Number(d), "]");
  if (Misfortune(d)) return;
  if (Refuse(d, token)) {
    if (!stays_open) Forget(d);
    return;
  }
  Accept(d);
  Forget(d);
  Reply(d, 250, Cat("2.0.0 taken ", token));
}

void SimSmtpServer::Accept(Dialogue& d) {
  Message* message = ledger_.Find(d.from);
  if (message == nullptr || ledger_.mutation == Mutation::kServerForgets) return;
  message->accepted += ledger_.mutation == Mutation::kServerTakesTwice ? 2 : 1;
  for (const std::string& to : d.to) {
    if (ledger_.Find(to) != message)
      ledger_.Problem("server: message ", message->number, " has the recipient ", to);
  }
}

// The content must be exactly what the client sent, with exactly one header, the right one.
void SimSmtpServer::CheckContent(const Message& message, std::string_view content, bool by_data) {
  if (ledger_.mutation == Mutation::kServerLosesAByte)
    content.remove_suffix(std::min<size_t>(content.size(), 1));
  if (!message.whole)
    ledger_.Problem("server: message ", message.number, " came before the client had sent all of it");
  if (message.smuggles && !message.by_bdat && ledger_.bare_newline != appliance::BareNewline::kPass) {
    ledger_.Problem("server: message ", message.number, ", which could be read as two, was passed on");
  }
  const std::string sent = by_data ? WithCrBeforeDots(message.content) : message.content;
  if (content == WithHeader(sent, kUsualHeader)) {
    if (message.infected)
      ledger_.Problem("server: infected message ", message.number, " came as a clean one");
    if (!message.read || !message.unread.empty())
      ledger_.Problem("server: message ", message.number, " came without a verdict on ",
                      message.unread.size(), " of its readings");
    return;
  }
  if (content == WithHeader(sent, Cat("X-Virus-Infected: ", kVirusName, "\r\n"))) {
    if (!message.infected || ledger_.action != appliance::VirusPolicy::kPass) {
      ledger_.Problem("server: message ", message.number, " came as an infected one");
    }
    return;
  }
  constexpr std::array<std::string_view, appliance::kFailureCauses> kCauses = {"down", "timeout", "error",
                                                                               "size", "limits"};
  for (size_t i = 0; i < kCauses.size(); ++i) {
    if (content != WithHeader(sent, Cat("X-Virus-Scanned: not scanned (", kCauses[i], ")\r\n"))) continue;
    if (ledger_.scan_failure[i] != appliance::FailurePolicy::kPass) {
      ledger_.Problem("server: message ", message.number, " came unscanned: ", kCauses[i]);
    }
    return;
  }
  ledger_.Problem("server: message ", message.number, " of ", message.content.size(),
                  " bytes came changed, with ", content.size(), " bytes");
}

// The server must not have a part of an infected message either.
void SimSmtpServer::CheckUnfinished(const Dialogue& d) {
  if (d.phase != Phase::kData && d.phase != Phase::kChunk) return;
  if (ledger_.action == appliance::VirusPolicy::kPass || ledger_.PassesUnscanned()) return;
  if (d.content.find(kVirusMark) != std::string::npos || d.input.find(kVirusMark) != std::string::npos) {
    ledger_.Problem("server: a part of an infected message came from ", d.from);
  }
}

void SimSmtpServer::Forget(Dialogue& d) {
  d.mail = false;
  d.from.clear();
  d.to.clear();
  d.content.clear();
  d.in_chunks = false;
}

std::string SimSmtpServer::Number(const Dialogue& d) const {
  return d.from.empty() ? "?" : d.from.substr(0, d.from.find('@'));
}

bool SimSmtpServer::Misfortune(Dialogue& d, bool data) {
  const bool struck = Strike(d, data);
  d.spoiled = d.spoiled || struck;
  return struck;
}

bool SimSmtpServer::Strike(Dialogue& d, bool data) {
  if (random_.Chance(chances_.vanish)) {
    if (random_.Chance(0.5)) d.socket->Reset();
    Leave(d, "");
    return true;
  }
  if (random_.Chance(chances_.goodbye)) {
    Leave(d, "421 4.3.2 sim.example goes away\r\n");
    return true;
  }
  if (random_.Chance(chances_.silent)) {
    d.reply_due = true;  // for ever
    return true;
  }
  if (random_.Chance(chances_.nonsense)) {
    constexpr std::array<std::string_view, 6> kNonsense = {
        "what is this?\r\n", "250",  "250-no end\r\nanother\r\n",
        "999 too much\r\n",  "\r\n", "354 send what?\r\n"};
    // After DATA the last one would not be nonsense.
    Say(d, std::string(kNonsense[random_.Below(kNonsense.size() - (data ? 1 : 0))]));
    return true;
  }
  return false;
}

bool SimSmtpServer::Refuse(Dialogue& d, std::string_view token) {
  if (!random_.Chance(chances_.refuse)) return false;
  const bool later = random_.Chance(0.5);
  Reply(d, later ? 450 : 550, Cat(later ? "4.2.0" : "5.2.0", " refused ", token));
  return true;
}

// By chance in several lines.
void SimSmtpServer::Reply(Dialogue& d, uint16_t code, std::string_view text) {
  std::string reply;
  while (random_.Chance(0.1)) core::Append(reply, code, "-", text, "\r\n");
  core::Append(reply, code, " ", text, "\r\n");
  Say(d, std::move(reply));
  if (random_.Chance(chances_.idle)) LeaveLater(d);
}

void SimSmtpServer::Say(Dialogue& d, std::string text) {
  if (!late_ || !random_.Chance(chances_.late)) {
    d.socket->Send(text);
    return;
  }
  d.reply_due = true;
  const auto delay = std::chrono::milliseconds(1 + random_.Below(200));
  d.socket->io().After(delay, [this, &d, text = std::move(text)] {
    d.reply_due = false;
    d.socket->Send(text);
    Process(d);
  });
}

// Closes while nothing is asked, like servers that have waited for too long.
void SimSmtpServer::LeaveLater(Dialogue& d) {
  d.socket->io().After(std::chrono::milliseconds(random_.Below(400)), [this, &d] {
    if (d.phase != Phase::kCommand || d.reply_due || !d.input.empty()) return;
    Leave(d, random_.Chance(0.7) ? "421 4.4.2 sim.example has waited for too long\r\n" : "");
  });
}

void SimSmtpServer::Leave(Dialogue& d, std::string_view last_words) {
  CheckUnfinished(d);
  d.socket->Send(last_words);
  d.phase = Phase::kOver;
  d.socket->Close();
}

}  // namespace bivalve::sim
