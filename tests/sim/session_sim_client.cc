#include "tests/sim/session_sim_client.h"

#include <algorithm>
#include <utility>

namespace bivalve::sim {
namespace {

using core::Cat;

// Far more than transmission takes in SimIo.
constexpr std::chrono::seconds kStopTimeMax{2};

// RFC 5321 section 4.5.2, byte by byte.
std::string Stuffed(std::string_view content) {
  std::string wire;
  for (size_t i = 0; i < content.size(); ++i) {
    const bool at_line_start = i == 0 || (i >= 2 && content[i - 1] == '\n' && content[i - 2] == '\r');
    if (at_line_start && content[i] == '.') wire += '.';
    wire += content[i];
  }
  return wire;
}

}  // namespace

SimClient::SimClient(uint64_t seed, ClientChances chances, Ledger& ledger, uint64_t size_limit)
    : random_(seed),
      chances_(chances),
      ledger_(ledger),
      size_limit_(size_limit),
      blind_(random_.Chance(chances.blind)),
      pipelines_(blind_ || random_.Chance(0.6)),
      eager_(blind_ || (pipelines_ && random_.Chance(0.5))) {}

void SimClient::OnConnect(SimSocket& socket) {
  socket_ = &socket;
  awaited_.push_back({.kind = Kind::kGreeting, .token = {}});
  if (blind_) Advance();
}

void SimClient::OnClose(SimSocket&) {
  reads_ = false;
  gone_ = gone_ || step_ != Step::kDone || !awaited_.empty();
}

// --- What the client says

void SimClient::Advance() {
  while (!gone_ && !goodbye_ && !pausing_ && step_ != Step::kDone && MayGoOn()) {
    switch (step_) {
      case Step::kHello:
        Hello();
        break;
      case Step::kBetween:
        Between();
        break;
      case Step::kMail:
        Mail();
        break;
      case Step::kRecipients:
        Recipient();
        break;
      case Step::kData:
        Data();
        break;
      case Step::kContent:
        Content();
        break;
      case Step::kChunks:
        Chunk();
        break;
      case Step::kResponse:
        Command(Kind::kAuth, "dXNlcm5hbWU=", "");
        break;
      case Step::kDone:
        break;
    }
  }
  Flush();
}

// Whether the next step may begin before the replies to earlier steps.
bool SimClient::MayGoOn() const {
  if (awaited_.empty() || blind_) return true;
  if (!extended_ || !pipelines_) return false;
  switch (awaited_.back().kind) {
    case Kind::kMail:
    case Kind::kRecipient:
    case Kind::kReset:
      return true;
    case Kind::kContent:
    case Kind::kChunk:
    case Kind::kLastChunk:
      return eager_;
    default:
      return false;
  }
}

void SimClient::Hello() {
  step_ = Step::kBetween;
  const bool extended = extended_ || blind_ || random_.Chance(0.9);
  Command(Kind::kHello, extended ? "EHLO client.example" : "HELO client.example", extended ? "EHLO" : "HELO");
}

void SimClient::Between() {
  const bool may_pause = chances_.pause > 0 && awaited_.empty() && unit_.empty() && !needs_reset_;
  if (may_pause && random_.Chance(chances_.pause)) return Pause();
  if (!blind_ && random_.Chance(chances_.oddity)) return Oddity();
  if (needs_reset_) {
    needs_reset_ = false;
    // In lower case, so that replies to Bivalve's own RSET differ from those to the client's.
    return Command(Kind::kReset, "rset", "rset");
  }
  if (to_send_.empty()) {
    step_ = Step::kDone;
    return Command(Kind::kQuit, "QUIT", "QUIT");
  }
  message_ = to_send_.front();
  to_send_.pop_front();
  step_ = Step::kMail;
}

// A client without an open transaction is not served any more when the service stops.
void SimClient::Pause() {
  pausing_ = true;
  socket_->io().After(std::chrono::milliseconds(random_.Below(25'000)), [this] {
    pausing_ = false;
    const bool served = !gone_ && !goodbye_;
    if (served && ledger_.stopped_at < socket_->io().Now() - kStopTimeMax)
      ledger_.Problem("client: still served though it was idle when the service stopped");
    Advance();
  });
}

// None of these commands leaves a transaction open.
void SimClient::Oddity() {
  const std::string number = Cat(++counter_);
  switch (random_.Below(14)) {
    case 0:
      return Command(Kind::kPassed, Cat("NOOP ", number), Cat("NOOP ", number));
    case 1:
      return Command(Kind::kPassed, Cat("VRFY ", number), Cat("VRFY ", number));
    case 2:
      return Command(Kind::kPassed, Cat("WHAT ", number), Cat("WHAT ", number));
    case 3:
      return Command(Kind::kReset, "rset", "rset");
    case 4:
      return Command(Kind::kOwn, "STARTTLS", "", 502);
    case 5:
      return Command(Kind::kOwn, "XCLIENT NAME=spoofed", "", 554);
    case 6:
      return Command(Kind::kOwn, std::string(12288 + random_.Below(9000), 'A'), "", 500);
    case 7:
      return Command(Kind::kOwn, std::string_view("NOOP\0hidden", 11), "", 500);
    case 8:
      return Command(Kind::kOwn, "AUTH GSSAPI", "", 502);
    case 9:
      if (size_limit_ == 0) return;
      return Command(Kind::kOwn, "MAIL FROM:<m0@sim.example> SIZE=9999999999", "", 552);
    case 10:
      if (needs_reset_) return;
      return Command(Kind::kPassed, "DATA", "DATA ?");
    case 11:
      if (needs_reset_ || !chunking_) return;
      unit_ += "BDAT 7 LAST\r\n";
      unit_ += random_.Chance(0.5) ? "RSET\r\n\r" : "1234567";
      awaited_.push_back({.kind = Kind::kOwn, .token = {}, .own_code = 503});
      return;
    case 12:
      if (!awaited_.empty()) return;
      return Command(Kind::kAuth, "AUTH LOGIN", "");
    default:
      if (extended_) step_ = Step::kHello;
      return;
  }
}

void SimClient::Mail() {
  mail_accepted_ = false;
  recipients_accepted_ = 0;
  recipients_left_ = 1 + static_cast<uint32_t>(random_.Below(3));
  message_->by_bdat = chunking_ && (random_.Chance(0.5) || !message_->content.ends_with("\r\n"));
  if (!message_->by_bdat && !message_->content.empty() && !message_->content.ends_with("\r\n")) {
    message_->content += "\r\n";
  }
  const std::string path = Cat("m", message_->number, "@sim.example");
  std::string line = Cat("MAIL FROM:<", path, ">");
  if (extended_ && random_.Chance(0.2)) line += " BODY=8BITMIME";
  const bool too_large = size_limit_ != 0 && message_->content.size() > size_limit_;
  if (extended_ && size_limit_ != 0 && !too_large && random_.Chance(0.3)) {
    // Servers also accept it without a blank.
    core::Append(line,
                 line.ends_with('>') && random_.Chance(0.1) ? "SIZE=" : " SIZE=", message_->content.size());
  }
  Command(Kind::kMail, line, Cat("MAIL ", path));
  needs_reset_ = true;
  step_ = Step::kRecipients;
}

void SimClient::Recipient() {
  const bool knows = awaited_.empty();
  if (knows && !mail_accepted_) {  // going on is useless
    step_ = Step::kBetween;
    return;
  }
  if (recipients_left_ == 0) {
    step_ = Step::kData;
    return;
  }
  const std::string path = Cat("m", message_->number, ".", recipients_left_--, "@sim.example");
  Command(Kind::kRecipient, Cat("RCPT TO:<", path, ">"), Cat("RCPT ", path));
}

void SimClient::Data() {
  const bool knows = awaited_.empty();
  const bool gives_up = !blind_ && random_.Chance(chances_.oddity / 4);
  if (gives_up) {  // for now
    to_send_.push_front(message_);
    step_ = Step::kBetween;
    return;
  }
  if (knows && recipients_accepted_ == 0 && random_.Chance(0.5)) {
    step_ = Step::kBetween;
    return;
  }
  if (message_->by_bdat) {
    chunk_offset_ = 0;
    chunks_accepted_ = 0;
    step_ = Step::kChunks;
    return;
  }
  step_ = Step::kContent;
  Command(Kind::kData, "DATA", Cat("DATA m", message_->number));
}

void SimClient::Content() {
  unit_ += Stuffed(message_->content);
  unit_ += ".\r\n";
  completes_ = message_;
  unanswered_.push_back(message_);
  awaited_.push_back({.kind = Kind::kContent, .token = Cat("END m", message_->number)});
  needs_reset_ = false;
  step_ = Step::kBetween;
  Flush();
}

void SimClient::Chunk() {
  if (awaited_.empty() && chunks_accepted_ > 0 && random_.Chance(chances_.oddity)) {
    if (random_.Chance(0.5)) return Command(Kind::kOwn, "DATA", "", 503);
    if (random_.Chance(0.5)) return Command(Kind::kPassed, "NOOP 0", "NOOP 0");
    to_send_.push_front(message_);
    step_ = Step::kBetween;  // and RSET
    return;
  }
  const size_t left = message_->content.size() - chunk_offset_;
  size_t bytes = left;
  if (left > 0 && random_.Chance(0.5)) bytes = static_cast<size_t>(random_.Below(left + 1));
  const bool last = bytes == left && random_.Chance(0.8);
  core::Append(unit_, "BDAT ", bytes, last ? " LAST" : "", "\r\n",
               std::string_view(message_->content).substr(chunk_offset_, bytes));
  chunk_offset_ += bytes;
  awaited_.push_back(
      {.kind = last ? Kind::kLastChunk : Kind::kChunk, .token = Cat("END m", message_->number)});
  if (!last) return;
  completes_ = message_;
  unanswered_.push_back(message_);
  step_ = Step::kBetween;
  Flush();
}

void SimClient::Command(Kind kind, std::string_view line, std::string token, uint16_t own_code) {
  unit_ += line;
  unit_ += "\r\n";
  awaited_.push_back({.kind = kind, .token = std::move(token), .own_code = own_code});
}

void SimClient::Flush() {
  if (unit_.empty() || gone_) return;
  if (random_.Chance(chances_.vanish)) return Vanish();
  socket_->Send(unit_);
  unit_.clear();
  if (completes_ != nullptr) std::exchange(completes_, nullptr)->whole = true;
  if (step_ == Step::kDone && (blind_ || random_.Chance(0.2))) socket_->EndSending();
}

void SimClient::Vanish() {
  const auto cut = static_cast<size_t>(random_.Below(unit_.size() + 1));
  socket_->Send(std::string_view(unit_).substr(0, cut));
  if (cut == unit_.size() && completes_ != nullptr) completes_->whole = true;
  gone_ = true;
  switch (random_.Below(4)) {
    case 0:
      reads_ = false;
      return socket_->Close();
    case 1:
      reads_ = false;
      return socket_->Reset();
    case 2:
      return socket_->EndSending();
    default:
      if (random_.Chance(0.5)) socket_->StopReading();
      return;
  }
}

// --- What the client hears

void SimClient::OnBytes(SimSocket&, std::string_view bytes) {
  if (!reads_) return;
  input_ += bytes;
  for (size_t end = input_.find("\r\n"); end != std::string::npos; end = input_.find("\r\n")) {
    const std::string line = input_.substr(0, end + 2);
    input_.erase(0, end + 2);
    const bool digits = line.size() >= 6 && line[0] >= '2' && line[0] <= '5' && line[1] >= '0' &&
                        line[1] <= '9' && line[2] >= '0' && line[2] <= '9' &&
                        (line[3] == ' ' || line[3] == '-');
    if (!digits || line.find('\n') != line.size() - 1) {
      ledger_.Problem("client: no reply line: ", line);
      return;
    }
    const auto code = static_cast<uint16_t>((line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0'));
    if (reply_code_ != 0 && code != reply_code_)
      ledger_.Problem("client: the code changes within a reply: ", reply_, line);
    reply_code_ = code;
    reply_ += line;
    if (line[3] == '-') continue;
    reply_code_ = 0;
    const std::string text = std::exchange(reply_, {});
    OnReply(code, text);
  }
  if (!blind_) Advance();
}

void SimClient::OnReply(uint16_t code, std::string_view text) {
  if (goodbye_) return ledger_.Problem("client: a reply after the last one: ", text);
  if (code == 421) return OnGoodbye(text);
  if (awaited_.empty()) return ledger_.Problem("client: a reply to nothing: ", text);
  const Sent sent = std::move(awaited_.front());
  awaited_.pop_front();
  CheckToken(sent, text);
  if (code == 354 && sent.kind != Kind::kData)
    return ledger_.Problem("client: ", text, " for something that is not DATA");
  const bool positive = code >= 200 && code < 300;
  switch (sent.kind) {
    case Kind::kGreeting:
      if (code != 220) goodbye_ = true;
      return;
    case Kind::kHello:
      return OnHello(code, text);
    case Kind::kMail:
      mail_accepted_ = positive;
      in_transaction_ = in_transaction_ || positive;
      recipients_accepted_ = 0;
      return;
    case Kind::kRecipient:
      if (positive) ++recipients_accepted_;
      return;
    case Kind::kData:
      if (code == 354) {
        if (!mail_accepted_ || recipients_accepted_ == 0) {
          ledger_.Problem("client: 354 though the server has accepted no MAIL or no RCPT");
        }
        return;
      }
      in_transaction_ = false;
      if (positive) ledger_.Problem("client: ", text, " for DATA");
      if (!blind_) step_ = Step::kBetween;
      return;
    case Kind::kContent:
    case Kind::kLastChunk:
      return OnFinal(code, text);
    case Kind::kChunk:
      chunks_accepted_ += positive ? 1 : 0;
      if (positive && (!mail_accepted_ || recipients_accepted_ == 0))
        ledger_.Problem("client: 250 for a chunk of nothing");
      return;
    case Kind::kAuth:
      step_ = code == 334 ? Step::kResponse : Step::kBetween;
      return;
    case Kind::kOwn:
      if (code != sent.own_code) ledger_.Problem("client: ", text, " instead of ", sent.own_code);
      return;
    case Kind::kReset:
      in_transaction_ = false;
      return;
    case Kind::kPassed:
      return;
    case Kind::kQuit:
      quit_answered_ = true;
      goodbye_ = true;
      return;
  }
}

void SimClient::OnGoodbye(std::string_view text) {
  goodbye_ = true;
  awaited_.clear();
  if (text != "421 4.3.2 Service is shutting down\r\n") return;
  shut_down_ = true;
  if (ledger_.stopped_at == core::kNever) ledger_.Problem("client: ", text, " though nobody stops it");
  if (in_transaction_) ledger_.Problem("client: ", text, " within a transaction");
}

void SimClient::OnHello(uint16_t code, std::string_view text) {
  in_transaction_ = false;
  if (code != 250) {
    if (!extended_ && !blind_) Command(Kind::kHello, "HELO client.example", "HELO");
    return;
  }
  if (!text.starts_with("250-")) {  // HELO
    extended_ = chunking_ = false;
    return;
  }
  extended_ = true;
  chunking_ = text.find("CHUNKING\r\n") != std::string_view::npos;
  if (text.find("PIPELINING\r\n") == std::string_view::npos) ledger_.Problem("client: no PIPELINING: ", text);
  for (const std::string_view hidden : {"STARTTLS", "XCLIENT", "GSSAPI"}) {
    if (text.find(hidden) != std::string_view::npos) ledger_.Problem("client: ", hidden, " is shown");
  }
}

void SimClient::OnFinal(uint16_t code, std::string_view text) {
  in_transaction_ = false;
  Message* message = unanswered_.front();
  unanswered_.pop_front();
  message->answer = code;
  message->answer_text = text;
  // If the server itself has answered, it got the whole message: the client need not send RSET.
  const bool servers = text.find('[') != std::string_view::npos;
  if (message->by_bdat && servers && awaited_.empty() && step_ == Step::kBetween) {
    needs_reset_ = false;
  }
}

// The server's reply to one command must not arrive as the reply to another.
void SimClient::CheckToken(const Sent& sent, std::string_view text) {
  const size_t begin = text.find('[');
  if (begin == std::string_view::npos) return;
  const std::string_view token = text.substr(begin + 1, text.find(']', begin) - begin - 1);
  if (token == sent.token || token == "DATA ?" || token == "END ?") return;
  // DATA is sent to the server only when the message is there and clean, so its reply to DATA answers the
  // message.
  const bool final = sent.kind == Kind::kContent || sent.kind == Kind::kLastChunk;
  if (final && token == Cat("DATA ", std::string_view(sent.token).substr(4))) return;
  ledger_.Problem("client: the reply to '", sent.token, "' is ", text);
}

}  // namespace bivalve::sim
