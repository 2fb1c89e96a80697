// The pool with random behaviour of scanners and sessions, and with a real clamd.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "absl/strings/escaping.h"
#include "core/text.h"
#include "scan/clamd_pool.h"
#include "tests/scan/fake_clamd.h"
#include "tests/scan/pool_fixture.h"

namespace bivalve::scan {
namespace {

using std::chrono::milliseconds;

using PoolAnyTest = PoolFixture;

// --- Anything.

// Whatever scanners do and whenever sessions leave: every message comes to an end, no message gets another
// one's result, and nothing is held afterwards. The seed decides everything except the kernel's timing.
TEST_F(PoolAnyTest, NeverMixesMessagesUp) {
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
        if (message.body != nullptr) pool_->Release(message.request, std::move(message.body));
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
        const std::string content = image.substr(kFrontBytes);
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

// Starts clamd with a database of one line, in a directory of its own.
class RealClamd {
 public:
  explicit RealClamd(const std::string& directory) : directory_(directory) {
    std::filesystem::create_directory(directory + "/db");
    // The EICAR string in hexadecimal, as a signature for any type of file and any position.
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

TEST_F(PoolAnyTest, WorksWithClamd) {
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
  // A virus in base64, behind more unknown header lines than libclamav looks at. It is found because of the
  // line in front.
  std::string pad;
  for (int i = 0; i < 80; ++i) core::Append(pad, "X-Pad-", i, ": ", std::string(60, 'p'), "\r\n");
  const std::string mail = core::Cat(pad, "Content-Transfer-Encoding: base64\r\n\r\n",
                                     absl::Base64Escape(RealClamd::Eicar()), "\r\n");
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

  // More than StreamMaxLength: the scanner that gets content refuses it, the other one accepts it.
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
