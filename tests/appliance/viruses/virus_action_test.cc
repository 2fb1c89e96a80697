#include "appliance/viruses/virus_action.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

namespace bivalve::appliance {
namespace {

using testing::UnorderedElementsAre;

constexpr std::chrono::seconds kPatience{20};

TEST(ActionEnvironment, HasWhatIsKnownAndAPath) {
  VirusReport report;
  report.virus = "Eicar";
  report.client = "192.0.2.7";
  report.sender = "a\nb";
  report.recipients = {{.path = "c", .parameters = "NOTIFY=NEVER"}, {.path = "d"}};
  EXPECT_THAT(ActionEnvironment(report, "", "/tmp"),
              UnorderedElementsAre("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                   "CLIENT=192.0.2.7", "RECIPIENTS=c\nd", "SENDER=a\nb", "TMPDIR=/tmp",
                                   "VIRUS=Eicar"));
}

// Linux allows 128 KiB for one variable, and does not start a command with a longer one.
TEST(ActionEnvironment, NamesAsManyRecipientsAsFit) {
  VirusReport report;
  for (int i = 0; i < 2000; ++i) report.recipients.push_back({.path = std::string(99, 'r')});
  for (const std::string& variable : ActionEnvironment(report, "", "")) {
    if (!variable.starts_with("RECIPIENTS=")) continue;
    EXPECT_EQ(variable.size(), 11 + size_t{1024} * 100 - 1);
    EXPECT_TRUE(variable.ends_with(std::string(99, 'r')));
    return;
  }
  FAIL() << "there is no such variable";
}

TEST(ActionEnvironment, EndsAValueAtANul) {
  VirusReport report;
  report.sender = std::string("a\0PATH=/x", 9);
  EXPECT_THAT(ActionEnvironment(report, "", ""), testing::Contains("SENDER=a"));
}

// Real commands.
class VirusActionsRun : public testing::Test {
 protected:
  VirusActionsRun() {
    char name[] = "/tmp/bivalve-action.XXXXXX";
    directory_ = mkdtemp(name);
  }
  ~VirusActionsRun() override { (void)!std::system(("rm -rf " + directory_).c_str()); }

  std::string Path(const std::string& name) const { return directory_ + "/" + name; }
  static std::string Text(const std::string& path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  template <typename Condition>
  static bool WaitUntil(VirusActions& actions, Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      EXPECT_TRUE(actions.Reap().ok());
    }
    return true;
  }

  std::string directory_;
};

TEST_F(VirusActionsRun, GivesTheCommandItsEnvironmentAndNothingElse) {
  setenv("BIVALVE_LEAK", "1", 1);
  const int leaked = dup(STDERR_FILENO);  // not close-on-exec
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  VirusActions actions("env > " + Path("env") + "; ls /proc/self/fd > " + Path("fds") +
                       "; grep SigBlk /proc/self/status > " + Path("signals"));
  EXPECT_TRUE(actions.Add({"A=$(touch " + Path("trap") + ")", "PATH=/usr/bin:/bin"}).ok());
  EXPECT_TRUE(WaitUntil(actions, [&] { return actions.running() == 0; }));
  pthread_sigmask(SIG_UNBLOCK, &blocked, nullptr);
  close(leaked);
  const std::string environment = Text(Path("env"));
  EXPECT_NE(environment.find("A=$(touch"), std::string::npos);
  EXPECT_EQ(environment.find("BIVALVE_LEAK"), std::string::npos);
  EXPECT_NE(access(Path("trap").c_str(), F_OK), 0);
  // 3 is the directory that ls reads.
  EXPECT_EQ(Text(Path("fds")), "0\n1\n2\n3\n");
  EXPECT_EQ(Text(Path("signals")), "SigBlk:\t0000000000000000\n");
}

TEST_F(VirusActionsRun, RunsOnlySoManyAtOnce) {
  VirusActions actions("echo $N >> " + Path("started") + "; while [ ! -e " + Path("gate") +
                       " ]; do sleep 0.02; done");
  constexpr size_t kCount = VirusActions::kRunningMax + 5;
  for (size_t i = 0; i < kCount; ++i) {
    EXPECT_TRUE(actions.Add({"N=" + std::to_string(i), "PATH=/usr/bin:/bin"}).ok());
  }
  EXPECT_EQ(actions.running(), VirusActions::kRunningMax);
  EXPECT_EQ(actions.waiting(), 5u);
  std::ofstream(Path("gate")) << "open";
  EXPECT_TRUE(WaitUntil(actions, [&] { return actions.running() + actions.waiting() == 0; }));
  const std::string started = Text(Path("started"));
  EXPECT_EQ(std::count(started.begin(), started.end(), '\n'), static_cast<ptrdiff_t>(kCount));
}

TEST_F(VirusActionsRun, SaysWhenItCannotStart) {
  VirusActions actions("true");
  // Linux allows 128 KiB for one variable.
  EXPECT_FALSE(actions.Add({"A=" + std::string(200000, 'x')}).ok());
  EXPECT_EQ(actions.running() + actions.waiting(), 0u);
}

}  // namespace
}  // namespace bivalve::appliance
