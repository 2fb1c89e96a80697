#include "scan/clamd_protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace bivalve::scan {
namespace {

using namespace std::string_view_literals;

TEST(Commands, AreAsClamdWantsThem) {
  EXPECT_EQ(kOpenSession, "zIDSESSION\0zPING\0"sv);
  EXPECT_EQ(kPing, "zPING\0"sv);
  EXPECT_EQ(kFildes, "zFILDES\0\0"sv);
  EXPECT_EQ(kInstream, "zINSTREAM\0"sv);
}

TEST(MakeChunkHeader, IsBigEndian) {
  const auto bytes = [](uint32_t n) {
    const ChunkHeader header = MakeChunkHeader(n);
    return std::string(header.begin(), header.end());
  };
  EXPECT_EQ(bytes(0), "\0\0\0\0"sv);
  EXPECT_EQ(bytes(64), "\0\0\0\x40"sv);
  EXPECT_EQ(bytes(0x01020384), "\x01\x02\x03\x84"sv);
  EXPECT_EQ(bytes(0xffffffff), "\xff\xff\xff\xff"sv);
}

std::vector<std::string> Split(std::string_view input) {
  std::vector<std::string> records;
  for (;;) {
    const Record record = NextRecord(input);
    if (record.state != RecordState::kWhole) return records;
    records.emplace_back(record.text);
    input.remove_prefix(record.bytes);
  }
}

TEST(NextRecord, SplitsAtNulAndAtLineFeed) {
  EXPECT_THAT(Split("1: PONG\0"sv), testing::ElementsAre("1: PONG"));
  // As clamd writes it: the read time-out without a number and with LF, attached to a result.
  EXPECT_THAT(Split("COMMAND READ TIMED OUT\n2: fd[10]: OK\0003: fd"sv),
              testing::ElementsAre("COMMAND READ TIMED OUT", "2: fd[10]: OK"));
  EXPECT_THAT(Split("\0\n"sv), testing::ElementsAre("", ""));
}

TEST(NextRecord, WaitsForTheEndWhateverTheCut) {
  constexpr std::string_view kInput = "17: fd[12]: Eicar-Test-Signature FOUND\0"sv;
  for (size_t cut = 0; cut < kInput.size(); ++cut) {
    EXPECT_EQ(NextRecord(kInput.substr(0, cut)).state, RecordState::kIncomplete) << cut;
  }
  EXPECT_EQ(NextRecord(kInput).state, RecordState::kWhole);
}

TEST(NextRecord, IsBounded) {
  std::string input(kRecordBytesMax, 'x');
  EXPECT_EQ(NextRecord(input).state, RecordState::kIncomplete);
  EXPECT_EQ(NextRecord(input + '\n').state, RecordState::kWhole);
  input += 'x';
  EXPECT_EQ(NextRecord(input).state, RecordState::kTooLong);
  EXPECT_EQ(NextRecord(input + '\n').state, RecordState::kTooLong);
}

struct Case {
  std::string_view record;
  ReplyKind kind;
  ReplyShape shape = ReplyShape::kNone;
  uint32_t id = 0;
  std::string_view text = {};
};

TEST(ParseReply, KnowsWhatClamdWrites) {
  const Case cases[] = {
      {"1: PONG", ReplyKind::kPong, ReplyShape::kNone, 1},
      {"PONG", ReplyKind::kPong},
      {"2: fd[10]: OK", ReplyKind::kOk, ReplyShape::kDescriptor, 2},
      {"4294967295: stream: OK", ReplyKind::kOk, ReplyShape::kStream, 4294967295u},
      {"fd[0]: OK", ReplyKind::kOk, ReplyShape::kDescriptor},
      {"3: fd[16]: Eicar-Test-Signature FOUND", ReplyKind::kFound, ReplyShape::kDescriptor, 3,
       "Eicar-Test-Signature"},
      {"3: stream: Win.Test, v1 (x) FOUND", ReplyKind::kFound, ReplyShape::kStream, 3, "Win.Test, v1 (x)"},
      // Seen in practice, with a signature of that name.
      {"5: fd[1]: My Vir\xc3\xbcs, v1 FOUND OK.UNOFFICIAL FOUND", ReplyKind::kFound, ReplyShape::kDescriptor,
       5, "My Vir\xc3\xbcs, v1 FOUND OK.UNOFFICIAL"},
      {"5: fd[1]: stream: OK FOUND", ReplyKind::kFound, ReplyShape::kDescriptor, 5, "stream: OK"},
      {"6: fd[1]: Can't allocate memory ERROR", ReplyKind::kError, ReplyShape::kDescriptor, 6,
       "Can't allocate memory"},
      {"6: stream: Error writing to temporary file ERROR", ReplyKind::kError, ReplyShape::kStream, 6,
       "Error writing to temporary file"},
      {"6: Command invalid inside IDSESSION. ERROR", ReplyKind::kRefused, ReplyShape::kNone, 6,
       "Command invalid inside IDSESSION."},
      {"6: FILDES support not compiled in. ERROR", ReplyKind::kRefused, ReplyShape::kNone, 6,
       "FILDES support not compiled in."},
      {"UNKNOWN COMMAND", ReplyKind::kRefused, ReplyShape::kNone, 0, "UNKNOWN COMMAND"},
      {"7: COMMAND UNAVAILABLE", ReplyKind::kRefused, ReplyShape::kNone, 7, "COMMAND UNAVAILABLE"},
      {"8: INSTREAM size limit exceeded. ERROR", ReplyKind::kSizeLimit, ReplyShape::kNone, 8,
       "INSTREAM size limit exceeded."},
      {"9: No file descriptor received. ERROR", ReplyKind::kRefused, ReplyShape::kNone, 9,
       "No file descriptor received."},
      {"FILDES: didn't receive file descriptor. ERROR", ReplyKind::kRefused, ReplyShape::kNone, 0,
       "FILDES: didn't receive file descriptor."},
      {"9: fd[10]: Not a regular file ERROR", ReplyKind::kRefused, ReplyShape::kDescriptor, 9,
       "Not a regular file"},
      {"9: fd[10]: Can't access file ERROR", ReplyKind::kRefused, ReplyShape::kDescriptor, 9,
       "Can't access file"},
      {"COMMAND READ TIMED OUT", ReplyKind::kReadTimeOut},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.record);
    const Reply reply = ParseReply(c.record);
    EXPECT_EQ(reply.kind, c.kind);
    EXPECT_EQ(reply.shape, c.shape);
    EXPECT_EQ(reply.id, c.id);
    EXPECT_EQ(reply.text, c.text);
  }
}

