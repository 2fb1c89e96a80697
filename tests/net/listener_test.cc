// OpenListener against the real kernel, the acceptor against a simulated one.
#include "net/listener.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "core/text.h"
#include "tests/sim/sim_io.h"

namespace bivalve::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

SocketAddress Loopback(uint16_t port) { return SocketAddress::FromIpv4({htonl(INADDR_LOOPBACK)}, port); }

SocketAddress NameOf(int fd) {
  sockaddr_storage storage = {};
  socklen_t bytes = sizeof(storage);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &bytes), 0);
  return SocketAddress::FromRaw(reinterpret_cast<sockaddr*>(&storage), bytes);
}

bool CanConnect(const SocketAddress& address) {
  core::UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  return connect(fd.get(), address.raw(), address.raw_size()) == 0;
}

class LocalListenerTest : public testing::Test {
 protected:
  LocalListenerTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "listener_test.XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    path_ = directory_ + "/socket";
    address_ = *SocketAddress::FromPath(path_);
  }
  ~LocalListenerTest() override { std::filesystem::remove_all(directory_); }

  std::string directory_;
  std::string path_;
  SocketAddress address_;
};

TEST(OpenListener, ListensOnAPort) {
  const auto fd = OpenListener(Loopback(0), false);
  ASSERT_TRUE(fd.ok()) << fd.status();
  EXPECT_TRUE(CanConnect(NameOf(fd->get())));
}

TEST(OpenListener, NamesTheAddressAndTheReasonWhenAPortIsTaken) {
  const auto first = OpenListener(Loopback(0), false);
  ASSERT_TRUE(first.ok());
  const SocketAddress address = NameOf(first->get());
  const auto second = OpenListener(address, false);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().message(),
            core::Cat("cannot listen on ", address.ToString(), ": Address already in use").c_str());
}

TEST(OpenListener, SharesAPortAmongWorkersOnly) {
  const auto first = OpenListener(Loopback(0), true);
  ASSERT_TRUE(first.ok());
  const SocketAddress address = NameOf(first->get());
  const auto second = OpenListener(address, true);
  EXPECT_TRUE(second.ok()) << second.status();
  EXPECT_FALSE(OpenListener(address, false).ok());
}

TEST(OpenListener, TakesIpv4AndIpv6OfOnePort) {
  const auto ipv6 = OpenListener(SocketAddress::FromIpv6(in6addr_any, 0), false);
  if (!ipv6.ok()) GTEST_SKIP() << "no IPv6 here";
  const auto ipv4 =
      OpenListener(SocketAddress::FromIpv4({htonl(INADDR_ANY)}, NameOf(ipv6->get()).port()), false);
  EXPECT_TRUE(ipv4.ok()) << ipv4.status();
}

TEST(OpenListener, NamesAnAddressThatIsNotOurs) {
  in_addr foreign = {htonl(0xC0000207)};  // 192.0.2.7, reserved for documentation
  const auto fd = OpenListener(SocketAddress::FromIpv4(foreign, 25), false);
  ASSERT_FALSE(fd.ok());
  EXPECT_THAT(std::string(fd.status().message()), AllOf(HasSubstr("192.0.2.7:25"), HasSubstr("assign")));
}

TEST_F(LocalListenerTest, ListensOnAPath) {
  const auto fd = OpenListener(address_, true);
  ASSERT_TRUE(fd.ok()) << fd.status();
  EXPECT_TRUE(CanConnect(address_));
}

// The socket has these rights from its creation and under any umask; the umask is restored.
TEST_F(LocalListenerTest, GivesASocketTheRightsThatAreAskedFor) {
  for (const mode_t mask : {0000, 0022, 0077}) {
    for (const mode_t mode : {0600, 0660, 0666, 0777, 0000}) {
      SCOPED_TRACE(testing::Message() << std::oct << mask << ' ' << mode);
      const mode_t before = umask(mask);
      const auto fd = OpenListener(address_, false, mode);
      EXPECT_EQ(umask(before), mask);
      ASSERT_TRUE(fd.ok()) << fd.status();
      struct stat info = {};
      ASSERT_EQ(stat(path_.c_str(), &info), 0);
      EXPECT_EQ(info.st_mode & 07777, mode);
      ASSERT_EQ(unlink(path_.c_str()), 0);
    }
  }
  ASSERT_TRUE(OpenListener(address_, false).ok());
  struct stat info = {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0660u) << "nobody but user and group, unless asked for";
}

TEST_F(LocalListenerTest, ReplacesASocketThatNobodyListensOn) {
  {
    ASSERT_TRUE(OpenListener(address_, false).ok());
  }
  ASSERT_TRUE(std::filesystem::exists(path_));
  const auto fd = OpenListener(address_, false);
  ASSERT_TRUE(fd.ok()) << fd.status();
  EXPECT_TRUE(CanConnect(address_));
}

TEST_F(LocalListenerTest, LeavesASocketThatSomebodyListensOn) {
  const auto first = OpenListener(address_, false);
  ASSERT_TRUE(first.ok());
  const auto second = OpenListener(address_, false);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()),
              AllOf(HasSubstr(path_), HasSubstr("Address already in use")));
  EXPECT_TRUE(CanConnect(address_));
}

