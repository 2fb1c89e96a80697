#include "appliance/worker/address_list.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace bivalve::appliance {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

net::SocketAddress Ipv4(const char* host, uint16_t port) {
  in_addr address = {};
  EXPECT_EQ(inet_pton(AF_INET, host, &address), 1);
  return net::SocketAddress::FromIpv4(address, port);
}

std::vector<std::string> Names(const std::vector<net::SocketAddress>& addresses) {
  std::vector<std::string> names;
  for (const net::SocketAddress& address : addresses) names.push_back(address.ToString());
  return names;
}

const net::SocketAddress kClient = Ipv4("192.0.2.7", 40000);

TEST(AddressList, GivesFixedAddressesInOrder) {
  const AddressList list({Ipv4("192.0.2.1", 25), Ipv4("192.0.2.2", 26)});
  EXPECT_THAT(Names(list.For(kClient)), ElementsAre("192.0.2.1:25", "192.0.2.2:26"));
}

TEST(AddressList, TakesTheClientForAPortAlone) {  // the loopback feature of clamsmtpd
  const AddressList list({net::PortOnly{10026}});
  EXPECT_THAT(Names(list.For(kClient)), ElementsAre("192.0.2.7:10026"));
  in6_addr six = {};
  EXPECT_EQ(inet_pton(AF_INET6, "2001:db8::1", &six), 1);
  EXPECT_THAT(Names(list.For(net::SocketAddress::FromIpv6(six, 40000))), ElementsAre("[2001:db8::1]:10026"));
}

TEST(AddressList, HasNoPortAloneForAClientWithoutAnAddress) {
  const AddressList list({net::PortOnly{10026}, Ipv4("192.0.2.1", 25)});
  EXPECT_THAT(Names(list.For(*net::SocketAddress::FromPath("/run/mail"))), ElementsAre("192.0.2.1:25"));
  EXPECT_THAT(Names(list.For(net::SocketAddress())), ElementsAre("192.0.2.1:25"));
}

TEST(AddressList, HasNothingForANameBeforeItIsFound) {
  const AddressList list({net::HostName{.name = "mx.example", .port = 25}});
  EXPECT_THAT(list.For(kClient), IsEmpty());
  EXPECT_THAT(list.At(0), IsEmpty());
}

TEST(AddressList, GivesAllAddressesOfANameInItsPlace) {
  AddressList list(
      {Ipv4("192.0.2.1", 25), net::HostName{.name = "mx.example", .port = 25}, Ipv4("192.0.2.2", 25)});
  list.Set(1, {Ipv4("192.0.2.11", 25), Ipv4("192.0.2.12", 25)});
  EXPECT_THAT(Names(list.For(kClient)),
              ElementsAre("192.0.2.1:25", "192.0.2.11:25", "192.0.2.12:25", "192.0.2.2:25"));
  EXPECT_THAT(Names(list.At(0)), ElementsAre("192.0.2.1:25"));
  EXPECT_THAT(Names(list.At(1)), ElementsAre("192.0.2.11:25", "192.0.2.12:25"));
}

TEST(AddressList, FollowsANameThatMoves) {
  AddressList list({net::HostName{.name = "mx.example", .port = 25}});
  list.Set(0, {Ipv4("192.0.2.11", 25)});
  list.Set(0, {Ipv4("192.0.2.12", 25)});
  EXPECT_THAT(Names(list.For(kClient)), ElementsAre("192.0.2.12:25"));
  list.Set(0, {});
  EXPECT_THAT(list.For(kClient), IsEmpty());
}

TEST(AddressList, LeavesAloneWhatIsNoName) {
  AddressList list({Ipv4("192.0.2.1", 25)});
  list.Set(0, {Ipv4("192.0.2.11", 25)});
  list.Set(7, {Ipv4("192.0.2.11", 25)});  // from an older configuration
  EXPECT_THAT(Names(list.For(kClient)), ElementsAre("192.0.2.1:25"));
}

}  // namespace
}  // namespace bivalve::appliance
