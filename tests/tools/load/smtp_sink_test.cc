// smtp_sink's dialogue and records, with a client that behaves badly.
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/fd.h"
#include "core/text.h"
#include "gtest/gtest.h"
#include "tests/tools/load/smtp_programs.h"

namespace bivalve::tools {
namespace {

using core::Cat;
using std::string_view_literals::operator""sv;

// A client that sends exactly the bytes of a test, in as many pieces as the test wants.
class RawClient {
 public:
  explicit RawClient(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval timeout = {.tv_sec = 30, .tv_usec = 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(Reply(), "220");
  }
  void Send(std::string_view bytes) {
    EXPECT_EQ(send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  // The code of the next reply; empty at the end of the connection.
  std::string Reply() {
    for (;;) {
      const std::string line = Line();
      if (line.size() < 4) return line;
      last_ = line;
      if (line[3] == ' ') return line.substr(0, 3);
    }
  }
  std::string Ask(std::string_view command) {
    Send(Cat(command, "\r\n"));
    return Reply();
  }
  const std::string& last_line() const { return last_; }
  bool AtEnd() { return Line().empty(); }

 private:
  std::string Line() {
    size_t end;
    while ((end = input_.find("\r\n")) == std::string::npos) {
      std::array<char, 4096> buffer;
      const ssize_t bytes = recv(fd_.get(), buffer.data(), buffer.size(), 0);
      if (bytes <= 0) return {};
      input_.append(buffer.data(), static_cast<size_t>(bytes));
    }
    std::string line = input_.substr(0, end);
    input_.erase(0, end + 2);
    return line;
  }

  core::UniqueFd fd_;
  std::string input_;
  std::string last_;
};

TEST(SmtpSink, RecordsContentWithoutStuffing) {
  const TestDirectory directory;
  Sink sink({"--record", directory.path(), "--xclient"});
  const std::string content("Subject: x\r\n\r\n.\r.\ntwo\r\n\0nul\r\nbare\rcr and\nlf\r\n.last\r\n"sv);
  std::string wire;
  for (size_t i = 0; i < content.size(); ++i) {
    if (content[i] == '.' && (i >= 2 && content.substr(i - 2, 2) == "\r\n")) wire.push_back('.');
    wire.push_back(content[i]);
  }
  wire.append(".\r\n");
  RawClient client(sink.port());
  EXPECT_EQ(client.Ask("EHLO raw.example"), "250");
  EXPECT_EQ(client.Ask("XFORWARD NAME=spike.example ADDR=192.0.2.7"), "250");
  // Every cut into two pieces, and one byte at a time.
  for (size_t cut = 0; cut <= wire.size(); ++cut) {
    EXPECT_EQ(client.Ask("MAIL FROM:<a@example.com> BODY=8BITMIME"), "250");
    EXPECT_EQ(client.Ask("RCPT TO:<b@example.net>"), "250");
    EXPECT_EQ(client.Ask("DATA"), "354");
    if (cut == wire.size()) {
      for (const char byte : wire) client.Send({&byte, 1});
    } else {
      client.Send(std::string_view(wire).substr(0, cut));
      client.Send(std::string_view(wire).substr(cut));
    }
    EXPECT_EQ(client.Reply(), "250");
  }
  EXPECT_EQ(client.Ask("QUIT"), "221");
  EXPECT_TRUE(client.AtEnd());
  EXPECT_EQ(sink.Totals()["messages"], wire.size() + 1);
  const std::vector<Recorded> records = ReadRecords(directory.path());
  ASSERT_EQ(records.size(), wire.size() + 1);
  for (const Recorded& record : records) {
    EXPECT_EQ(record.content, content);
    EXPECT_NE(
        record.envelope.find("X-Client-Proto: ESMTP\nX-Helo-Args: raw.example\n"
                             "X-Xforward-Args: NAME=spike.example ADDR=192.0.2.7\n"
                             "X-Mail-Args: <a@example.com> BODY=8BITMIME\nX-Rcpt-Args: <b@example.net>\n"),
        std::string::npos)
        << record.envelope;
  }
}

TEST(SmtpSink, RecordsChunksAsTheyAre) {
  const TestDirectory directory;
  Sink sink({"--record", directory.path(), "--chunking"});
  RawClient client(sink.port());
  EXPECT_EQ(client.Ask("EHLO raw.example"), "250");
  EXPECT_EQ(client.Ask("MAIL FROM:<> BODY=BINARYMIME"), "250");
  EXPECT_EQ(client.Ask("RCPT TO:<b@example.net>"), "250");
  EXPECT_EQ(client.Ask("DATA"), "503");
  client.Send("BDAT 7\r\n.\r\n..\0\rBDAT 0\r\nBDAT 5\r\nQUIT\nBDAT 3 LAST\r\nend"sv);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(client.Reply(), "250");
  EXPECT_EQ(client.Ask("MAIL FROM:<a@example.com>"), "250");  // the transaction is over
  EXPECT_EQ(sink.Totals()["messages"], 1);
  const std::vector<Recorded> records = ReadRecords(directory.path());
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].content, ".\r\n..\0\rQUIT\nend"sv);
}

TEST(SmtpSink, AnswersCommandsInTheWrongPlaceWith503) {
  Sink sink({"--chunking"});
  RawClient client(sink.port());
  const std::pair<std::string_view, std::string_view> dialogue[] = {
      {"MAIL FROM:<a@example.com>", "503"},
      {"RCPT TO:<b@example.net>", "503"},
      {"DATA", "503"},
      {"NOOP", "250"},
      {"VRFY b@example.net", "252"},
      {"EHLO", "501"},
      {"HELO raw.example", "250"},
      {"ehlo raw.example", "250"},
      {"RCPT TO:<b@example.net>", "503"},
      {"BDAT 4 LAST\r\nQUIT", "503"},
      {"MAIL a@example.com", "501"},
      {"MAIL FROM:<a@example.com> SIZE=x", "501"},
      {"mail from:<a@example.com>", "250"},
      {"MAIL FROM:<a@example.com>", "503"},
      {"DATA", "503"},
      {"RCPT TO:<>", "501"},
      {"RCPT FROM:<b@example.net>", "501"},
      {"RCPT TO:<b@example.net>", "250"},
      {"DATA now", "501"},
      {"BDAT 2\r\nxx", "250"},
      {"RCPT TO:<b@example.net>", "503"},
      {"DATA", "503"},
      {"RSET", "250"},
      {"DATA", "503"},
      {"XCLIENT NAME=x", "502"},
      {"STARTTLS", "502"},
      {"WHATEVER", "500"},
      {"HELP", "214"},
      {"QUIT", "221"},
  };
  for (const auto& [command, code] : dialogue) {
    // The chunk is not a line: only its bytes follow the command.
    if (command.find("\r\n") != std::string_view::npos) {
      client.Send(command);
      EXPECT_EQ(client.Reply(), code) << command;
    } else {
      EXPECT_EQ(client.Ask(command), code) << command;
    }
  }
  EXPECT_TRUE(client.AtEnd());
  const Json totals = sink.Totals();
  EXPECT_EQ(totals["messages"], 0);
  EXPECT_EQ(totals["lost"], 0);
}

TEST(SmtpSink, AnswersAPipelinedGroupInOrder) {
  Sink sink;
  RawClient client(sink.port());
  client.Send(
      "EHLO raw.example\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\nSubject: "
      "x\r\n\r\nbody\r\n.\r\n"
      "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nRCPT TO:<>\r\nDATA\r\n.\r\nNOOP\r\nQUIT\r\n");
  for (const char* code :
       {"250", "250", "250", "354", "250", "250", "250", "501", "354", "250", "250", "221"}) {
    EXPECT_EQ(client.Reply(), code);
  }
  EXPECT_TRUE(client.AtEnd());
  const Json totals = sink.Totals();
  EXPECT_EQ(totals["messages"], 2);
  EXPECT_EQ(totals["bytes"], 20);
}

TEST(SmtpSink, RefusesWhatIsLargerThanItsSize) {
  Sink sink({"--size", "1k", "--chunking"});
  RawClient client(sink.port());
  EXPECT_EQ(client.Ask("EHLO raw.example"), "250");
  EXPECT_EQ(client.Ask("MAIL FROM:<a@example.com> SIZE=1025"), "552");
  EXPECT_EQ(client.Ask("MAIL FROM:<a@example.com> SIZE=1024"), "250");
  EXPECT_EQ(client.Ask("RCPT TO:<b@example.net>"), "250");
  EXPECT_EQ(client.Ask("DATA"), "354");
  EXPECT_EQ(client.Ask(std::string(1023, 'x') + "\r\n."), "552");
  EXPECT_EQ(client.Ask("MAIL FROM:<a@example.com>"), "250");
  EXPECT_EQ(client.Ask("RCPT TO:<b@example.net>"), "250");
  client.Send("BDAT 2000\r\n" + std::string(2000, 'x'));
  EXPECT_EQ(client.Reply(), "552");
  client.Send("BDAT 2 LAST\r\nxx");
  EXPECT_EQ(client.Reply(), "503");
  EXPECT_EQ(sink.Totals()["rejected"], 2);
}

TEST(SmtpSink, OffersWhatItWasTold) {
  Sink plain({"--no-pipelining"});
  // A client with this option must still not pipeline to a server that does not offer it.
  const SourceRun run = RunSource({"--pipelining", "--messages", "5"}, plain.address());
  EXPECT_EQ(run.status, 1);
  EXPECT_EQ(run.json["accepted"], 0);
  EXPECT_EQ(RunSource({"--bdat"}, plain.address()).status, 1);
  EXPECT_EQ(RunSource({}, plain.address()).status, 0);

  Sink full({"--xclient", "--hostname", "mx.example", "--size", "5000"});
  RawClient client(full.port());
  EXPECT_EQ(client.Ask("EHLO raw.example"), "250");
  EXPECT_EQ(client.Ask("XCLIENT ADDR=192.0.2.7"), "220");
  EXPECT_EQ(client.last_line(), "220 mx.example ESMTP");
  EXPECT_EQ(client.Ask("MAIL FROM:<a@example.com>"), "503");
}

TEST(SmtpSink, EndsWhileConnectionsAreOpen) {
  Sink sink;
  RawClient idle(sink.port());
  RawClient in_data(sink.port());
  EXPECT_EQ(in_data.Ask("EHLO raw.example"), "250");
  EXPECT_EQ(in_data.Ask("MAIL FROM:<a@example.com>"), "250");
  EXPECT_EQ(in_data.Ask("RCPT TO:<b@example.net>"), "250");
  EXPECT_EQ(in_data.Ask("DATA"), "354");
  const Json totals = sink.Totals();
  EXPECT_EQ(totals["connections"], 2);
  EXPECT_EQ(totals["messages"], 0);
}

}  // namespace
}  // namespace bivalve::tools
