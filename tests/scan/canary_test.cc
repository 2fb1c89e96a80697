// The canary: what is sent, when, and what happens to a scanner that does not find it.
#include "scan/canary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/scan/pool_fixture.h"

namespace bivalve::scan {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::Not;

class CanaryTest : public PoolFixture {
 protected:
  CanaryTest() {
    options_.canary = CanaryMode::kOn;
    options_.canary_retry_min = milliseconds(20);
    options_.canary_retry_max = milliseconds(40);
    options_.say = [this](bool bad, std::string text) { said_.emplace_back(bad, std::move(text)); };
  }

  static bool IsCanary(const FakeClamd::Scan& scan) {
    const std::string image = scan.stream() ? scan.content : ReadAll(scan.descriptor.get());
    return image == Image(CanaryContent());
  }
  // The scanner finds the canary by itself; `mail` gets all other scans.
  static void FindCanaries(FakeClamd& fake) {
    fake.on_scan = [&fake](const FakeClamd::Scan& scan) {
      if (IsCanary(scan)) fake.Reply(scan, scan.stream() ? "stream: Eicar FOUND" : "fd[9]: Eicar FOUND");
    };
  }
  static size_t Canaries(const FakeClamd& fake) {
    return static_cast<size_t>(std::count_if(fake.scans.begin(), fake.scans.end(), IsCanary));
  }
  CanaryState State(size_t scanner = 0) {
    return static_cast<CanaryState>(Count(scanner, ScannerCount::kCanary));
  }

