// The pool against scanners under the test's control, over real sockets, with a real ring in the test's
// thread: the pool's words, the replies that it believes, and its queue.
#include "scan/clamd_pool.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "core/stream.h"
#include "tests/scan/fake_clamd.h"
#include "tests/scan/pool_fixture.h"

namespace bivalve::scan {
namespace {

using std::chrono::milliseconds;

using ClamdPoolTest = PoolFixture;

// --- What a scanner says.

TEST_F(ClamdPoolTest, PassesVerdictsOn) {
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  EXPECT_TRUE(pool_->up());
  Message& clean = Submit();
  Message& infected = Submit();
  Message& limits = Submit();
  Message& error = Submit();
  ASSERT_TRUE(Scans(fake, 4));
  EXPECT_EQ(Count(0, ScannerCount::kInFlight), 4u);
  fake.Reply(fake.scans[0], "fd[7]: OK");
  fake.Reply(fake.scans[1], "fd[7]: Test Name FOUND");
  fake.Reply(fake.scans[2], "fd[7]: Heuristics.Limits.Exceeded.MaxScanSize FOUND");
  fake.Reply(fake.scans[3], "fd[7]: Can't allocate memory ERROR");
  EXPECT_TRUE(Clean(clean));
  EXPECT_EQ(clean.request.scanner(), 0);
  ASSERT_TRUE(Done(infected));
  EXPECT_EQ(infected.request.verdict().kind, VerdictKind::kInfected);
  EXPECT_EQ(infected.request.verdict().text, "Test Name");
  EXPECT_TRUE(None(limits, NoVerdict::kLimits));
  EXPECT_TRUE(None(error, NoVerdict::kError));
  EXPECT_EQ(error.request.verdict().text, "Can't allocate memory");
  EXPECT_EQ(Count(0, ScannerCount::kScans), 4u);
  EXPECT_EQ(Count(0, ScannerCount::kErrors), 1u);
  EXPECT_EQ(Count(0, ScannerCount::kInFlight), 0u);
  EXPECT_EQ(Count(0, ScannerCount::kUp), 1u);
  EXPECT_EQ(stats_[0]->latency_us.Read().count, 4u);
}

TEST_F(ClamdPoolTest, MatchesRepliesByNumber) {
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  std::vector<Message*> messages;
  for (int i = 0; i < 4; ++i) messages.push_back(&Submit(core::Cat("message ", i)));
  ASSERT_TRUE(Scans(fake, 4));
  for (size_t i : {2u, 0u, 3u, 1u}) {
    const std::string content = ReadAll(fake.scans[i].descriptor.get());
    fake.Reply(fake.scans[i], core::Cat("fd[7]: ", content.substr(kFrontBytes), " FOUND"));
  }
  for (size_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(Done(*messages[i]));
    EXPECT_EQ(messages[i]->request.verdict().text, core::Cat("message ", i));
  }
}

TEST_F(ClamdPoolTest, TakesRepliesInAnyPieces) {
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& first = Submit();
  Message& second = Submit();
  ASSERT_TRUE(Scans(fake, 2));
  const std::string bytes =
      core::Cat(fake.scans[0].id, ": fd[3]: OK", '\0', fake.scans[1].id, ": fd[3]: OK", '\0');
  for (char byte : bytes) {
    fake.Say(0, std::string_view(&byte, 1));
    Settle(milliseconds(2));
  }
  EXPECT_TRUE(Clean(first));
  EXPECT_TRUE(Clean(second));
}

// --- What a scanner gets.

TEST_F(ClamdPoolTest, PassesTheImageByAReadOnlyDescriptor) {
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  for (const std::string& content :
       {std::string(), std::string("a"), std::string(5000, 'b'), std::string((3u << 20) + 5, 'c')}) {
    SCOPED_TRACE(content.size());
    fake.scans.clear();
    Message& message = Submit(content);
    ASSERT_TRUE(Scans(fake, 1));
    const int fd = fake.scans[0].descriptor.get();
    EXPECT_EQ(ReadAll(fd), Image(content));
    EXPECT_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    EXPECT_EQ(pwrite(fd, "x", 1, 0), -1);
    EXPECT_EQ(ftruncate(fd, 0), -1);
    fake.ReplyOk(fake.scans[0]);
    EXPECT_TRUE(Clean(message));
    Finish(message);
  }
}

TEST_F(ClamdPoolTest, SendsTheImageByInstream) {
  FakeClamd& fake = AddScanner(Method::kAuto, true);
  StartAndConnect();
  std::string varied((5u << 20) + 17, '\0');
  for (size_t i = 0; i < varied.size(); ++i) varied[i] = static_cast<char>(i * 2654435761u >> 13);
  for (const std::string& content : {std::string(), std::string("a"), std::string(5000, 'b'),
                                     std::string(core::Stream::kSendStepBytes, 'c'), varied}) {
    SCOPED_TRACE(content.size());
    fake.scans.clear();
    Message& message = Submit(content);
    ASSERT_TRUE(Scans(fake, 1));
    EXPECT_TRUE(fake.scans[0].content == Image(content));
    fake.ReplyOk(fake.scans[0]);
    EXPECT_TRUE(Clean(message));
    Finish(message);
  }
  EXPECT_EQ(fake.connections.size(), 1u);  // all on one session
}

TEST_F(ClamdPoolTest, UploadsOneMessageAtATime) {
  FakeClamd& fake = AddScanner(Method::kInstream);
  StartAndConnect();
  Message& first = Submit("first");
  Message& second = Submit("second");
  ASSERT_TRUE(Scans(fake, 1));
  Settle();
  EXPECT_EQ(fake.scans.size(), 1u);
  EXPECT_EQ(pool_->waiting(), 1u);
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(first));
  ASSERT_TRUE(Scans(fake, 2));
  EXPECT_EQ(fake.scans[1].content, Image("second"));
  fake.ReplyOk(fake.scans[1]);
  EXPECT_TRUE(Clean(second));
}

// --- The queue.

TEST_F(ClamdPoolTest, KeepsTheLineInOrder) {
  options_.outstanding_max = 2;
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  for (int i = 0; i < 8; ++i) Submit(core::Cat(i));
  ASSERT_TRUE(Scans(fake, 2));
  Settle();
  EXPECT_EQ(fake.scans.size(), 2u);
  EXPECT_EQ(pool_->waiting(), 6u);
  for (size_t i = 0; i < 8; ++i) {
    ASSERT_TRUE(Scans(fake, i + 1));
    EXPECT_EQ(ReadAll(fake.scans[i].descriptor.get()), Image(core::Cat(i)));
    fake.ReplyOk(fake.scans[i]);
  }
  for (auto& message : messages_) EXPECT_TRUE(Clean(*message));
}

TEST_F(ClamdPoolTest, PrefersTheLeastBusyScanner) {
  FakeClamd& one = AddScanner();
  FakeClamd& two = AddScanner();
  StartAndConnect();
  for (int i = 0; i < 6; ++i) Submit();
  ASSERT_TRUE(Until([&] { return one.scans.size() + two.scans.size() == 6; }));
  EXPECT_EQ(one.scans.size(), 3u);
  for (size_t i = 0; i < 3; ++i) one.ReplyOk(one.scans[i]);
  ASSERT_TRUE(Until([&] { return Count(0, ScannerCount::kInFlight) == 0; }));
  Submit();
  Submit();
  Submit();
  EXPECT_TRUE(Scans(one, 6));
  EXPECT_EQ(two.scans.size(), 3u);
}

TEST_F(ClamdPoolTest, UsesAllConnections) {
  options_.connections = 3;
  options_.outstanding_max = 2;
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  for (int i = 0; i < 7; ++i) Submit();
  ASSERT_TRUE(Scans(fake, 6));
  EXPECT_EQ(pool_->waiting(), 1u);
  std::array<int, 3> scans = {};
  for (const FakeClamd::Scan& scan : fake.scans) ++scans[scan.connection];
  EXPECT_THAT(scans, testing::Each(2));
}

// A message that comes back returns to its old place, before messages that were submitted after it.
TEST_F(ClamdPoolTest, PutsMessagesThatComeBackInFront) {
  options_.outstanding_max = 2;
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  for (int i = 0; i < 6; ++i) Submit(core::Cat(i));
  ASSERT_TRUE(Scans(fake, 2));
  fake.CloseAll();
  fake.scans.clear();
  for (size_t i = 0; i < 6; ++i) {
    ASSERT_TRUE(Scans(fake, i + 1));
    EXPECT_EQ(ReadAll(fake.scans[i].descriptor.get()), Image(core::Cat(i)));
    fake.ReplyOk(fake.scans[i]);
  }
  for (auto& message : messages_) EXPECT_TRUE(Clean(*message));
}

// --- Replies that are not believed.

TEST_F(ClamdPoolTest, RescansAfterWhatNobodyAskedFor) {
  options_.retry_min = milliseconds(1);
  for (std::string_view wrong : {
           "77: fd[1]: OK",               // a number that is not outstanding
           "1: PONG",                     // a number that was answered
           "fd[1]: OK",                   // no number
           "2: stream: OK",               // the wrong shape
           "2: stream: Some.Name FOUND",  //
           "2: stream: some ERROR",       //
           "2: PONG",                     // not an answer to a scan
           "2: fd[1]: nonsense",          //
           "2: INSTREAM size limit exceeded. ERROR",
           "",
       }) {
    SCOPED_TRACE(wrong);
    FakeClamd& fake = AddScanner();
    StartAndConnect();
    Message& message = Submit();
    ASSERT_TRUE(Scans(fake, 1));
    ASSERT_EQ(fake.scans[0].id, 2u);
    // The text behind it is not believed either.
    fake.Say(0, core::Cat(wrong, '\0', "2: fd[1]: OK", '\0'));
    ASSERT_TRUE(Scans(fake, 2));
    EXPECT_FALSE(message.request.done());
    EXPECT_NE(fake.scans[1].connection, fake.scans[0].connection);
    EXPECT_EQ(Count(0, ScannerCount::kErrors), 1u);
    fake.ReplyOk(fake.scans[1]);
    EXPECT_TRUE(Clean(message));

    Forget();
  }
}

TEST_F(ClamdPoolTest, RefusesARecordWithoutEnd) {
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& message = Submit();
  ASSERT_TRUE(Scans(fake, 1));
  fake.Say(0, std::string(100000, '2'));
  ASSERT_TRUE(Scans(fake, 2));
  fake.ReplyOk(fake.scans[1]);
  EXPECT_TRUE(Clean(message));
}

TEST_F(ClamdPoolTest, RefusesAResultOfHalfAnUpload) {
  FakeClamd& fake = AddScanner(Method::kInstream);
  fake.upload_limit = 100000;
  int uploads = 0;
  fake.on_upload_limit = [&](size_t connection, uint32_t id) {
    ++uploads;
    fake.Say(connection, core::Cat(id, ": stream: OK", '\0'));
    fake.upload_limit = 0;
    fake.reading = false;  // until the complaint is seen, before the upload's end
  };
  StartAndConnect();
  Message& message = Submit(std::string(8u << 20, 'x'));
  ASSERT_TRUE(Until([&] { return uploads == 1; }));
  Settle();
  fake.reading = true;
  ASSERT_TRUE(Scans(fake, 1));
  EXPECT_FALSE(message.request.done());
  EXPECT_EQ(fake.scans[0].connection, 1u);
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(message));
}

