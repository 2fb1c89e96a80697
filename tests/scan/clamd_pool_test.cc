// The pool against scanners under the test's control, over real sockets, with a real ring in the test's
// thread.
#include "scan/clamd_pool.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "core/ring.h"
#include "core/scope.h"
#include "core/stream.h"
#include "tests/scan/fake_clamd.h"
#include "tests/scan/pool_fixture.h"

namespace bivalve::scan {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

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
    fake.Reply(fake.scans[i], core::Cat("fd[7]: ", content.substr(core::Body::kContentOffset), " FOUND"));
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

// --- The line.

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

// A message that comes back goes to its old place, in front of what was submitted after it.
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

// --- Connections that end.

TEST_F(ClamdPoolTest, ScansAgainElsewhereAfterAnEnd) {
  FakeClamd& one = AddScanner();
  FakeClamd& two = AddScanner();
  StartAndConnect();
  Message& message = Submit("content");
  ASSERT_TRUE(Until([&] { return one.scans.size() + two.scans.size() == 1; }));
  FakeClamd& first = one.scans.empty() ? two : one;
  FakeClamd& second = one.scans.empty() ? one : two;
  first.Close(first.scans[0].connection);
  ASSERT_TRUE(Scans(second, 1));
  EXPECT_EQ(ReadAll(second.scans[0].descriptor.get()), Image("content"));
  second.ReplyOk(second.scans[0]);
  EXPECT_TRUE(Clean(message));
  EXPECT_EQ(message.request.scanner(), &second == &one ? 0 : 1);
}

TEST_F(ClamdPoolTest, GivesUpContentThatTakesTwoConnectionsDown) {
  FakeClamd& one = AddScanner();
  FakeClamd& two = AddScanner();
  StartAndConnect();
  for (FakeClamd* fake : {&one, &two}) {
    fake->on_scan = [fake](const FakeClamd::Scan& scan) { fake->Close(scan.connection); };
  }
  Message& message = Submit();
  EXPECT_TRUE(None(message, NoVerdict::kError));
  Settle();
  EXPECT_EQ(one.scans.size(), 1u);
  EXPECT_EQ(two.scans.size(), 1u);
  EXPECT_THAT(message.request.verdict().text, testing::HasSubstr("it closed the connection"));
}

TEST_F(ClamdPoolTest, ShowsWhatItDidNotUnderstand) {
  std::vector<std::string> said;
  options_.say = [&said](bool, std::string text) { said.push_back(std::move(text)); };
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  fake.on_scan = [&fake](const FakeClamd::Scan& scan) {
    fake.Say(scan.connection, std::string_view("250 2.0.0 queued\r\x01\0", 19));
  };
  Message& message = Submit();
  EXPECT_TRUE(None(message, NoVerdict::kError));
  const std::string excerpt = "scanner-0: its reply was not understood: \"250 2.0.0 queued\r\x01\"";
  EXPECT_THAT(message.request.verdict().text, testing::HasSubstr(excerpt));
  EXPECT_THAT(said, testing::Contains(testing::HasSubstr(excerpt)));
}

TEST_F(ClamdPoolTest, KeepsWithinItsShareOfTheScannersQueue) {
  options_.connections = 4;
  FakeClamd& fake = AddScanner();
  options_.scanners[0].outstanding_max = 3;
  options_.scanners[0].connections_max = 2;
  Start();
  ASSERT_TRUE(Until([&] { return Count(0, ScannerCount::kConnections) == 2; }));
  for (int i = 0; i < 8; ++i) Submit();
  for (size_t answered = 0; answered < 8; ++answered) {
    ASSERT_TRUE(Scans(fake, std::min<size_t>(answered + 3, 8)));
    Settle(milliseconds(5));
    EXPECT_EQ(fake.scans.size(), std::min<size_t>(answered + 3, 8));
    EXPECT_LE(Count(0, ScannerCount::kInFlight), 3u);
    fake.ReplyOk(fake.scans[answered]);
  }
  for (auto& message : messages_) EXPECT_TRUE(Clean(*message));
  EXPECT_EQ(fake.connections.size(), 2u);
}

TEST_F(ClamdPoolTest, ScansAgainOnANewConnection) {
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& first = Submit("first");
  Message& second = Submit("second");
  ASSERT_TRUE(Scans(fake, 2));
  fake.CloseAll();
  ASSERT_TRUE(Scans(fake, 4));
  EXPECT_EQ(ReadAll(fake.scans[2].descriptor.get()), Image("first"));
  EXPECT_EQ(fake.scans[2].connection, 1u);
  fake.ReplyOk(fake.scans[2]);
  fake.ReplyOk(fake.scans[3]);
  EXPECT_TRUE(Clean(first));
  EXPECT_TRUE(Clean(second));
}

TEST_F(ClamdPoolTest, TakesTheEndOfAnIdleConnectionForNoError) {
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  for (int round = 0; round < 3; ++round) {
    const uint64_t connects = Count(0, ScannerCount::kConnects);
    fake.Say(fake.connections.size() - 1, "COMMAND READ TIMED OUT\n");
    fake.CloseAll();
    ASSERT_TRUE(Until([&] { return Count(0, ScannerCount::kConnects) > connects; }));
    EXPECT_TRUE(pool_->up());
  }
  EXPECT_EQ(Count(0, ScannerCount::kErrors), 0u);
  // Handed over at the moment of the end, which the pool has not seen yet.
  fake.CloseAll();
  Message& message = Submit();
  ASSERT_TRUE(Scans(fake, 1));
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(message));
}

