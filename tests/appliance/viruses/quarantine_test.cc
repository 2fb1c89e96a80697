// Files of the quarantine, while others look at them during writing.
#include "appliance/viruses/quarantine.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "appliance/viruses/quarantine_record.h"
#include "core/fd.h"
#include "core/scope.h"
#include "core/text.h"
#include "tests/core/run_task.h"
#include "tests/sim/sim_io.h"

namespace bivalve::appliance {
namespace {

namespace fs = std::filesystem;
using core::Cat;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using testing::UnorderedElementsAreArray;

constexpr size_t kBytes = 3'000'000;

// The parameter: whether unnamed files are available.
class QuarantineTest : public testing::TestWithParam<bool> {
 protected:
  QuarantineTest() : io_(1), loop_(io_) {
    std::string name = fs::temp_directory_path() / "quarantine.XXXXXX";
    directory_ = mkdtemp(name.data());
    quarantine_ = std::make_unique<Quarantine>(loop_, directory_);
    if (!GetParam()) quarantine_->ForgoUnnamedFiles();
    content_.Reset(memfd_create("content", MFD_CLOEXEC));
    for (size_t i = 0; i < kBytes; ++i) text_ += static_cast<char>('a' + i * i % 23);
    EXPECT_EQ(write(content_.get(), text_.data(), text_.size()), static_cast<ssize_t>(kBytes));
  }
  ~QuarantineTest() override { fs::remove_all(directory_); }

  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& item : fs::directory_iterator(directory_)) names.push_back(item.path().filename());
    return names;
  }
  std::string Path(std::string_view name) const { return Cat(directory_, "/", name); }
  void Put(std::string_view name, std::string_view text = "x") const { std::ofstream(Path(name)) << text; }
  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  Quarantine::Content Whole() const { return {.fd = content_.get(), .offset = 0, .bytes = kBytes}; }

  // Keeps a message and calls `look` on the directory between all steps.
  template <typename Look>
  Quarantine::Kept KeepAndLook(Look look) {
    absl::StatusOr<Quarantine::Kept> kept = absl::UnknownError("");
    core::Scope scope(loop_);
    scope.Spawn(core::StoreResult(quarantine_->Keep(Whole(), kQuarantinePrefix), kept));
    while (scope.running() > 0) {
      look();
      loop_.Turn();
    }
    EXPECT_TRUE(kept.ok()) << kept.status();
    return kept.ok() ? *kept : Quarantine::Kept();
  }

  sim::SimIo io_;
  core::Loop loop_;
  std::string directory_;
  std::unique_ptr<Quarantine> quarantine_;
  core::UniqueFd content_;
  std::string text_;
};

INSTANTIATE_TEST_SUITE_P(Files, QuarantineTest, testing::Bool(),
                         [](const auto& unnamed) { return unnamed.param ? "Unnamed" : "Named"; });