// --- Descriptors and sizes.

TEST_F(ClamdPoolTest, FallsBackToInstreamWhenDescriptorsAreRefused) {
  for (std::string_view refusal : {"No file descriptor received. ERROR", "fd[9]: Not a regular file ERROR",
                                   "UNKNOWN COMMAND", "Command invalid inside IDSESSION. ERROR",
                                   "FILDES support not compiled in. ERROR", "-UNKNOWN COMMAND"}) {
    SCOPED_TRACE(refusal);
    const bool numbered = !refusal.starts_with('-');
    options_.connections = 2;
    FakeClamd& fake = AddScanner(Method::kAuto);
    fake.on_scan = [&](const FakeClamd::Scan& scan) {
      if (scan.stream()) {
        fake.ReplyOk(scan);
      } else {
        numbered ? fake.Reply(scan, refusal) : fake.Say(scan.connection, core::Cat(refusal.substr(1), '\0'));
        fake.Close(scan.connection);
      }
    };
    StartAndConnect();
    for (int i = 0; i < 6; ++i) Submit(core::Cat("content ", i));
    for (auto& message : messages_) EXPECT_TRUE(Clean(*message));
    // The pool continues that way.
    fake.scans.clear();
    EXPECT_TRUE(Clean(Submit()));
    EXPECT_TRUE(fake.scans[0].stream());

    Forget();
  }
}

