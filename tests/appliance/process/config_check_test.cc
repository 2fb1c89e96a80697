#include "appliance/process/config_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ifaddrs.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "core/fd.h"
#include "core/text.h"
#include "net/address.h"

namespace bivalve::appliance {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class CheckSurroundings : public testing::Test {
 protected:
  CheckSurroundings() {
    std::string name = (std::filesystem::temp_directory_path() / "config_check_test.XXXXXX").string();
    directory_ = mkdtemp(name.data());
    chmod(directory_.c_str(), 0755);
  }
  ~CheckSurroundings() override { std::filesystem::remove_all(directory_); }

  // The problems, warnings marked, of these lines in x.conf.
  static std::vector<std::string> Problems(std::string_view text, std::span<const Override> overrides = {},
                                           const Situation& situation = {}) {
    const Parsed parsed = ParseConfig(text, "x.conf", ProgramName::kBivalved, overrides);
    EXPECT_TRUE(parsed.ok()) << text;
    std::vector<std::string> out;
    for (const Problem& problem : appliance::CheckSurroundings(parsed, "x.conf", situation))
      out.push_back((problem.kind == Problem::Kind::kWarning ? "warning: " : "") + ToString(problem));
    return out;
  }
  // The problems of one line behind a sufficient configuration.
  std::vector<std::string> Line(std::string_view line) const {
    return Problems(core::Cat("OutAddress: 192.0.2.1:25\nTempDirectory: ", directory_, "\n", line, "\n"));
  }

  std::string directory_;
};

TEST_F(CheckSurroundings, HasNothingAgainstWhatFits) {
  EXPECT_THAT(Line(core::Cat("PidFile: ", directory_, "/pid")), IsEmpty());
  EXPECT_THAT(Line("StatsAddress:"), IsEmpty());
}

TEST_F(CheckSurroundings, KnowsUsers) {
  EXPECT_THAT(Line("User: no-such-user"), ElementsAre("x.conf:3: User: there is no user 'no-such-user'"));
  EXPECT_THAT(Line("User: root"), IsEmpty());
  chmod(directory_.c_str(), 0777);
  EXPECT_THAT(Line("User: 4711"), IsEmpty());
}

TEST_F(CheckSurroundings, WarnsOfAScannerUnderOurOwnUser) {
  const std::string path = directory_ + "/clamd.ctl";
  const std::string line = core::Cat("ClamAddress: ", path);
  EXPECT_THAT(Line(line), IsEmpty()) << "nobody listens";
  const core::UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  std::copy(path.begin(), path.end(), address.sun_path);
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener.get(), 8), 0);
  EXPECT_THAT(Line(line), ElementsAre(AllOf(HasSubstr("warning: x.conf:3: ClamAddress: the scanner"),
                                            HasSubstr("own user"))));
  chmod(directory_.c_str(), 0777);
  EXPECT_THAT(Line(core::Cat(line, "\nUser: 4711")), IsEmpty());
}

TEST_F(CheckSurroundings, LooksAtDirectories) {
  std::ofstream(directory_ + "/file") << "x";
  EXPECT_THAT(Line(core::Cat("PidFile: ", directory_, "/none/pid")),
              ElementsAre(core::Cat("x.conf:3: PidFile: the directory '", directory_,
                                    "/none': No such file or directory")));
  EXPECT_THAT(Line(core::Cat("PidFile: ", directory_, "/file/pid")),
              ElementsAre(core::Cat("x.conf:3: PidFile: '", directory_, "/file' is no directory")));
  EXPECT_THAT(Line(core::Cat("PidFile: ", directory_)),
              ElementsAre(core::Cat("x.conf:3: PidFile: '", directory_, "' exists and is no file")));
  chmod(directory_.c_str(), 0777);
  EXPECT_THAT(Line(core::Cat("PidFile: ", directory_, "/pid")),
              ElementsAre(HasSubstr("x.conf:3: PidFile: others may write to the directory '")));
  chmod(directory_.c_str(), 0755);
  EXPECT_THAT(
      Problems("OutAddress: 192.0.2.1\nTempDirectory: /no/such/place"),
      ElementsAre(HasSubstr("x.conf:2: TempDirectory: the directory '/no/such/place': No such file")));
}

// Root may write everywhere; the user that the program becomes is the one that counts.
TEST_F(CheckSurroundings, LooksAtDirectoriesWithTheUsersEyes) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  EXPECT_THAT(Line("User: nobody"),
              ElementsAre(core::Cat("x.conf:2: TempDirectory: the directory '", directory_,
                                    "' cannot be written to by user 'nobody': Permission denied")));
  chmod(directory_.c_str(), 0777);
  EXPECT_THAT(Line("User: nobody"), IsEmpty());
  // The PID file is written while the process is still root.
  chmod(directory_.c_str(), 0755);
  EXPECT_EQ(Line(core::Cat("User: nobody\nPidFile: ", directory_, "/pid")).size(), 1u);
}

