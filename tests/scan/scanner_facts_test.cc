#include "scan/scanner_facts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "core/fd.h"

namespace bivalve::scan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class ScannerFactsTest : public testing::Test {
 protected:
  ScannerFactsTest() {
    std::string name = (std::filesystem::temp_directory_path() / "scanner_facts_test.XXXXXX").string();
    directory_ = mkdtemp(name.data());
    path_ = directory_ + "/clamd.ctl";
  }
  ~ScannerFactsTest() override { std::filesystem::remove_all(directory_); }

  void Listen() {
    listener_.Reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    ASSERT_LT(path_.size(), sizeof(address.sun_path));
    std::memcpy(address.sun_path, path_.data(), path_.size());
    ASSERT_EQ(bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(listen(listener_.get(), 1), 0);
  }

  std::string directory_;
  std::string path_;
  core::UniqueFd listener_;
};

TEST_F(ScannerFactsTest, KnowsWhoListens) {
  EXPECT_EQ(ListeningUser(path_), std::nullopt);
  Listen();
  EXPECT_EQ(ListeningUser(path_), geteuid());
  listener_.Reset();
  EXPECT_EQ(ListeningUser(path_), std::nullopt) << "the file is there, and nobody behind it";
  EXPECT_EQ(ListeningUser(std::string(200, 'x')), std::nullopt);
}

TEST_F(ScannerFactsTest, DoesNotWaitForOneThatAcceptsNothing) {
  Listen();
  // More connections than the scanner's queue holds.
  for (int i = 0; i < 4; ++i) (void)ListeningUser(path_);
  SUCCEED();
}

constexpr uid_t kUs = 101;

ScannerFacts Facts(bool limits_known, std::optional<uid_t> user) {
  ScannerFacts facts{.limits_read = true, .limits = {}, .user = user};
  facts.limits.known = limits_known;
  return facts;
}

TEST(ScannerWarnings, SayWhatIsTrueOnce) {
  EXPECT_THAT(ScannerWarnings("a", {}, {}, kUs), IsEmpty()) << "nobody has looked yet";
  EXPECT_THAT(ScannerWarnings("a", {}, Facts(true, 7), kUs), IsEmpty());
  EXPECT_THAT(ScannerWarnings("a", {}, Facts(true, std::nullopt), kUs), IsEmpty());
  EXPECT_THAT(
      ScannerWarnings("a", {}, Facts(false, kUs), kUs),
      ElementsAre(HasSubstr("scanner a: its limits are not known"), HasSubstr("scanner a: it runs as")));
  EXPECT_THAT(ScannerWarnings("a", Facts(false, kUs), Facts(false, kUs), kUs), IsEmpty());
  EXPECT_THAT(ScannerWarnings("a", Facts(true, 7), Facts(false, 7), kUs), ElementsAre(HasSubstr("limits")));
  EXPECT_THAT(ScannerWarnings("a", Facts(true, 7), Facts(true, kUs), kUs), ElementsAre(HasSubstr("runs as")));
}

}  // namespace
}  // namespace bivalve::scan