TEST_F(ClamdPoolTest, DoesNotHurryToAScannerThatAlwaysCloses) {
  options_.retry_min = milliseconds(20);
  options_.retry_max = milliseconds(200);
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  const auto end = std::chrono::steady_clock::now() + milliseconds(400);
  while (std::chrono::steady_clock::now() < end) {
    fake.CloseAll();
    Turn();
  }
  EXPECT_LT(fake.connections.size(), 15u);
}

// --- Replies that are not believed.

TEST_F(ClamdPoolTest, RescansAfterWhatNobodyAskedFor) {
  options_.retry_min = milliseconds(1);
  for (std::string_view wrong : {
           "77: fd[1]: OK",               // a number that is not outstanding
           "1: PONG",                     // one that was answered
           "fd[1]: OK",                   // none
           "2: stream: OK",               // the wrong shape
           "2: stream: Some.Name FOUND",  //
           "2: stream: some ERROR",       //
           "2: PONG",                     // no answer to a scan
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
    // What stands behind it is not believed either.
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
    fake.reading = false;  // long enough for it to be seen before the upload's end
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
  for (std::string_view refusal : {"No file descriptor received. ERROR", "fd[9]: Not a regular file ERROR"}) {
    SCOPED_TRACE(refusal);
    options_.connections = 2;
    FakeClamd& fake = AddScanner(Method::kAuto);
    fake.on_scan = [&](const FakeClamd::Scan& scan) {
      if (scan.stream()) {
        fake.ReplyOk(scan);
      } else {
        fake.Reply(scan, refusal);
        fake.Close(scan.connection);
      }
    };
    StartAndConnect();
    for (int i = 0; i < 6; ++i) Submit(core::Cat("content ", i));
    for (auto& message : messages_) EXPECT_TRUE(Clean(*message));
    // It stays with that.
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
}

TEST_F(ClamdPoolTest, TellsTheSizeLimitWhileItUploads) {
  for (bool tcp : {false, true}) {
    SCOPED_TRACE(tcp);
    FakeClamd& fake = AddScanner(Method::kInstream, tcp);
    fake.upload_limit = 300000;
    fake.on_upload_limit = [&](size_t connection, uint32_t id) {
      fake.Say(connection, core::Cat(id, ": INSTREAM size limit exceeded. ERROR", '\0'));
      fake.Close(connection);  // with unread bytes
    };
    StartAndConnect();
    EXPECT_TRUE(None(Submit(std::string(16u << 20, 'x')), NoVerdict::kSize));
    // That was the message's fault, and concerns nobody else.
    Message& next = Submit("small");
    ASSERT_TRUE(Scans(fake, 1));
    fake.ReplyOk(fake.scans[0]);
    EXPECT_TRUE(Clean(next));

    Forget();
  }
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
  pool_->Abandon(second.request, std::move(second.body));
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
  pool_->Abandon(slow.request, std::move(slow.body));
  EXPECT_EQ(bodies_->bodies_out(), 1u);
  EXPECT_EQ(Count(0, ScannerCount::kInFlight), 1u);
  messages_.clear();  // the session's frame is gone
  // Its place is taken until the scanner answers: clamd scans on.
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
  pool_->Abandon(slow.request, std::move(slow.body));
  fake.CloseAll();
  EXPECT_TRUE(Until([&] { return bodies_->bodies_out() == 0; }));
  EXPECT_FALSE(slow.request.done());
  Settle();
  EXPECT_EQ(fake.scans.size(), 1u);  // nobody wants to know
}

TEST_F(ClamdPoolTest, BreaksAnAbandonedUploadOff) {
  FakeClamd& fake = AddScanner(Method::kInstream);
  StartAndConnect();
  fake.reading = false;
  Message& message = Submit(std::string(16u << 20, 'x'));
  Settle();
  pool_->Abandon(message.request, std::move(message.body));
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
  Message& message = Submit();  // handed to the connection, which did not run yet
  pool_->Abandon(message.request, std::move(message.body));
  EXPECT_EQ(bodies_->bodies_out(), 0u);
  Settle();
  EXPECT_EQ(fake.scans.size(), 0u);
  EXPECT_EQ(Count(0, ScannerCount::kInFlight), 0u);
}

// --- Scanners that are down.

TEST_F(ClamdPoolTest, WaitsForTheFirstAttempts) {
  AddScanner().Vanish();
  AddAddress(Method::kAuto, [](sockaddr_storage&) { return socklen_t{0}; });  // a name that does not resolve
  Message& message = NewMessage();
  Start();
  pool_->Submit(message.request, *message.body);
  EXPECT_FALSE(message.request.done());
  EXPECT_EQ(pool_->waiting(), 1u);
  EXPECT_TRUE(None(message, NoVerdict::kDown));
  EXPECT_THAT(message.request.verdict().text, testing::HasSubstr("scanner-0: No such file"));
  EXPECT_THAT(message.request.verdict().text, testing::HasSubstr("scanner-1: its address is not known"));
  EXPECT_FALSE(pool_->up());
  EXPECT_TRUE(None(Submit(), NoVerdict::kDown));
}

// The pauses between attempts are an hour: it is the message that makes it look.
TEST_F(ClamdPoolTest, LooksForAScannerWhenAMessageComes) {
  options_.retry_min = options_.retry_max = std::chrono::hours(1);
  options_.connections = 2;
  FakeClamd& fake = AddScanner();
  AddScanner().Vanish();
  fake.Vanish();
  Start();
  EXPECT_TRUE(None(Submit(), NoVerdict::kDown));
  fake.Listen();
  Message& message = Submit();
  EXPECT_FALSE(message.request.done());
  ASSERT_TRUE(Scans(fake, 1));
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(message));
}

// systemd holds the socket while clamd loads its database.
TEST_F(ClamdPoolTest, WaitsForOneThatTakesConnectionsAndSaysNothing) {
  options_.connect_timeout = milliseconds(40);
  options_.ping_interval = std::chrono::seconds(2);
  FakeClamd& fake = AddScanner();
  fake.answers_pings = false;
  Start();
  Message& message = Submit();
  ASSERT_TRUE(Until([&] { return fake.connections.size() >= 3; }));
  EXPECT_FALSE(message.request.done());
  EXPECT_FALSE(pool_->up());
  fake.answers_pings = true;
  ASSERT_TRUE(Scans(fake, 1));
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(message));
}

TEST_F(ClamdPoolTest, FindsAScannerThatComesBack) {
  options_.connections = 2;
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  fake.Vanish();
  ASSERT_TRUE(Until([&] { return !pool_->up(); }));
  EXPECT_EQ(Count(0, ScannerCount::kUp), 0u);
  EXPECT_TRUE(None(Submit(), NoVerdict::kDown));
  fake.Listen();
  ASSERT_TRUE(Until([&] { return Count(0, ScannerCount::kConnections) == 2; }));
  EXPECT_TRUE(pool_->up());
  Message& message = Submit();
  ASSERT_TRUE(Scans(fake, 1));
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(message));
}