  std::vector<std::pair<bool, std::string>> said_;
};

TEST_F(CanaryTest, IsAMailWithTheTestStringAsAnAttachment) {
  const std::string& content = CanaryContent();
  EXPECT_TRUE(content.starts_with(kCanaryMark));
  EXPECT_THAT(content, HasSubstr("Content-Transfer-Encoding: base64\r\n"));
  // The string is there in base64, and nowhere as plain text.
  EXPECT_THAT(content, HasSubstr("\r\nWDVPIVAl"));
  EXPECT_THAT(content, Not(HasSubstr("ANTIVIRUS")));
}

TEST_F(CanaryTest, SaysWhatToDoAboutAScannerThatTakesNoDescriptors) {
  options_.retry_max = seconds(10);
  options_.retry_min = milliseconds(200);
  FakeClamd& fake = AddScanner(Method::kFildes);
  fake.on_scan = [&fake](const FakeClamd::Scan& scan) {
    fake.Say(scan.connection, std::string_view("UNKNOWN COMMAND\0", 16));
    fake.Close(scan.connection);
  };
  Start();
  Message& message = Submit();
  EXPECT_TRUE(None(message, NoVerdict::kDown));
  EXPECT_THAT(message.request.verdict().text, HasSubstr("ClamMethod: auto"));
  ASSERT_EQ(said_.size(), 1u);
  EXPECT_TRUE(said_[0].first);
  EXPECT_THAT(said_[0].second, HasSubstr("it takes no open files (UNKNOWN COMMAND)"));
  EXPECT_THAT(said_[0].second, HasSubstr("What to do: set ClamMethod"));
  EXPECT_THAT(said_[0].second, Not(HasSubstr("freshclam")));
  Settle(milliseconds(80));
  EXPECT_EQ(fake.connections.size(), 1u) << "it is not asked again at once";
}

// A clamd that was built without FILDES, or another program behind the socket.
TEST_F(CanaryTest, FallsBackToInstream) {
  FakeClamd& fake = AddScanner(Method::kAuto);
  fake.on_scan = [&fake](const FakeClamd::Scan& scan) {
    if (scan.stream()) {
      fake.Reply(scan, IsCanary(scan) ? "stream: Eicar FOUND" : "stream: OK");
    } else {
      fake.Say(scan.connection, std::string_view("UNKNOWN COMMAND\0", 16));
      fake.Close(scan.connection);
    }
  };
  Start();
  EXPECT_TRUE(Clean(Submit()));
  EXPECT_EQ(State(), CanaryState::kFound);
}

TEST_F(CanaryTest, GoesFirstOnEverySession) {
  for (const Method method : {Method::kFildes, Method::kInstream}) {
    FakeClamd& fake = AddScanner(method);
    options_.connections = 2;
    Start();
    Message& message = Submit();
    ASSERT_TRUE(Scans(fake, 2));
    Settle();
    // No mail before the scanner has proven itself.
    EXPECT_EQ(fake.scans.size(), 2u);
    EXPECT_TRUE(IsCanary(fake.scans[0]) && IsCanary(fake.scans[1]));
    EXPECT_FALSE(pool_->up());
    EXPECT_EQ(State(), CanaryState::kPending);
    EXPECT_EQ(Count(0, ScannerCount::kCircuit), static_cast<uint64_t>(Circuit::kHalfOpen));
    const std::string_view shape = method == Method::kFildes ? "fd[9]: " : "stream: ";
    fake.Reply(fake.scans[1], core::Cat(shape, "Eicar-Test-Signature FOUND"));
    ASSERT_TRUE(Scans(fake, 3));
    EXPECT_EQ(fake.scans[2].connection, fake.scans[1].connection);
    EXPECT_TRUE(pool_->up());
    EXPECT_EQ(State(), CanaryState::kFound);
    EXPECT_EQ(Count(0, ScannerCount::kCircuit), static_cast<uint64_t>(Circuit::kClosed));
    fake.ReplyOk(fake.scans[2]);
    EXPECT_TRUE(Clean(message));
    EXPECT_TRUE(said_.empty());
    Forget();
  }
}

TEST_F(CanaryTest, CountsInNothingElse) {
  FakeClamd& fake = AddScanner();
  FindCanaries(fake);
  Start();
  ASSERT_TRUE(Until([&] { return pool_->up(); }));
  EXPECT_EQ(Count(0, ScannerCount::kScans), 0u);
  EXPECT_EQ(Count(0, ScannerCount::kInFlight), 0u);
  EXPECT_EQ(stats_[0]->latency_us.Read().count, 0u);
  EXPECT_EQ(bodies_->bodies_out(), 0u);
}

TEST_F(CanaryTest, OneThatDoesNotFindItGetsNoMailUntilItDoes) {
  FakeClamd& fake = AddScanner();
  bool finds = false;
  fake.on_scan = [&](const FakeClamd::Scan& scan) {
    if (IsCanary(scan)) fake.Reply(scan, finds ? "fd[9]: Eicar FOUND" : "fd[9]: OK");
  };
  Start();
  Message& waiting = Submit();
  EXPECT_TRUE(None(waiting, NoVerdict::kDown));
  EXPECT_THAT(waiting.request.verdict().text, HasSubstr("does not find the test virus"));
  Message& later = Submit();
  EXPECT_TRUE(later.request.done());
  EXPECT_EQ(State(), CanaryState::kMissed);
  EXPECT_FALSE(pool_->up());
  ASSERT_EQ(said_.size(), 1u);
  EXPECT_TRUE(said_[0].first);
  EXPECT_THAT(said_[0].second, HasSubstr("What to do"));
  ASSERT_TRUE(Until([&] { return Canaries(fake) >= 4; }));
  EXPECT_EQ(said_.size(), 1u) << "said once";
  finds = true;
  ASSERT_TRUE(Until([&] { return pool_->up(); }));
  const size_t before = fake.scans.size();
  Message& message = Submit();
  ASSERT_TRUE(Scans(fake, before + 1));
  fake.ReplyOk(fake.scans.back());
  EXPECT_TRUE(Clean(message));
  EXPECT_EQ(said_.size(), 2u);
  EXPECT_FALSE(said_[1].first);
}

TEST_F(CanaryTest, AnErrorIsNoProof) {
  FakeClamd& fake = AddScanner();
  fake.on_scan = [&](const FakeClamd::Scan& scan) { fake.Reply(scan, "fd[9]: Can't allocate memory ERROR"); };
  Start();
  EXPECT_TRUE(None(Submit(), NoVerdict::kDown));
  EXPECT_EQ(State(), CanaryState::kError);
  EXPECT_EQ(Count(0, ScannerCount::kErrors), 0u);
}

TEST_F(CanaryTest, NeitherIsALimit) {
  FakeClamd& fake = AddScanner();
  fake.on_scan = [&](const FakeClamd::Scan& scan) {
    fake.Reply(scan, "fd[9]: Heuristics.Limits.Exceeded.MaxFileSize FOUND");
  };
  Start();
  EXPECT_TRUE(None(Submit(), NoVerdict::kDown));
  EXPECT_EQ(State(), CanaryState::kError);
}

TEST_F(CanaryTest, MailGoesToTheScannerThatFindsIt) {
  FakeClamd& bad = AddScanner();
  FakeClamd& good = AddScanner();
  bad.on_scan = [&bad](const FakeClamd::Scan& scan) { bad.ReplyOk(scan); };
  good.on_scan = [&good](const FakeClamd::Scan& scan) {
    good.Reply(scan, IsCanary(scan) ? "fd[9]: Eicar FOUND" : "fd[9]: OK");
  };
  Start();
  for (int i = 0; i < 20; ++i) {
    Message& message = Submit();
    EXPECT_TRUE(Clean(message));
    EXPECT_EQ(message.request.scanner(), 1);
    Finish(message);
  }
  EXPECT_EQ(bad.scans.size(), Canaries(bad));
  EXPECT_TRUE(pool_->up());
}

TEST_F(CanaryTest, WarnUsesTheScannerAllTheSame) {
  options_.canary = CanaryMode::kWarn;
  FakeClamd& fake = AddScanner();
  fake.on_scan = [&fake](const FakeClamd::Scan& scan) { fake.ReplyOk(scan); };
  Start();
  ASSERT_TRUE(Until([&] { return State() == CanaryState::kMissed; }));
  EXPECT_TRUE(pool_->up());
  EXPECT_TRUE(Clean(Submit()));
  ASSERT_EQ(said_.size(), 1u);
  EXPECT_TRUE(said_[0].first);
}

TEST_F(CanaryTest, GoesAgainAfterAReconnect) {
  FakeClamd& fake = AddScanner();
  FindCanaries(fake);
  Start();
  ASSERT_TRUE(Until([&] { return pool_->up(); }));
  fake.on_scan = {};
  fake.CloseAll();
  ASSERT_TRUE(Scans(fake, 2));
  EXPECT_TRUE(IsCanary(fake.scans[1]));
  Message& message = Submit();
  Settle();
  EXPECT_EQ(fake.scans.size(), 2u);
  EXPECT_FALSE(message.request.done());
  fake.Reply(fake.scans[1], "fd[9]: Eicar FOUND");
  ASSERT_TRUE(Scans(fake, 3));
  fake.ReplyOk(fake.scans[2]);
  EXPECT_TRUE(Clean(message));
}

TEST_F(CanaryTest, GoesAgainEveryHourWhileMailGoesOn) {
  options_.canary_interval = milliseconds(50);
  FakeClamd& fake = AddScanner();
  FindCanaries(fake);
  Start();
  Message& held = Submit();
  ASSERT_TRUE(Until([&] { return Canaries(fake) >= 4; }));
  EXPECT_FALSE(held.request.done());
  EXPECT_TRUE(pool_->up());
}

TEST_F(CanaryTest, GoesAgainWhenTheDatabaseHasChanged) {
  options_.version_interval = milliseconds(20);
  FakeClamd& fake = AddScanner();
  fake.version = "ClamAV 1.4.6/27500/Tue Jan  6 09:00:00 2026";
  FindCanaries(fake);
  Start();
  ASSERT_TRUE(Until([&] { return pool_->up() && fake.version_questions > 3; }));
  EXPECT_EQ(Canaries(fake), 1u);
  EXPECT_EQ(stats_[0]->version.Get(), fake.version);
  Message& held = Submit();  // not asked VERSION on its session: the fake scanner would abort
  fake.version = "ClamAV 1.4.6/27501/Wed Jan  7 09:00:00 2026";
  ASSERT_TRUE(Until([&] { return Canaries(fake) == 2; }));
  EXPECT_EQ(stats_[0]->version.Get(), fake.version);
  EXPECT_FALSE(held.request.done());
}

TEST_F(CanaryTest, AReloadThatLosesTheSignaturesEndsTheMail) {
  options_.version_interval = milliseconds(20);
  options_.connections = 2;
  FakeClamd& fake = AddScanner();
  fake.version = "ClamAV 1.4.6/27500/x";
  bool finds = true;
  fake.on_scan = [&](const FakeClamd::Scan& scan) {
    if (IsCanary(scan)) fake.Reply(scan, finds ? "fd[9]: Eicar FOUND" : "fd[9]: OK");
  };
  Start();
  ASSERT_TRUE(Until([&] { return pool_->up() && stats_[0]->version.Get() == fake.version; }));
  finds = false;
  fake.version = "ClamAV 1.4.6/27501/x";
  ASSERT_TRUE(Until([&] { return State() == CanaryState::kMissed; }));
  EXPECT_TRUE(None(Submit(), NoVerdict::kDown));
}

// A scanner that reloads its database behaves like this.
TEST_F(CanaryTest, GoesAgainWhenAStalledScannerAnswers) {
  options_.ping_interval = milliseconds(200);
  FakeClamd& fake = AddScanner();
  FindCanaries(fake);
  Start();
  ASSERT_TRUE(Until([&] { return pool_->up(); }));
  fake.answers_pings = false;
  ASSERT_TRUE(Until([&] { return fake.unanswered_pings == 1; }));
  Settle(options_.ping_interval + milliseconds(20));
  const size_t before = Canaries(fake);
  fake.answers_pings = true;
  fake.Say(0, core::Cat(fake.connections[0].id, ": PONG", '\0'));
  ASSERT_TRUE(Until([&] { return Canaries(fake) > before; }));
  EXPECT_EQ(fake.connections.size(), 1u) << "on the same session";
}

TEST_F(CanaryTest, ALostDescriptorShowsBeforeAnyMail) {
  FakeClamd& fake = AddScanner(Method::kAuto);
  fake.drops_descriptors = true;
  FindCanaries(fake);
  Start();
  Message& message = Submit();
  ASSERT_TRUE(Scans(fake, 2));
  EXPECT_TRUE(IsCanary(fake.scans[0]) && fake.scans[0].stream());
  EXPECT_TRUE(fake.scans[1].stream());
  fake.ReplyOk(fake.scans[1]);
  EXPECT_TRUE(Clean(message));
  EXPECT_EQ(message.request.verdict().text, "");
}

TEST_F(CanaryTest, StopsWithOneOutstanding) {
  FakeClamd& fake = AddScanner();
  Start();
  ASSERT_TRUE(Scans(fake, 1));
  Message& message = Submit();
  StopThePool();
  EXPECT_TRUE(None(message, NoVerdict::kDown));
  EXPECT_EQ(bodies_->bodies_out(), 1u) << "the message's";
}

// --- "OK" that is not believed.

class DisbeliefTest : public PoolFixture {};

// Behind a front of one line the canary would pass for an archive or a disk image. So if the front becomes
// too short again, somebody notices.
TEST(CanaryContent, HoldsMagicsThatOnlyALongFrontMakesHarmless) {
  const std::string& content = CanaryContent();
  EXPECT_TRUE(content.starts_with(kCanaryMark));
  for (const size_t front : {64, 128, 192}) {
    EXPECT_EQ(content.substr(257 - front, 5), "ustar") << front;
  }
  for (const size_t front : {64, 128, 192, 256}) {
    EXPECT_EQ(content.substr(512 - front, 8), "EFI PART") << front;
  }
  EXPECT_GT(kFrontBytesMin, 1024u);
}

TEST_F(DisbeliefTest, LargerThanMaxFileSizeIsNotClean) {
  FakeClamd& fake = AddScanner();
  options_.scanners[0].limits.file_bytes_max = kFrontBytes + 1000;
  fake.on_scan = [&fake](const FakeClamd::Scan& scan) { fake.ReplyOk(scan); };
  Start();
  EXPECT_TRUE(Clean(Submit(std::string(1000, 'x'))));
  Message& large = Submit(std::string(1001, 'x'));
  EXPECT_TRUE(None(large, NoVerdict::kSize));
  EXPECT_THAT(large.request.verdict().text, HasSubstr("MaxFileSize"));
}

TEST_F(DisbeliefTest, WhatIsFoundInItIsStillAVirus) {
  FakeClamd& fake = AddScanner();
  options_.scanners[0].limits.file_bytes_max = 100;
  fake.on_scan = [&fake](const FakeClamd::Scan& scan) { fake.Reply(scan, "fd[9]: Worm FOUND"); };
  Start();
  Message& large = Submit(std::string(1001, 'x'));
  ASSERT_TRUE(Done(large));
  EXPECT_EQ(large.request.verdict().kind, VerdictKind::kInfected);
}

TEST_F(DisbeliefTest, AsLongAsMaxScanTimeIsNotClean) {
  FakeClamd& fake = AddScanner();
  options_.scanners[0].limits.scan_time_max = milliseconds(100);
  Start();
  Message& quick = Submit();
  ASSERT_TRUE(Scans(fake, 1));
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(quick));
  Message& slow = Submit();
  ASSERT_TRUE(Scans(fake, 2));
  Settle(milliseconds(110));
  fake.ReplyOk(fake.scans[1]);
  EXPECT_TRUE(None(slow, NoVerdict::kTimeout)) << "it may pass next time";
}

TEST_F(DisbeliefTest, MoreThanStreamMaxLengthIsNotEvenSent) {
  FakeClamd& fake = AddScanner(Method::kInstream);
  options_.scanners[0].limits.stream_bytes_max = kFrontBytes + 1000;
  Start();
  EXPECT_TRUE(None(Submit(std::string(5000, 'x')), NoVerdict::kSize));
  Message& small = Submit();
  ASSERT_TRUE(Scans(fake, 1));
  fake.ReplyOk(fake.scans[0]);
  EXPECT_TRUE(Clean(small));
  EXPECT_EQ(fake.connections.size(), 1u);
}

}  // namespace
}  // namespace bivalve::scan