TEST_P(QuarantineTest, GivesAFileItsNameWhenItIsWhole) {
  int looks = 0;
  const Quarantine::Kept kept = KeepAndLook([&] {
    for (const std::string& name : Names()) {
      if (GetParam()) {
        EXPECT_EQ(name, "") << "a file that is written has a name";
      } else if (!name.starts_with('.')) {
        EXPECT_EQ(fs::file_size(Path(name)), kBytes);
      } else {
        EXPECT_THAT(name, MatchesRegex("\\.virus\\.......\\.new"));
        ++looks;
      }
    }
  });
  if (!GetParam()) {
    EXPECT_GT(looks, 10);
  }
  EXPECT_THAT(Names(), ElementsAre(fs::path(kept.path).filename().string()));
  EXPECT_TRUE(Read(kept.path) == text_);
  struct stat info = {};
  ASSERT_EQ(stat(kept.path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  EXPECT_EQ(info.st_nlink, 1u);
}

TEST_P(QuarantineTest, NeverReplacesAFile) {
  Put("virus.AAAAAA.json", "another one");
  const absl::Status status =
      core::RunTask(loop_, quarantine_->KeepRecord(Path("virus.AAAAAA"), "{\"id\": 1}"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("virus.AAAAAA.json: File exists"));
  EXPECT_THAT(Names(), ElementsAre("virus.AAAAAA.json"));
  EXPECT_EQ(Read(Path("virus.AAAAAA.json")), "another one");
  EXPECT_TRUE(core::RunTask(loop_, quarantine_->KeepRecord(Path("virus.BBBBBB"), "{}")).ok());
  EXPECT_EQ(Read(Path("virus.BBBBBB.json")), "{}");
}

TEST_P(QuarantineTest, LeavesNothingOfAFileThatCannotBeWritten) {
  Quarantine::Content longer = Whole();
  longer.bytes += 1;
  absl::StatusOr<Quarantine::Kept> kept = absl::UnknownError("");
  core::Scope scope(loop_);
  scope.Spawn(core::StoreResult(quarantine_->Keep(longer, kQuarantinePrefix), kept));
  while (scope.running() > 0) loop_.Turn();
  EXPECT_THAT(std::string(kept.status().message()), HasSubstr("shorter than it was"));
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_P(QuarantineTest, SaysThatTheDirectoryIsGone) {
  fs::remove_all(directory_);
  absl::StatusOr<Quarantine::Kept> kept = absl::UnknownError("");
  core::Scope scope(loop_);
  scope.Spawn(core::StoreResult(quarantine_->Keep(Whole(), kQuarantinePrefix), kept));
  while (scope.running() > 0) loop_.Turn();
  EXPECT_THAT(std::string(kept.status().message()), HasSubstr("No such file or directory"));
}

// The next start removes what a killed process has left, and keeps what another process is writing.
TEST_P(QuarantineTest, RemovesOnlyWhatACrashHasLeft) {
  Put(".virus.AAAAAA.new");
  Put(".virus.BBBBBB.json.new");
  Put(".bivalved.CCCCCC.new");
  const std::vector<std::string> others = {
      "virus.AAAAAA",          "virus.AAAAAA.json",  "virus.AAAAAA.json.new", ".virus.AAAAAA",
      ".virus.AAAAA.new",      ".virus.AAAAAAA.new", ".virus.AAAA-A.new",     ".other.AAAAAA.new",
      ".virus.AAAAAA.new.new", ".virus.AAAAAA.old",  ".clamsmtpd.DDDDDD.new"};
  for (const std::string& name : others) Put(name);
  std::vector<std::string> expected = others;
  Put("target");
  fs::create_symlink(Path("target"), Path(".virus.SYMLNK.new"));
  fs::create_hard_link(Path("target"), Path(".virus.HARDLN.new"));
  fs::create_directory(Path(".virus.DIRECT.new"));
  ASSERT_EQ(mkfifo(Path(".virus.FIFO00.new").c_str(), 0600), 0);
  for (const char* name :
       {"target", ".virus.SYMLNK.new", ".virus.HARDLN.new", ".virus.DIRECT.new", ".virus.FIFO00.new"})
    expected.push_back(name);
  if (geteuid() == 0) {
    Put(".virus.OTHERS.new");
    ASSERT_EQ(chown(Path(".virus.OTHERS.new").c_str(), 65534, 65534), 0);
    expected.push_back(".virus.OTHERS.new");
  }
  const std::string_view prefixes[] = {kQuarantinePrefix, "bivalved."};
  EXPECT_EQ(Quarantine::RemoveLeftovers(directory_, prefixes), 3u);
  EXPECT_THAT(Names(), UnorderedElementsAreArray(expected));
  EXPECT_EQ(Quarantine::RemoveLeftovers(Path("none"), prefixes), 0u);
}

TEST_P(QuarantineTest, LeavesWhatIsBeingWritten) {
  const std::string_view prefixes[] = {kQuarantinePrefix};
  const Quarantine::Kept kept =
      KeepAndLook([&] { EXPECT_EQ(Quarantine::RemoveLeftovers(directory_, prefixes), 0u); });
  EXPECT_TRUE(Read(kept.path) == text_);
}

}  // namespace
}  // namespace bivalve::appliance