TEST_F(ClamdPoolTest, AnswersWaitingMessagesWhenTheLastScannerIsGone) {
  options_.outstanding_max = 1;
  FakeClamd& one = AddScanner();
  FakeClamd& two = AddScanner();
  StartAndConnect();
  for (int i = 0; i < 6; ++i) Submit();
  ASSERT_TRUE(Scans(one, 1));
  ASSERT_TRUE(Scans(two, 1));
  one.Vanish();
  Settle();
  EXPECT_EQ(std::count_if(messages_.begin(), messages_.end(), [](auto& m) { return m->request.done(); }), 0);
  two.Vanish();
  for (auto& message : messages_) EXPECT_TRUE(None(*message, NoVerdict::kDown));
}

TEST_F(ClamdPoolTest, GoesOnWithTheOtherScanner) {
  FakeClamd& one = AddScanner();
  FakeClamd& two = AddScanner();
  two.on_scan = [&](const FakeClamd::Scan& scan) { two.ReplyOk(scan); };
  StartAndConnect();
  one.Vanish();
  for (int i = 0; i < 20; ++i) Submit();
  for (auto& message : messages_) EXPECT_TRUE(Clean(*message));
  EXPECT_TRUE(Until([&] { return Count(0, ScannerCount::kUp) == 0; }));
  EXPECT_EQ(Count(1, ScannerCount::kUp), 1u);
}