TEST_F(CheckSurroundings, FindsItselfWhereOthersAreMeant) {
  const auto problem = [this](std::string_view lines) {
    const auto problems = Problems(core::Cat("TempDirectory: ", directory_, "\n", lines, "\n"));
    return problems.empty() ? "" : problems.size() == 1 ? problems[0] : "several";
  };
  EXPECT_EQ(problem("Listen: 10025\nOutAddress: 127.0.0.1:10025"),
            "x.conf:3: OutAddress: '127.0.0.1:10025' is where this program itself listens (Listen): mail "
            "would come "
            "back here for ever");
  EXPECT_EQ(problem("OutAddress: 192.0.2.1\nOutAddress: [::1]:10025"),
            "x.conf:3: OutAddress: '[::1]:10025' is where this program itself listens (Listen): mail would "
            "come back "
            "here for ever");
  EXPECT_THAT(problem("OutAddress: localhost:10025"), HasSubstr("itself listens"));
  EXPECT_THAT(problem("OutAddress: 10025"),
              HasSubstr("warning: x.conf:2: OutAddress: '10025' is this program's own port"));
  EXPECT_THAT(problem("Listen: 192.0.2.9:25\nOutAddress: 192.0.2.9:25"), HasSubstr("itself listens"));
  EXPECT_EQ(problem("Listen: 192.0.2.9:25\nOutAddress: 192.0.2.1:25"), "");
  EXPECT_EQ(problem("Listen: 10025\nOutAddress: 192.0.2.1:10025"), "");
  EXPECT_EQ(problem("Listen: 127.0.0.1:10025\nOutAddress: 127.0.0.2:10025"), "");
  EXPECT_EQ(problem("TransparentProxy: on\nOutAddress: 127.0.0.1:10025"), "");
  EXPECT_THAT(problem("Listen: /run/b.sock\nOutAddress: 192.0.2.1\nClamAddress: /run/b.sock"),
              HasSubstr("ClamAddress"));
  EXPECT_THAT(problem("OutAddress: 192.0.2.1\nClamAddress: 10025"), HasSubstr("there is no scanner"));
  EXPECT_THAT(problem("OutAddress: 192.0.2.1\nStatsAddress: 10025"), HasSubstr("mail is accepted there"));
}

// A listener on all addresses is reached by each address of the machine.
TEST_F(CheckSurroundings, KnowsTheAddressesOfTheMachine) {
  std::vector<std::string> hosts = {"127.0.0.1", "127.0.0.2", "0.0.0.0"};
  ifaddrs* list = nullptr;
  ASSERT_EQ(getifaddrs(&list), 0);
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owned(list, freeifaddrs);
  for (const ifaddrs* one = list; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr != nullptr && one->ifa_addr->sa_family == AF_INET)
      hosts.push_back(net::SocketAddress::FromRaw(one->ifa_addr, sizeof(sockaddr_in)).Host());
  }
  for (const std::string& host : hosts) {
    EXPECT_THAT(Problems(core::Cat("TempDirectory: ", directory_,
                                   "\nListen: 0.0.0.0:10025\nOutAddress: ", host, ":10025\n")),
                ElementsAre(HasSubstr("itself listens")))
        << host;
  }
}

// clamsmtpd.conf may have Listen on the port that StatsAddress uses by default.
TEST_F(CheckSurroundings, LetsTheDefaultStatsAddressGiveWay) {
  const std::string lines =
      core::Cat("OutAddress: 192.0.2.1\nTempDirectory: ", directory_, "\nListen: 10027\n");
  EXPECT_THAT(
      Problems(lines),
      ElementsAre(HasSubstr("warning: x.conf: StatsAddress: '127.0.0.1:10027' is where this program")));
  EXPECT_THAT(Problems(lines + "StatsAddress: 127.0.0.1:10027\n"),
              ElementsAre(HasSubstr("x.conf:4: StatsAddress: '127.0.0.1:10027' is where this program")));
}

TEST_F(CheckSurroundings, KnowsNoListenWhereAServiceManagerListens) {
  const std::string lines = core::Cat("OutAddress: 127.0.0.1:10025\nTempDirectory: ", directory_);
  EXPECT_EQ(Problems(lines).size(), 1u);
  EXPECT_THAT(Problems(lines, {}, {.stage = Situation::Stage::kStart, .listen_is_void = true}), IsEmpty());
}

// They were used at the start, and may now be hidden from the user that the process has become.
TEST_F(CheckSurroundings, LooksNotAgainAtTheUserThatARunningProcessHas) {
  const std::string lines = core::Cat("OutAddress: 192.0.2.1\nTempDirectory: ", directory_,
                                      "\nUser: no-such-user\nPidFile: /no/such/place/pid\n");
  const Config running = ParseConfig(lines, "x.conf", ProgramName::kBivalved).config;
  Config other = running;
  other.user = other.pid_file = "other";
  const auto reload = [&lines](const Config& in_force) {
    return Problems(lines, {}, {.stage = Situation::Stage::kReload, .in_force = &in_force});
  };
  EXPECT_THAT(reload(running), IsEmpty());
  EXPECT_THAT(reload(other), ElementsAre(HasSubstr(":3: User: "), HasSubstr(":4: PidFile: ")));
}

TEST_F(CheckSurroundings, NamesTheCommandLine) {
  const std::vector<Override> overrides = {{.setting = "PidFile", .value = "/no/such/place/pid"}};
  EXPECT_THAT(Problems(core::Cat("OutAddress: 192.0.2.1\nTempDirectory: ", directory_), overrides),
              ElementsAre(HasSubstr("command line: PidFile: the directory '/no/such/place'")));
}

}  // namespace
}  // namespace bivalve::appliance
