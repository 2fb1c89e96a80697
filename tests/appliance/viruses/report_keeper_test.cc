// What becomes of a report: the files, the record, the command, what the log says, and when it is done with.
#include "appliance/viruses/report_keeper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "core/scope.h"
#include "core/text.h"
#include "tests/appliance/log/captured_stderr.h"
#include "tests/sim/sim_io.h"

namespace bivalve::appliance {
namespace {

namespace fs = std::filesystem;
using core::Cat;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using testing::UnorderedElementsAre;

constexpr std::chrono::seconds kPatience{20};
constexpr std::string_view kText = "Subject: x\r\n\r\nvirus\r\n";

class ReportKeeperTest : public testing::Test {
 protected:
  ReportKeeperTest() {
    std::string name = fs::temp_directory_path() / "report_keeper.XXXXXX";
    directory_ = mkdtemp(name.data());
    Start({.temp_directory = directory_, .virus_action = ""});
  }
  ~ReportKeeperTest() override { fs::remove_all(directory_); }

  void Start(ReportKeeper::Settings settings) {
    ReportKeeper::Callbacks callbacks = {
        .scanner_version = [](std::string_view scanner) { return Cat("version of ", scanner); },
        .done = [this] { ++done_; }};
    keeper_ = std::make_unique<ReportKeeper>(loop_, log_, outlet_, std::move(settings), "debug.",
                                             std::move(callbacks));
  }

  // A report about a message that is to be kept, as a worker makes it.
  static VirusReport WithBody() {
    VirusReport report;
    report.session = 0x100000;
    report.virus = "Eicar";
    report.scanner = "/run/clamd";
    report.body.Reset(memfd_create("content", MFD_CLOEXEC));
    EXPECT_EQ(write(report.body.get(), kText.data(), kText.size()), static_cast<ssize_t>(kText.size()));
    report.content_bytes = kText.size();
    return report;
  }
  static VirusReport Infected() {
    VirusReport report = WithBody();
    report.quarantine = true;
    return report;
  }

  // Deals with all that was sent.
  void Run() {
    const int before = done_;
    core::Scope scope(loop_);
    scope.Spawn(keeper_->Run());
    EXPECT_TRUE(io_.Run(loop_, [&] { return done_ - before == sent_; }));
    sent_ = 0;
    keeper_->Stop();
    EXPECT_TRUE(io_.Run(loop_, [&] { return scope.running() == 0; }));
  }
  void Send(VirusReport report) {
    EXPECT_TRUE(outlet_.Send(std::move(report)));
    ++sent_;
  }
  std::string Log() {
    sink_.FlushBlocking();
    return captured_.Text();
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& item : fs::directory_iterator(directory_)) names.push_back(item.path().filename());
    return names;
  }
  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  template <typename Condition>
  static bool Wait(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }

  CapturedStderr captured_;
  sim::SimIo io_{1};
  core::Loop loop_{io_};
  std::string directory_;
  LogSink sink_{"x", true, Severity::kDebug};
  EventLog::Reader reader_;
  LogWriter log_{loop_, sink_, reader_};
  // Two messages of kText at once are one too many.
  ReportOutlet outlet_{kText.size() + 1,
                       [this](std::shared_ptr<VirusReport> report) { keeper_->Add(std::move(report)); }};
  std::unique_ptr<ReportKeeper> keeper_;
  int sent_ = 0;
  int done_ = 0;
};

TEST_F(ReportKeeperTest, KeepsAMessageAndItsRecord) {
  Send(Infected());
  Run();
  ASSERT_THAT(Names(),
              UnorderedElementsAre(MatchesRegex("virus\\.\\w{6}"), MatchesRegex("virus\\.\\w{6}\\.json")));
  for (const std::string& name : Names()) {
    const std::string text = Read(Cat(directory_, "/", name));
    if (!name.ends_with(kRecordSuffix)) {
      EXPECT_EQ(text, kText);
      EXPECT_EQ(Log(), Cat("x: 100000: message kept as: ", directory_, "/", name, "\n"));
      continue;
    }
    const auto record = ParseQuarantineRecord(text);
    ASSERT_TRUE(record.ok()) << record.status();
    EXPECT_EQ(record->id, name.substr(0, name.size() - kRecordSuffix.size()));
    EXPECT_EQ(record->scanner_version, "version of /run/clamd");
  }
  EXPECT_EQ(outlet_.waiting(), 0u);
  EXPECT_EQ(outlet_.not_kept(), 0u);
}

TEST_F(ReportKeeperTest, GivesTheMemoryOfAMessageBack) {
  Send(Infected());
  EXPECT_FALSE(outlet_.Send(Infected()));
  Run();
  EXPECT_TRUE(outlet_.Send(Infected()));
}

TEST_F(ReportKeeperTest, ADebugFileHasNoRecord) {
  VirusReport report = WithBody();
  report.debug = true;
  Send(std::move(report));
  Run();
  EXPECT_THAT(Names(), ElementsAre(MatchesRegex("debug\\.\\w{6}")));
}

TEST_F(ReportKeeperTest, TellsTheCommandTheName) {
  Start({.temp_directory = directory_,
         .virus_action = "echo $EMAIL >$TMPDIR/part; mv $TMPDIR/part $TMPDIR/ran"});
  VirusReport report = Infected();
  report.act = true;
  Send(std::move(report));
  Run();
  EXPECT_EQ(outlet_.waiting(), 0u);
  const std::string ran = Cat(directory_, "/ran");
  ASSERT_TRUE(Wait([&] { return fs::exists(ran); }));
  std::string path = Read(ran);
  path.pop_back();
  EXPECT_EQ(Read(path), kText);
  EXPECT_THAT(Log(), HasSubstr("x: 100000: executing virus action\n"));
}

TEST_F(ReportKeeperTest, CountsWhatItCannotKeepAndRunsTheCommand) {
  Start({.temp_directory = "/no/such/directory",
         .virus_action =
             Cat("echo \"<$EMAIL>\" >", directory_, "/part; mv ", directory_, "/part ", directory_, "/ran")});
  VirusReport report = Infected();
  report.act = true;
  Send(std::move(report));
  Run();
  EXPECT_EQ(outlet_.not_kept(), 1u);
  EXPECT_EQ(outlet_.waiting(), 0u);
  EXPECT_THAT(Log(),
              HasSubstr("x: 100000: the message is not kept: cannot make a file in /no/such/directory: "));
  const std::string ran = Cat(directory_, "/ran");
  ASSERT_TRUE(Wait([&] { return fs::exists(ran); }));
  EXPECT_EQ(Read(ran), "<>\n");
}

// Ends with the directory too, and by itself if the test was killed.
constexpr char kUntilGo[] =
    "n=0; while [ -d $TMPDIR ] && [ ! -e $TMPDIR/go ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n + 1)); done";

// The end of the process waits for reports, so one whose command has not begun is not done with.
TEST_F(ReportKeeperTest, AReportWhoseCommandWaitsIsNotDoneWith) {
  Start({.temp_directory = directory_, .virus_action = kUntilGo});
  for (size_t i = 0; i < VirusActions::kRunningMax + 2; ++i) {
    VirusReport report;
    report.act = true;
    Send(std::move(report));
  }
  Run();
  EXPECT_EQ(outlet_.waiting(), 2u);
  std::ofstream(Cat(directory_, "/go")) << "x";
  const int before = done_;
  EXPECT_TRUE(Wait([&] {
    keeper_->Reap();
    return outlet_.waiting() == 0;
  }));
  EXPECT_GT(done_, before);
}

TEST_F(ReportKeeperTest, OtherSettingsHoldForLaterReports) {
  const std::string other = Cat(directory_, "/other");
  fs::create_directory(other);
  keeper_->Change(
      {.temp_directory = other, .virus_action = "echo $TMPDIR >$TMPDIR/part; mv $TMPDIR/part $TMPDIR/ran"});
  VirusReport report = WithBody();
  report.debug = true;
  report.act = true;
  Send(std::move(report));
  Run();
  EXPECT_THAT(Names(), ElementsAre("other"));
  const std::string ran = Cat(other, "/ran");
  ASSERT_TRUE(Wait([&] { return fs::exists(ran); }));
  EXPECT_EQ(Read(ran), Cat(other, "\n"));
}

TEST_F(ReportKeeperTest, LeavesWhatComesBehindItsEnd) {
  keeper_->Stop();
  EXPECT_TRUE(outlet_.Send(Infected()));
  Run();
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_EQ(outlet_.waiting(), 1u);
}

TEST_F(ReportKeeperTest, SaysHowManyLeftoversItRemoved) {
  for (const std::string_view name : {".virus.aB3dE5.new", ".debug.aB3dE5.new", ".other.aB3dE5.new"})
    std::ofstream(Cat(directory_, "/", name)) << "x";
  keeper_->RemoveLeftovers();
  EXPECT_THAT(Names(), ElementsAre(".other.aB3dE5.new"));
  EXPECT_EQ(Log(), Cat("x: removed 2 unfinished files from ", directory_, "\n"));
  keeper_->RemoveLeftovers();
  EXPECT_EQ(Log(), Cat("x: removed 2 unfinished files from ", directory_, "\n"));
}

TEST(RecordOf, HasTheEnvelopeAndTheName) {
  VirusReport report;
  report.session = 0x10002f;
  report.recipients = {{.path = "a@b"}, {.path = "c@d", .parameters = "NOTIFY=NEVER"}};
  report.content_bytes = 7;
  const QuarantineRecord record = RecordOf(report, {.path = "/tmp/virus.aB3dE5"});
  EXPECT_EQ(record.id, "virus.aB3dE5");
  EXPECT_EQ(record.session, "10002f");
  EXPECT_EQ(record.recipients, report.recipients);
  EXPECT_EQ(record.size_bytes, 7u);
  EXPECT_EQ(record.sha256, std::string(64, '0'));
}

}  // namespace
}  // namespace bivalve::appliance