TEST_F(ClamdPoolTest, TakesOneThatDoesNotAnswerPingsForDown) {
  options_.connect_timeout = milliseconds(40);
  options_.ping_interval = milliseconds(20);
  FakeClamd& fake = AddScanner();
  fake.answers_pings = false;
  Start();
  EXPECT_TRUE(None(Submit(), NoVerdict::kDown));
  fake.answers_pings = true;
  EXPECT_TRUE(Until([&] { return pool_->up(); }));
}

TEST_F(ClamdPoolTest, TakesOneThatIsNoClamdForDown) {
  FakeClamd& fake = AddScanner();
  fake.answers_pings = false;
  Start();
  Message& message = Submit();
  size_t greeted = 0;
  ASSERT_TRUE(Until([&] {
    for (; greeted < fake.connections.size(); ++greeted) fake.Say(greeted, "220 mail.example.org ESMTP\r\n");
    return message.request.done();
  }));
  EXPECT_TRUE(None(message, NoVerdict::kDown));
}

// --- PING.

TEST_F(ClamdPoolTest, KeepsIdleSessionsAlive) {
  options_.ping_interval = milliseconds(40);
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  ASSERT_TRUE(Until([&] { return fake.connections[0].pings >= 4; }));
  Message& message = Submit();  // busy sessions as well
  ASSERT_TRUE(Scans(fake, 1));
  const uint32_t pings = fake.connections[0].pings;
  ASSERT_TRUE(Until([&] { return fake.connections[0].pings >= pings + 2; }));
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(message));
  EXPECT_EQ(fake.connections.size(), 1u);
}