TEST_F(LocalListenerTest, LeavesAFileThatIsNoSocket) {
  std::ofstream(path_) << "mail";
  EXPECT_FALSE(OpenListener(address_, false).ok());
  EXPECT_TRUE(std::filesystem::is_regular_file(path_));
}

TEST_F(LocalListenerTest, LeavesALinkToASocket) {
  const SocketAddress other = *SocketAddress::FromPath(directory_ + "/other");
  {
    ASSERT_TRUE(OpenListener(other, false).ok());
  }
  std::filesystem::create_symlink(directory_ + "/other", path_);
  EXPECT_FALSE(OpenListener(address_, false).ok());
  EXPECT_TRUE(std::filesystem::is_symlink(path_));
}

std::vector<std::string> Names(const Endpoint& endpoint) {
  const auto addresses = ListenAddresses(endpoint);
  EXPECT_TRUE(addresses.ok()) << addresses.status();
  std::vector<std::string> names;
  if (addresses.ok()) {
    for (const SocketAddress& address : *addresses) names.push_back(address.ToString());
  }
  return names;
}

TEST(ListenAddresses, TakesAPortForAllAddresses) {
  EXPECT_THAT(Names(PortOnly{10025}), ElementsAre("[::]:10025", "0.0.0.0:10025"));
}

TEST(ListenAddresses, TakesAnAddressAsItIs) { EXPECT_THAT(Names(Loopback(25)), ElementsAre("127.0.0.1:25")); }

TEST(ListenAddresses, LooksUpANameAndKeepsThePort) {
  EXPECT_THAT(Names(HostName{.name = "127.0.0.1", .port = 10025}), ElementsAre("127.0.0.1:10025"));
}

TEST(ListenAddresses, NamesTheNameThatIsNotFound) {
  const auto addresses = ListenAddresses(HostName{.name = "no such name", .port = 25});
  ASSERT_FALSE(addresses.ok());
  EXPECT_THAT(std::string(addresses.status().message()), HasSubstr("'no such name'"));
}

// --- Acceptor

class AcceptorTest : public testing::Test {
 protected:
  void Start(int listener) {
    acceptor_ = std::make_unique<Acceptor>(
        loop_, listener, [this](int fd) { accepted_.push_back(fd); },
        [this](int error) { errors_.push_back(error); });
    acceptor_->Start();
  }
  void Turns(int count) {
    for (int i = 0; i < count; ++i) loop_.Turn(io_.Now());
  }
  void StopAndCheck() {
    acceptor_->Stop();
    for (int i = 0; i < 100 && !acceptor_->stopped(); ++i) loop_.Turn(io_.Now() + milliseconds(10));
    EXPECT_TRUE(acceptor_->stopped());
    for (const int fd : accepted_) io_.Close(fd);
  }

  sim::SimIo io_{1};
  core::Loop loop_{io_};
  sim::SimPeer peer_;
  std::unique_ptr<Acceptor> acceptor_;
  std::vector<int> accepted_;
  std::vector<int> errors_;
};

// The kernel may end a multishot accept after any connection: then the acceptor arms it again.
TEST_F(AcceptorTest, AcceptsEveryConnection) {
  const int listener = io_.OpenListener();
  Start(listener);
  for (int i = 0; i < 500; ++i) {
    io_.Call(listener, peer_);
    if (i % 3 == 0) Turns(1);
  }
  Turns(2000);
  EXPECT_EQ(accepted_.size(), 500u);
  EXPECT_THAT(errors_, IsEmpty());
  StopAndCheck();
  io_.Close(listener);
  EXPECT_THAT(io_.Problems(), IsEmpty());
}

TEST_F(AcceptorTest, AcceptsNothingAfterItStopped) {
  const int listener = io_.OpenListener();
  Start(listener);
  Turns(3);
  StopAndCheck();
  io_.Call(listener, peer_);
  Turns(20);
  EXPECT_THAT(accepted_, IsEmpty());
}

TEST_F(AcceptorTest, PausesAfterAnErrorAndTriesAgain) {
  const int no_listener = io_.OpenSocket(AF_INET);
  Start(no_listener);
  const core::MonoTime began = io_.Now();
  while (io_.Now() < began + seconds(1)) loop_.Turn(began + seconds(1));
  // One hundred milliseconds between two tries.
  EXPECT_GE(errors_.size(), 5u);
  EXPECT_LE(errors_.size(), 11u);
  EXPECT_THAT(errors_, testing::Each(EINVAL));
  StopAndCheck();
}

TEST_F(AcceptorTest, StopsDuringAPause) {
  Start(io_.OpenSocket(AF_INET));
  while (errors_.empty()) loop_.Turn(io_.Now() + milliseconds(10));
  acceptor_->Stop();
  EXPECT_TRUE(acceptor_->stopped());
  const size_t errors = errors_.size();
  for (int i = 0; i < 100; ++i) loop_.Turn(io_.Now() + milliseconds(10));
  EXPECT_EQ(errors_.size(), errors);
}

}  // namespace
}  // namespace bivalve::net
