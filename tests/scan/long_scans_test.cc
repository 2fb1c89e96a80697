// One scan for the same content: what counts as the same, and what happens to the requests that wait.
#include "scan/long_scans.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/scan/pool_fixture.h"
#include "tests/sim/sim_io.h"

namespace bivalve::scan {
namespace {

using std::chrono::milliseconds;

TEST(TraceBytes, TakesTraceFieldsAtTheTop) {
  const std::string trace =
      "Return-Path: <a@b>\r\nReceived: from x\r\n\tby y;\r\n today\r\ndelivered-to: z\r\n";
  EXPECT_EQ(TraceBytes(trace + "Subject: x\r\n\r\nReceived: y\r\n"), trace.size());
  EXPECT_EQ(TraceBytes("Subject: x\r\nReceived: y\r\n"), 0u);
  EXPECT_EQ(TraceBytes(""), 0u);
}

TEST(TraceBytes, TakesNothingThatCouldBeReadInTwoWays) {
  for (const std::string_view text :
       {"Received: x", "Received: x\n\r\n", "Received: x\rSubject: y\r\n", "Received: \x01\r\n",
        "Received : x\r\n", "Received\r\n", " Received: x\r\n"}) {
    EXPECT_EQ(TraceBytes(text), 0u) << text;
  }
}

// Hashes are made one after the other with the same state: half of one that is given up is not part of the
// next.
TEST(LongScans, ForgetsHalfAHash) {
  const std::string other(3 * LongScans::kStepBytes, 'x');
  const std::string content(2 * LongScans::kStepBytes, 'y');
  sim::SimIo io(1);
  core::Loop loop(io);
  core::Condition wake(loop);
  Request leaves(wake);
  Request waits(wake);
  LongScans scans;
  scans.Remember(1, other);
  EXPECT_EQ(scans.Step(), nullptr);
  EXPECT_TRUE(scans.End(1).empty());

  scans.Remember(2, content);
  EXPECT_EQ(scans.Step(), nullptr);
  EXPECT_EQ(scans.Step(), nullptr);
  scans.Compare(leaves, content);
  EXPECT_EQ(scans.Step(), nullptr);
  scans.Forget(leaves);
  scans.Compare(waits, content);
  while (scans.busy()) ASSERT_EQ(scans.Step(), nullptr) << "another message";
  EXPECT_EQ(scans.End(2), std::vector<Request*>{&waits});
}

class LongScansTest : public PoolFixture {
 protected:
  LongScansTest() {
    options_.remember_after = milliseconds(20);
    options_.watch_interval = milliseconds(5);
    options_.hedge = false;
  }
  void End(Message& message) { pool_->Release(message.request, std::move(message.body)); }
  std::string Mail(std::string_view trace) {
    return core::Cat("Received: ", trace, "\r\nSubject: x\r\n\r\n", std::string(5000, 'x'), "\r\n");
  }
};

TEST_F(LongScansTest, TheSameMessageSentAgainWaitsForTheFirstScan) {
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& first = Submit(Mail("from a"));
  ASSERT_TRUE(Scans(fake, 1));
  Settle(milliseconds(150));
  End(first);  // its client gave up
  Message& again = Submit(Mail("from a, one minute later"));
  Message& third = Submit(Mail("from b"));
  Settle(milliseconds(150));
  EXPECT_EQ(fake.scans.size(), 1u);
  EXPECT_FALSE(again.request.done());
  fake.Reply(fake.scans[0], "fd[9]: Worm FOUND");
  for (Message* message : {&again, &third}) {
    ASSERT_TRUE(Done(*message));
    EXPECT_EQ(message->request.verdict().text, "Worm");
    End(*message);
  }
  EXPECT_EQ(fake.scans.size(), 1u);
}

TEST_F(LongScansTest, AnotherMessageOfTheSameSizeIsScanned) {
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  std::string content = Mail("from a");
  Message& first = Submit(content);
  Settle(milliseconds(150));
  content[content.size() - 5] = 'y';
  Message& other = Submit(content);
  ASSERT_TRUE(Scans(fake, 2));
  fake.ReplyOk(fake.scans[1]);
  EXPECT_TRUE(Clean(other));
  End(other);
  End(first);
}

TEST_F(LongScansTest, LargeMessagesAreHashedInSteps) {
  LongScans scans;
  const std::string content(4 * LongScans::kStepBytes + 5, 'x');
  core::Condition wake(*loop_);
  Request request(wake);
  scans.Remember(7, content);
  EXPECT_TRUE(scans.MayKnow(content));
  EXPECT_FALSE(scans.MayKnow(content + "x"));
  scans.Compare(request, content);
  int steps = 0;
  while (scans.busy() && ++steps < 100) EXPECT_EQ(scans.Step(), nullptr);
  EXPECT_EQ(steps, 11);
  const std::vector<Request*> waited = scans.End(7);
  ASSERT_EQ(waited.size(), 1u);
  EXPECT_EQ(waited[0], &request);
}

TEST_F(LongScansTest, AShortScanIsNotRemembered) {
  options_.remember_after = std::chrono::seconds(100);
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& first = Submit();
  Settle(milliseconds(50));
  Message& second = Submit();
  ASSERT_TRUE(Scans(fake, 2));
  End(first);
  End(second);
}

TEST_F(LongScansTest, WhenTheFirstScanBreaksTheOthersAreTriedOnceMore) {
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& first = Submit(Mail("from a"));
  ASSERT_TRUE(Scans(fake, 1));
  Settle(milliseconds(150));
  End(first);
  Message& again = Submit(Mail("from b"));
  Settle(milliseconds(150));
  fake.CloseAll();
  ASSERT_TRUE(Scans(fake, 2));
  fake.CloseAll();
  EXPECT_TRUE(None(again, NoVerdict::kError));
  End(again);
}

TEST_F(LongScansTest, OneThatWaitsMayLeave) {
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& first = Submit(Mail("from a"));
  ASSERT_TRUE(Scans(fake, 1));
  Settle(milliseconds(150));
  Message& compared = Submit(Mail("from b"));
  End(compared);
  Message& follower = Submit(Mail("from c"));
  Settle(milliseconds(150));
  End(follower);
  EXPECT_EQ(bodies_->bodies_out(), 1u);
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(first));
  End(first);
}

TEST_F(LongScansTest, StopsWithSomeWaiting) {
  FakeClamd& fake = AddScanner();
  StartAndConnect();
  Message& first = Submit(Mail("from a"));
  ASSERT_TRUE(Scans(fake, 1));
  Settle(milliseconds(150));
  Message& follower = Submit(Mail("from b"));
  Settle(milliseconds(150));
  Message& compared = Submit(Mail("from c"));
  StopThePool();
  EXPECT_TRUE(None(follower, NoVerdict::kDown));
  EXPECT_TRUE(None(compared, NoVerdict::kDown));
  EXPECT_TRUE(None(first, NoVerdict::kDown));
  for (Message* message : {&first, &follower, &compared}) End(*message);
}

}  // namespace
}  // namespace bivalve::scan