TEST_F(ClamdPoolTest, WaitsForAStalledScannerButPrefersAnother) {
  options_.ping_interval = milliseconds(300);
  FakeClamd& one = AddScanner();
  FakeClamd& two = AddScanner();
  two.on_scan = [&](const FakeClamd::Scan& scan) { two.ReplyOk(scan); };
  StartAndConnect();
  // Something for each; then the first one answers nothing any more.
  Submit();
  Submit();
  ASSERT_TRUE(Scans(one, 1));
  ASSERT_TRUE(Scans(two, 1));
  ASSERT_TRUE(Until([&] { return messages_[0]->request.done() || messages_[1]->request.done(); }));
  Message& stuck = *messages_[messages_[0]->request.done() ? 1 : 0];
  one.answers_pings = false;
  ASSERT_TRUE(Until([&] { return one.unanswered_pings > 0; }));
  Settle(milliseconds(350));
  for (int i = 0; i < 20; ++i) Submit();
  for (size_t i = 2; i < messages_.size(); ++i) EXPECT_TRUE(Clean(*messages_[i]));
  EXPECT_EQ(one.scans.size(), 1u);
  EXPECT_FALSE(stuck.request.done());
  EXPECT_EQ(Count(0, ScannerCount::kErrors), 0u);
  // And goes on.
  one.Say(0, core::Cat(one.connections[0].id, ": PONG", '\0'));
  one.answers_pings = true;
  one.ReplyOk(one.scans[0]);
  EXPECT_TRUE(Clean(stuck));
  EXPECT_EQ(one.connections.size(), 1u);
  Submit();
  Submit();
  EXPECT_TRUE(Scans(one, 2));
}

TEST_F(ClamdPoolTest, GivesADeadScannerUpAtLast) {
  options_.ping_interval = milliseconds(20);
  options_.connect_timeout = milliseconds(50);
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& message = Submit();
  ASSERT_TRUE(Scans(fake, 1));
  fake.answers_pings = false;
  EXPECT_TRUE(None(message, NoVerdict::kDown));
  EXPECT_FALSE(pool_->up());
}

// --- The end.

TEST_F(ClamdPoolTest, StopsWithEverythingOutstanding) {
  options_.outstanding_max = 1;
  options_.connections = 2;
  FakeClamd& fildes = AddScanner();
  FakeClamd& instream = AddScanner(Method::kInstream);
  FakeClamd& silent = AddScanner();  // never answers the first PING
  silent.answers_pings = false;
  AddAddress(Method::kAuto, [](sockaddr_storage& out) {  // an address that does not answer (RFC 5737)
    auto& address = reinterpret_cast<sockaddr_in&>(out);
    address.sin_family = AF_INET;
    address.sin_port = htons(9);
    address.sin_addr.s_addr = htonl(0xc0000201);
    return static_cast<socklen_t>(sizeof(address));
  });
  Start();
  ASSERT_TRUE(Until([&] {
    return Count(0, ScannerCount::kConnections) == 2 && Count(1, ScannerCount::kConnections) == 2;
  }));
  instream.reading = false;
  for (int i = 0; i < 8; ++i) Submit(std::string(8u << 20, 'x'));
  ASSERT_TRUE(Scans(fildes, 2));
  Settle();
  Message& abandoned = *messages_[0];
  pool_->Abandon(abandoned.request, std::move(abandoned.body));
  StopThePool();
  for (size_t i = 1; i < messages_.size(); ++i) EXPECT_TRUE(None(*messages_[i], NoVerdict::kDown));
  EXPECT_EQ(bodies_->bodies_out(), messages_.size() - 1);
  for (size_t i = 0; i < stats_.size(); ++i) {
    EXPECT_EQ(Count(i, ScannerCount::kConnections), 0u);
    EXPECT_EQ(Count(i, ScannerCount::kInFlight), 0u);
    EXPECT_EQ(Count(i, ScannerCount::kUp), 0u);
  }
  EXPECT_TRUE(None(Submit(), NoVerdict::kDown));
}

