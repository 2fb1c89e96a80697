#include "appliance/process/listening.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "net/address.h"
#include "net/listener.h"
#include "net/socket_name.h"

namespace bivalve::appliance {
namespace {

class ListeningTest : public testing::Test {
 protected:
  ListeningTest() {
    char name[] = "/tmp/bivalve-listening.XXXXXX";
    directory_ = mkdtemp(name);
  }
  ~ListeningTest() override {
    listening_.RemovePaths({});
    rmdir(directory_.c_str());
  }
  net::Endpoint Local(const std::string& name) const {
    return net::ParseEndpoint(directory_ + "/" + name).value();
  }

  std::string directory_;
  Listening listening_;
};

// Every worker accepts from every listener, and knows which listener a socket belongs to.
TEST_F(ListeningTest, TellsWhichListenerASocketIsOf) {
  const std::vector<net::Endpoint> endpoints = {
      Local("one"), net::Endpoint(net::SocketAddress::FromIpv4({htonl(INADDR_LOOPBACK)}, 0)), Local("three")};
  ASSERT_TRUE(listening_.Open(endpoints, 2, FileMode{0600}, {}, false).ok());
  for (size_t worker = 0; worker < 2; ++worker) {
    const std::vector<net::ListeningSocket>& sockets = listening_.of_worker(worker);
    ASSERT_EQ(sockets.size(), 3u);
    for (size_t i = 0; i < sockets.size(); ++i) EXPECT_EQ(sockets[i].listener, i);
    EXPECT_EQ(net::SocketName(sockets[0].fd).ToString(), directory_ + "/one");
    EXPECT_EQ(net::SocketName(sockets[2].fd).ToString(), directory_ + "/three");
  }
}

// A socket from another process belongs to the listener that has its address.
TEST_F(ListeningTest, KnowsTheListenerOfAnInheritedSocket) {
  std::vector<Inheritance::Socket> inherited(1);
  const net::Endpoint two = Local("two");
  inherited[0].fd = net::OpenListener(std::get<net::SocketAddress>(two), false).value();
  const int fd = inherited[0].fd.get();
  ASSERT_TRUE(listening_.Open({Local("one"), two}, 1, FileMode{0600}, std::move(inherited), false).ok());
  ASSERT_EQ(listening_.of_worker(0).size(), 2u);
  EXPECT_EQ(listening_.of_worker(0)[1].fd, fd);
  EXPECT_EQ(listening_.of_worker(0)[1].listener, 1u);
  EXPECT_TRUE(listening_.left().empty());
}

}  // namespace
}  // namespace bivalve::appliance