TEST_F(ClamdPoolTest, FallsBackToInstreamWhenDescriptorsGetLost) {
  FakeClamd& fake = AddScanner(Method::kAuto);
  fake.drops_descriptors = true;
  StartAndConnect();
  Message& message = Submit("content");
  ASSERT_TRUE(Scans(fake, 1));
  EXPECT_EQ(fake.scans[0].content, Image("content"));
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(message));
}

TEST_F(ClamdPoolTest, FailsWhenDescriptorsAreRefusedAndNothingElseIsAllowed) {
  FakeClamd& fake = AddScanner(Method::kFildes);
  StartAndConnect();
  Message& message = Submit();
  ASSERT_TRUE(Scans(fake, 1));
  fake.Reply(fake.scans[0], "No file descriptor received. ERROR");
  EXPECT_TRUE(None(message, NoVerdict::kError));
  EXPECT_THAT(message.request.verdict().text, testing::HasSubstr("ClamMethod: auto"));
}

// The refusal has no number, and the session ends.
TEST_F(ClamdPoolTest, NamesTheWayOutWhenDescriptorsAreUnknownAndNothingElseIsAllowed) {
  FakeClamd& fake = AddScanner(Method::kFildes);
  fake.on_scan = [&fake](const FakeClamd::Scan& scan) {
    fake.Say(scan.connection, std::string_view("UNKNOWN COMMAND\0", 16));
    fake.Close(scan.connection);
  };
  StartAndConnect();
  Message& message = Submit();
  EXPECT_TRUE(None(message, NoVerdict::kError));
  EXPECT_THAT(message.request.verdict().text,
              testing::HasSubstr("it takes no open files (UNKNOWN COMMAND); with ClamMethod: auto"));
}