TEST_F(ClamdPoolTest, StopsBeforeItHasBegun) {
  AddScanner();
  Start();
  StopThePool();
}

// --- Anything.

// Whatever scanners do and whenever sessions leave, every message comes to an end, no message gets another
// one's result, and nothing is held afterwards. The seed decides everything but the kernel's timing.
TEST_F(ClamdPoolTest, NeverMixesMessagesUp) {
  options_.connections = 2;
  options_.retry_min = milliseconds(1);
  options_.retry_max = milliseconds(4);
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    std::minstd_rand random(seed);
    const auto one_in = [&random](uint32_t n) { return random() % n == 0; };
    AddScanner(Method::kAuto);
    AddScanner(Method::kInstream, true);
    Start();
    size_t left = 150;
    const auto pending = [&] {
      return std::any_of(messages_.begin(), messages_.end(),
                         [](auto& m) { return m->body != nullptr && !m->request.done(); });
    };
    ASSERT_TRUE(Until([&] {
      if (left > 0 && one_in(2)) {
        --left;
        Submit(core::Cat("m", left, std::string(one_in(20) ? 2000000 : 10, ' ')));
      }
      if (one_in(10) && !messages_.empty()) {
        Message& message = *messages_[random() % messages_.size()];
        if (message.body != nullptr) pool_->Abandon(message.request, std::move(message.body));
      }
      for (auto& fake : fakes_) {
        if (fake->scans.empty()) continue;
        const size_t index = random() % fake->scans.size();
        const FakeClamd::Scan& scan = fake->scans[index];
        const auto what = random() % 60;
        if (what == 0) fake->Close(scan.connection);
        if (what == 1) fake->Say(scan.connection, "COMMAND READ TIMED OUT\n");
        if (what == 2) fake->Say(scan.connection, core::Cat(1'000'000 + random() % 100, ": fd[3]: OK", '\0'));
        if (what == 3) fake->Reply(scan, "No file descriptor received. ERROR");
        if (what < 10) continue;
        const std::string image = scan.stream() ? scan.content : ReadAll(scan.descriptor.get());
        const std::string content = image.substr(core::Body::kContentOffset);
        const std::string shape = scan.stream() ? "stream: " : "fd[5]: ";
        fake->Reply(scan, core::Cat(shape, content.substr(0, content.find(' ')), " FOUND"));
        fake->scans.erase(fake->scans.begin() + static_cast<ptrdiff_t>(index));
      }
      return left == 0 && !pending();
    }));
    for (auto& message : messages_) {
      if (message->body == nullptr || message->request.verdict().kind == VerdictKind::kNone) continue;
      const std::string_view content = message->body->content();
      ASSERT_EQ(message->request.verdict().kind, VerdictKind::kInfected);
      EXPECT_EQ(message->request.verdict().text, content.substr(0, content.find(' ')));
    }
    Forget();
  }
}

// --- The real one.

std::string Base64(std::string_view text) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < text.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k)
      bits = bits << 8 | (i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) out += i + k > text.size() ? '=' : kDigits[bits >> (18 - 6 * k) & 63];
  }
  return out;
}

// Starts clamd with a database of one line, in a directory of its own.
class RealClamd {
 public:
  explicit RealClamd(const std::string& directory) : directory_(directory) {
    std::filesystem::create_directory(directory + "/db");
    // The hex of the EICAR string, as a signature for any type of file, anywhere in it.
    std::string hex;
    for (char c : Eicar()) {
      std::array<char, 3> digits;
      std::snprintf(digits.data(), digits.size(), "%02x", static_cast<unsigned>(c));
      hex.append(digits.data(), 2);
    }
    std::ofstream(directory + "/db/test.ndb") << "Test-Signature:0:*:" << hex << "\n";
    std::ofstream(directory + "/clamd.conf") << "LocalSocket " << socket() << "\n"
                                             << "DatabaseDirectory " << directory << "/db\n"
                                             << "TemporaryDirectory " << directory << "\n"
                                             << "LogFile " << directory << "/log\nForeground yes\n"
                                             << "StreamMaxLength 1M\nMaxThreads 2\n";
    const std::string option = core::Cat("--config-file=", directory, "/clamd.conf");
    pid_ = fork();
    if (pid_ == 0) {
      const int null = open("/dev/null", O_RDWR);
      dup2(null, 1);
      dup2(null, 2);
      execl(kProgram, "clamd", option.c_str(), nullptr);
      _exit(127);
    }
  }
  ~RealClamd() {
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
  }

