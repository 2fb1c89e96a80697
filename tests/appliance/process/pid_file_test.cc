// Where the PID file may be written, and where somebody else could change it.
#include "appliance/process/pid_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "core/text.h"

namespace bivalve::appliance {
namespace {

namespace fs = std::filesystem;
using core::Cat;
using testing::HasSubstr;

constexpr uid_t kStranger = 65533;
constexpr uid_t kUser = 65534;

class PidFileTest : public testing::Test {
 protected:
  PidFileTest() {
    std::string name = (fs::temp_directory_path() / "pid_file_test.XXXXXX").string();
    directory_ = mkdtemp(name.data());
    Mode(directory_, 0755);
  }
  ~PidFileTest() override { fs::remove_all(directory_); }

  std::string Path(std::string_view name) const { return Cat(directory_, "/", name); }
  std::string Put(std::string_view name, mode_t mode = 0644) const {
    std::ofstream(Path(name)) << "before\n";
    Mode(Path(name), mode);
    return Path(name);
  }
  std::string Directory(std::string_view name, mode_t mode = 0755) const {
    fs::create_directory(Path(name));
    Mode(Path(name), mode);
    return Path(name);
  }
  static void Mode(const std::string& path, mode_t mode) { EXPECT_EQ(chmod(path.c_str(), mode), 0); }
  static void Give(const std::string& path, uid_t user) { EXPECT_EQ(lchown(path.c_str(), user, user), 0); }
  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  // The error of opening and writing; empty if it worked, which the file then shows.
  static std::string Use(const std::string& path, const std::string& user = "") {
    const std::string before = Read(path);
    Inheritance::Socket none;
    PidFile file;
    absl::Status status = file.Open(path, user, none);
    if (status.ok()) status = file.Write();
    EXPECT_EQ(Read(path), status.ok() ? Cat(getpid(), "\n") : before);
    EXPECT_EQ(file.descriptor() >= 0, status.ok());
    return std::string(status.message());
  }

  std::string directory_;
};

TEST_F(PidFileTest, IsWrittenAndRemoved) {
  EXPECT_EQ(Use(Path("pid")), "");
  EXPECT_FALSE(fs::exists(Path("pid")));
  EXPECT_EQ(Use(Put("old")), "");
  EXPECT_FALSE(fs::exists(Path("old")));
}

TEST_F(PidFileTest, IsNotOneThatOthersMayWrite) {
  EXPECT_EQ(Use(Put("all", 0666)),
            Cat("PidFile: others may write to '", Path("all"),
                "' (mode 0666) and name another process there; remove it, or chmod go-w it"));
  EXPECT_EQ(Use(Put("ours", 0664)), "") << "the group is the process's own";
  if (geteuid() != 0) return;
  Put("theirs", 0664);
  EXPECT_EQ(chown(Path("theirs").c_str(), 0, kStranger), 0);
  EXPECT_THAT(Use(Path("theirs")), HasSubstr("others may write to"));
}

TEST_F(PidFileTest, IsNotSomebodyElses) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  Give(Put("pid"), kStranger);
  EXPECT_THAT(Use(Path("pid"), std::to_string(kUser)),
              AllOf(HasSubstr(Cat("PidFile: '", Path("pid"), "' belongs to user ")),
                    HasSubstr("remove it, or choose another place")));
  Give(Path("pid"), kUser);
  EXPECT_THAT(Use(Path("pid")), HasSubstr("belongs to user")) << "it does not run as that user";
  EXPECT_EQ(Use(Path("pid"), std::to_string(kUser)), "");
}

TEST_F(PidFileTest, IsNotWhereOthersCouldReplaceIt) {
  EXPECT_EQ(Use(Cat(Directory("open", 0777), "/pid")),
            Cat("PidFile: others may write to the directory '", Path("open"),
                "' (mode 0777) and put another file in its place; chmod go-w it, or choose another one, such "
                "as /run"));
  EXPECT_FALSE(fs::exists(Path("open/pid")));
  EXPECT_EQ(Use(Cat(Directory("sticky", 01777), "/pid")), "");
  // Also not below a directory that they could replace.
  fs::create_directory(Path("open/below"));
  EXPECT_THAT(Use(Path("open/below/pid")), HasSubstr(Cat("the directory '", Path("open"), "'")));
  EXPECT_THAT(Use(Path("sticky/../open/pid")), HasSubstr(Cat("the directory '", Path("open"), "'")));
  if (geteuid() != 0) return;
  Give(Directory("theirs"), kStranger);
  EXPECT_THAT(Use(Path("theirs/pid")), HasSubstr("theirs' belongs to user"));
  Give(Directory("users"), kUser);
  EXPECT_EQ(Use(Path("users/pid"), std::to_string(kUser)), "") << "as with Debian's clamsmtp";
}

TEST_F(PidFileTest, IsNoLinkAndNotReachedByAStrangersOne) {
  Put("file");
  fs::create_symlink("file", Path("link"));
  EXPECT_EQ(Use(Path("link")), Cat("PidFile: '", Path("link"), "' is a symbolic link; name the file itself"));
  fs::create_hard_link(Path("file"), Path("hard"));
  EXPECT_THAT(Use(Path("hard")), HasSubstr("is the same file as one of another name"));
  Directory("run");
  fs::create_symlink("run", Path("way"));
  EXPECT_EQ(Use(Path("way/pid")), "") << "as /var/run";
  fs::create_symlink(Path("run"), Path("run/again"));
  EXPECT_EQ(Use(Path("way/again/again/pid")), "");
  fs::create_symlink("loop", Path("loop"));
  EXPECT_THAT(Use(Path("loop/pid")), HasSubstr("cannot write"));
  // The target path of the link is checked too.
  Directory("open", 0777);
  Directory("open/inside");
  fs::create_symlink("open/inside", Path("hidden"));
  EXPECT_THAT(Use(Path("hidden/pid")), HasSubstr(Cat("the directory '", Path("open"), "'")));
  if (geteuid() != 0) return;
  Directory("sticky", 01777);
  fs::create_symlink(Path("run"), Path("sticky/theirs"));
  Give(Path("sticky/theirs"), kStranger);
  EXPECT_THAT(Use(Path("sticky/theirs/pid")), HasSubstr("the symbolic link"));
}

TEST_F(PidFileTest, IsAFile) {
  ASSERT_EQ(mkfifo(Path("fifo").c_str(), 0600), 0);
  Inheritance::Socket none;
  for (const std::string& path : {Path("fifo"), Directory("directory")}) {
    PidFile file;
    EXPECT_THAT(std::string(file.Open(path, "", none).message()), HasSubstr("exists and is no file"));
  }
}

}  // namespace
}  // namespace bivalve::appliance