// Clean is only exactly "OK" behind the right words; anything unknown is no result.
TEST(ParseReply, BelievesNothingElse) {
  for (std::string_view record : {
           "",
           " ",
           "OK",
           "1: OK",
           "fd[1]:OK",
           "fd[1]: ok",
           "fd[1]: OK ",
           "fd[1]:  OK",
           "fd[1]: OK\r",
           "fd[1]: NOT OK",
           "fd[]: OK",
           "fd[-1]: OK",
           "fd[1: OK",
           "fd[1]: ",
           "fd[1]",
           "fd[1]:  FOUND FOUN",
           "fd[1]: FOUND",
           "fd[1]: ERROR",
           " ERROR",
           "Eicar FOUND",
           "1: Eicar FOUND",
           "stream: ",
           "stream:OK",
           "Stream: OK",
           "stream: stream: OK",
           "1: 2: stream: OK",
           "0: stream: OK",
           "01: stream: OK",
           "+1: stream: OK",
           "4294967296: stream: OK",
           "99999999999: stream: OK",
           "1:stream: OK",
           "1 stream: OK",
           "1 : stream: OK",
           "PONG ",
           "PONGPONG",
           "1: PONG PONG",
           "/tmp/x: OK",
           "fd[1]: OK FOUN",
       }) {
    EXPECT_EQ(ParseReply(record).kind, ReplyKind::kNonsense) << '"' << record << '"';
  }
}

TEST(ParseReply, CutsLongNames) {
  const std::string name(3000, 'n');
  const std::string record = "1: fd[1]: " + name + " FOUND";
  const Reply reply = ParseReply(record);
  EXPECT_EQ(reply.kind, ReplyKind::kFound);
  EXPECT_EQ(reply.text, name.substr(0, kTextBytesMax));
}

TEST(ToVerdict, SaysWhatAReplyMeans) {
  Verdict verdict = ToVerdict(ParseReply("1: fd[1]: OK"));
  EXPECT_EQ(verdict.kind, VerdictKind::kClean);

  verdict = ToVerdict(ParseReply("1: fd[1]: Some.Name FOUND"));
  EXPECT_EQ(verdict.kind, VerdictKind::kInfected);
  EXPECT_EQ(verdict.text, "Some.Name");

  verdict = ToVerdict(ParseReply("1: stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND"));
  EXPECT_EQ(verdict.kind, VerdictKind::kNone);
  EXPECT_EQ(verdict.cause, NoVerdict::kLimits);
  EXPECT_EQ(verdict.text, "Heuristics.Limits.Exceeded.MaxFileSize");

  verdict = ToVerdict(ParseReply("1: fd[1]: Heuristics.Limits.Exceeded.MaxScanTime FOUND"));
  EXPECT_EQ(verdict.kind, VerdictKind::kNone);
  EXPECT_EQ(verdict.cause, NoVerdict::kTimeout) << "it may pass next time";

  verdict = ToVerdict(ParseReply("1: stream: Heuristics.Encrypted.Zip FOUND"));
  EXPECT_EQ(verdict.kind, VerdictKind::kInfected);

  verdict = ToVerdict(ParseReply("1: fd[1]: Exceeded time limit ERROR"));
  EXPECT_EQ(verdict.kind, VerdictKind::kNone);
  EXPECT_EQ(verdict.cause, NoVerdict::kError);
  EXPECT_EQ(verdict.text, "Exceeded time limit");

  verdict = ToVerdict(ParseReply("1: INSTREAM size limit exceeded. ERROR"));
  EXPECT_EQ(verdict.kind, VerdictKind::kNone);
  EXPECT_EQ(verdict.cause, NoVerdict::kSize);
}

}  // namespace
}  // namespace bivalve::scan