  static constexpr const char* kProgram = "/usr/sbin/clamd";
  // The anti-virus test string, put together so that this file does not hold it.
  static std::string Eicar() {
    return core::Cat("X5O!P%@AP[4\\PZX54(P^)7CC)7}$", "EICAR-STANDARD", "-ANTIVIRUS-TEST-FILE!$H+H*");
  }
  std::string socket() const { return directory_ + "/clamd.sock"; }
  std::string log() const {
    std::ifstream file(directory_ + "/log");
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  std::string directory_;
  pid_t pid_ = -1;
};

TEST_F(ClamdPoolTest, WorksWithClamd) {
  if (access(RealClamd::kProgram, X_OK) != 0) GTEST_SKIP() << "clamd is not installed";
  RealClamd clamd(directory_);
  const auto address = [&clamd](sockaddr_storage& out) {
    auto& local = reinterpret_cast<sockaddr_un&>(out);
    local.sun_family = AF_UNIX;
    std::strncpy(local.sun_path, clamd.socket().c_str(), sizeof(local.sun_path) - 1);
    return static_cast<socklen_t>(sizeof(local));
  };
  options_.connections = 2;
  AddAddress(Method::kAuto, address);
  AddAddress(Method::kInstream, address);
  Start();
  for (size_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(Until([&] { return Count(i, ScannerCount::kConnections) == 2; })) << clamd.log();
  }
  // A virus in base64, behind more unknown header lines than libclamav looks at: found because of the scan
  // line.
  std::string pad;
  for (int i = 0; i < 80; ++i) core::Append(pad, "X-Pad-", i, ": ", std::string(60, 'p'), "\r\n");
  const std::string mail =
      core::Cat(pad, "Content-Transfer-Encoding: base64\r\n\r\n", Base64(RealClamd::Eicar()), "\r\n");
  for (int i = 0; i < 12; ++i) Submit(i % 3 == 0 ? mail : "Subject: clean\r\n\r\nnothing\r\n");
  for (size_t i = 0; i < 12; ++i) {
    Message& message = *messages_[i];
    ASSERT_TRUE(Done(message));
    EXPECT_EQ(message.request.verdict().kind, i % 3 == 0 ? VerdictKind::kInfected : VerdictKind::kClean)
        << message.request.verdict().text;
    EXPECT_EQ(message.request.verdict().text, i % 3 == 0 ? "Test-Signature.UNOFFICIAL" : "");
  }
  EXPECT_GT(Count(0, ScannerCount::kScans), 0u);
  EXPECT_GT(Count(1, ScannerCount::kScans), 0u);
  EXPECT_EQ(Count(0, ScannerCount::kErrors) + Count(1, ScannerCount::kErrors), 0u);

  // More than StreamMaxLength: the scanner that gets content says so, the other one takes it.
  const std::string large(3u << 20, 'x');
  for (int i = 0; i < 2; ++i) Submit(large);
  int size = 0;
  for (size_t i = 12; i < 14; ++i) {
    ASSERT_TRUE(Done(*messages_[i]));
    size += messages_[i]->request.verdict().kind == VerdictKind::kNone &&
                    messages_[i]->request.verdict().cause == NoVerdict::kSize
                ? 1
                : 0;
  }
  EXPECT_EQ(size, 1);
}

}  // namespace
}  // namespace bivalve::scan