TEST_F(ClamdPoolTest, TellsTheSizeLimitWhileItUploads) {
  for (bool tcp : {false, true}) {
    SCOPED_TRACE(tcp);
    FakeClamd& fake = AddScanner(Method::kInstream, tcp);
    fake.upload_limit = 300000;
    fake.on_upload_limit = [&](size_t connection, uint32_t id) {
      fake.Say(connection, core::Cat(id, ": INSTREAM size limit exceeded. ERROR", '\0'));
      fake.Close(connection);  // with bytes left unread
    };
    StartAndConnect();
    EXPECT_TRUE(None(Submit(std::string(16u << 20, 'x')), NoVerdict::kSize));
    // This was the message's fault and affects no other message.
    Message& next = Submit("small");
    ASSERT_TRUE(Scans(fake, 1));
    fake.ReplyOk(fake.scans[0]);
    EXPECT_TRUE(Clean(next));

    Forget();
  }
}

// The scanner stops reading before it gives the reason. The pool waits for the reason, in however many pieces
// it comes.
TEST_F(ClamdPoolTest, ReadsWhyAnUploadIsTakenNoFurther) {
  FakeClamd& fake = AddScanner(Method::kInstream);
  uint32_t id = 0;
  fake.upload_limit = 300000;
  fake.on_upload_limit = [&](size_t, uint32_t of_upload) {
    id = of_upload;
    fake.reading = false;
  };
  StartAndConnect();
  Message& message = Submit(std::string(16u << 20, 'x'));
  ASSERT_TRUE(Until([&] { return id != 0; }));
  ASSERT_EQ(shutdown(fake.connections[0].fd.get(), SHUT_RD), 0);  // the next send fails
  Settle();
  EXPECT_EQ(fake.connections.size(), 1u) << "the session is not over yet";
  fake.Say(0, core::Cat(id, ": INSTREAM size limit"));
  Settle();
  EXPECT_FALSE(message.request.done());
  fake.Say(0, core::Cat(" exceeded. ERROR", '\0'));
  EXPECT_TRUE(None(message, NoVerdict::kSize));
  EXPECT_EQ(fake.connections.size(), 1u);
}

TEST_F(ClamdPoolTest, DoesNotWaitForEverForWhyAnUploadIsTakenNoFurther) {
  options_.connect_timeout = milliseconds(50);
  FakeClamd& fake = AddScanner(Method::kInstream);
  bool began = false;
  fake.upload_limit = 300000;
  fake.on_upload_limit = [&](size_t, uint32_t) {
    began = true;
    fake.reading = false;
  };
  StartAndConnect();
  Message& message = Submit(std::string(16u << 20, 'x'));
  ASSERT_TRUE(Until([&] { return began; }));
  ASSERT_EQ(shutdown(fake.connections[0].fd.get(), SHUT_RD), 0);
  ASSERT_TRUE(Until([&] { return fake.connections.size() == 2; }));
  fake.upload_limit = 0;
  fake.reading = true;
  fake.Close(0);
  ASSERT_TRUE(Scans(fake, 1));
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(message));
}

// --- Sessions that do not wait.

TEST_F(ClamdPoolTest, GivesTheBodyOfAWaitingMessageBackAtOnce) {
  options_.outstanding_max = 1;
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& first = Submit("first");
  Message& second = Submit("second");
  Message& third = Submit("third");
  ASSERT_TRUE(Scans(fake, 1));
  ASSERT_EQ(pool_->waiting(), 2u);
  pool_->Release(second.request, std::move(second.body));
  EXPECT_EQ(bodies_->bodies_out(), 2u);
  EXPECT_EQ(pool_->waiting(), 1u);
  fake.ReplyOk(fake.scans[0]);
  ASSERT_TRUE(Scans(fake, 2));
  EXPECT_EQ(ReadAll(fake.scans[1].descriptor.get()), Image("third"));
  fake.ReplyOk(fake.scans[1]);
  EXPECT_TRUE(Clean(first));
  EXPECT_TRUE(Clean(third));
}

TEST_F(ClamdPoolTest, KeepsTheBodyThatASlowScannerStillReads) {
  options_.outstanding_max = 2;
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& slow = Submit("slow");
  ASSERT_TRUE(Scans(fake, 1));
  pool_->Release(slow.request, std::move(slow.body));
  EXPECT_EQ(bodies_->bodies_out(), 1u);
  EXPECT_EQ(Count(0, ScannerCount::kInFlight), 1u);
  messages_.clear();  // the session's frame is gone
  // The scan keeps its place until the scanner answers, because clamd continues it.
  Message& second = Submit("second");
  Message& third = Submit("third");
  ASSERT_TRUE(Scans(fake, 2));
  EXPECT_EQ(pool_->waiting(), 1u);
  EXPECT_EQ(ReadAll(fake.scans[0].descriptor.get()), Image("slow"));
  fake.ReplyOk(fake.scans[0]);
  ASSERT_TRUE(Scans(fake, 3));
  EXPECT_EQ(bodies_->bodies_out(), 2u);
  EXPECT_FALSE(second.request.done());
  fake.ReplyOk(fake.scans[1]);
  fake.ReplyOk(fake.scans[2]);
  EXPECT_TRUE(Clean(second));
  EXPECT_TRUE(Clean(third));
}

TEST_F(ClamdPoolTest, GivesAnAbandonedBodyBackWhenTheConnectionEnds) {
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& slow = Submit();
  ASSERT_TRUE(Scans(fake, 1));
  pool_->Release(slow.request, std::move(slow.body));
  fake.CloseAll();
  EXPECT_TRUE(Until([&] { return bodies_->bodies_out() == 0; }));
  EXPECT_FALSE(slow.request.done());
  Settle();
  EXPECT_EQ(fake.scans.size(), 1u);  // nobody waits for the answer
}

TEST_F(ClamdPoolTest, BreaksAnAbandonedUploadOff) {
  FakeClamd& fake = AddScanner(Method::kInstream);
  StartAndConnect();
  fake.reading = false;
  Message& message = Submit(std::string(16u << 20, 'x'));
  Settle();
  pool_->Release(message.request, std::move(message.body));
  EXPECT_TRUE(Until([&] { return bodies_->bodies_out() == 0; }));
  fake.reading = true;
  Message& next = Submit("next");
  ASSERT_TRUE(Scans(fake, 1));
  EXPECT_EQ(fake.scans[0].content, Image("next"));
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(next));
}

TEST_F(ClamdPoolTest, AbandonsBeforeItSends) {
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& message = Submit();  // handed to the connection, which has not run yet
  pool_->Release(message.request, std::move(message.body));
  EXPECT_EQ(bodies_->bodies_out(), 0u);
  Settle();
  EXPECT_EQ(fake.scans.size(), 0u);
  EXPECT_EQ(Count(0, ScannerCount::kInFlight), 0u);
}

}  // namespace
}  // namespace bivalve::scan
