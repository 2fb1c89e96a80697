#include "net/address.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace bivalve::net {
namespace {

using namespace std::string_view_literals;
using testing::HasSubstr;

SocketAddress Ipv4(const char* text, uint16_t port) {
  in_addr address;
  EXPECT_EQ(inet_pton(AF_INET, text, &address), 1);
  return SocketAddress::FromIpv4(address, port);
}

SocketAddress Ipv6(const char* text, uint16_t port) {
  in6_addr address;
  EXPECT_EQ(inet_pton(AF_INET6, text, &address), 1);
  return SocketAddress::FromIpv6(address, port);
}

SocketAddress Path(std::string_view path) {
  const auto address = SocketAddress::FromPath(path);
  EXPECT_TRUE(address.ok());
  return address.ok() ? *address : SocketAddress();
}

TEST(SocketAddress, IsEmptyAtFirst) {
  const auto empty = SocketAddress();
  EXPECT_EQ(empty.family(), AF_UNSPEC);
  EXPECT_EQ(empty.raw_size(), 0u);
  EXPECT_EQ(empty.port(), 0);
  EXPECT_FALSE(empty.is_loopback());
  EXPECT_EQ(empty.Host(), "");
  EXPECT_EQ(empty, SocketAddress());
}

TEST(SocketAddress, GivesTheKernelNetworkByteOrder) {
  const SocketAddress address = Ipv4("192.0.2.7", 0x1234);
  ASSERT_EQ(address.raw_size(), sizeof(sockaddr_in));
  sockaddr_in raw;
  std::memcpy(&raw, address.raw(), sizeof raw);
  EXPECT_EQ(raw.sin_family, AF_INET);
  EXPECT_EQ(raw.sin_port, htons(0x1234));
  EXPECT_EQ(address.port(), 0x1234);
}

TEST(SocketAddress, IsPrintedAsOperatorsWriteIt) {
  EXPECT_EQ(Ipv4("192.0.2.7", 25).Host(), "192.0.2.7");
  EXPECT_EQ(Ipv4("192.0.2.7", 25).ToString(), "192.0.2.7:25");
  EXPECT_EQ(Ipv6("2001:DB8:0::1", 25).Host(), "2001:db8::1");
  EXPECT_EQ(Ipv6("2001:db8::1", 25).ToString(), "[2001:db8::1]:25");
  EXPECT_EQ(Path("/run/x.ctl").Host(), "/run/x.ctl");
  EXPECT_EQ(Path("/run/x.ctl").ToString(), "/run/x.ctl");
}

TEST(SocketAddress, ShowsIpv4MappedIpv6AsIpv4) {
  EXPECT_EQ(Ipv6("::ffff:192.0.2.7", 25).Host(), "192.0.2.7");
  EXPECT_EQ(Ipv6("::ffff:192.0.2.7", 25).ToString(), "192.0.2.7:25");
}

TEST(SocketAddress, ChangesItsPort) {
  SocketAddress v4 = Ipv4("192.0.2.7", 25);
  v4.set_port(26);
  EXPECT_EQ(v4, Ipv4("192.0.2.7", 26));
  SocketAddress v6 = Ipv6("::1", 25);
  v6.set_port(65535);
  EXPECT_EQ(v6.port(), 65535);
  SocketAddress path = Path("/a");
  path.set_port(25);
  EXPECT_EQ(path, Path("/a"));
}

TEST(SocketAddress, KnowsLoopback) {
  for (const char* text : {"127.0.0.1", "127.255.1.2"}) EXPECT_TRUE(Ipv4(text, 1).is_loopback()) << text;
  for (const char* text : {"128.0.0.1", "1.0.0.127", "0.0.0.0"})
    EXPECT_FALSE(Ipv4(text, 1).is_loopback()) << text;
  for (const char* text : {"::1", "::ffff:127.0.0.1"}) EXPECT_TRUE(Ipv6(text, 1).is_loopback()) << text;
  for (const char* text : {"::", "::2", "::ffff:192.0.2.7"})
    EXPECT_FALSE(Ipv6(text, 1).is_loopback()) << text;
  EXPECT_TRUE(Path("/a").is_loopback());
}

TEST(SocketAddress, ComparesByValue) {
  EXPECT_EQ(Ipv4("192.0.2.7", 25), Ipv4("192.0.2.7", 25));
  EXPECT_NE(Ipv4("192.0.2.7", 25), Ipv4("192.0.2.8", 25));
  EXPECT_NE(Ipv4("192.0.2.7", 25), Ipv4("192.0.2.7", 26));
  EXPECT_NE(Ipv6("::1", 25), Ipv6("::2", 25));
  EXPECT_NE(Ipv4("0.0.0.0", 25), Ipv6("::", 25));
  EXPECT_EQ(Path("/a"), Path("/a"));
  EXPECT_NE(Path("/a"), Path("/ab"));
  EXPECT_NE(Path("/a"), SocketAddress());
}

TEST(SocketAddress, SurvivesTheWayThroughRawBytes) {
  for (const SocketAddress& address : {Ipv4("192.0.2.7", 25), Ipv6("2001:db8::1", 25), Path("/run/x.ctl")}) {
    EXPECT_EQ(SocketAddress::FromRaw(address.raw(), address.raw_size()), address) << address.ToString();
    sockaddr_storage larger = {};  // as accept() and getsockname() are called
    std::memcpy(&larger, address.raw(), address.raw_size());
    EXPECT_EQ(SocketAddress::FromRaw(reinterpret_cast<sockaddr*>(&larger), sizeof larger), address);
  }
}

TEST(SocketAddress, IsEmptyForRawBytesOfOtherKinds) {
  sockaddr_storage raw = {};
  raw.ss_family = AF_APPLETALK;
  EXPECT_EQ(SocketAddress::FromRaw(reinterpret_cast<sockaddr*>(&raw), sizeof raw).family(), AF_UNSPEC);
  raw.ss_family = AF_INET;
  EXPECT_EQ(SocketAddress::FromRaw(reinterpret_cast<sockaddr*>(&raw), sizeof(sockaddr_in) - 1).family(),
            AF_UNSPEC);
  raw.ss_family = AF_INET6;
  EXPECT_EQ(SocketAddress::FromRaw(reinterpret_cast<sockaddr*>(&raw), sizeof(sockaddr_in)).family(),
            AF_UNSPEC);
  EXPECT_EQ(SocketAddress::FromRaw(reinterpret_cast<sockaddr*>(&raw), 0).family(), AF_UNSPEC);
  EXPECT_EQ(SocketAddress::FromRaw(nullptr, 0).family(), AF_UNSPEC);
}

TEST(SocketAddress, CallsAnUnnamedPeerUnix) {
  sockaddr_un raw = {};
  raw.sun_family = AF_UNIX;
  const auto address = SocketAddress::FromRaw(reinterpret_cast<sockaddr*>(&raw), sizeof(sa_family_t));
  EXPECT_EQ(address.family(), AF_UNIX);
  EXPECT_EQ(address.Host(), "unix");
  EXPECT_TRUE(address.is_loopback());
}

TEST(SocketAddress, WritesAnAbstractNameWithAnAt) {
  sockaddr_un raw = {};
  raw.sun_family = AF_UNIX;
  std::memcpy(raw.sun_path, "\0clam", 5);
  const auto address =
      SocketAddress::FromRaw(reinterpret_cast<sockaddr*>(&raw), offsetof(sockaddr_un, sun_path) + 5);
  EXPECT_EQ(address.Host(), "@clam");
}

TEST(SocketAddress, TakesAPathOf107BytesAtMost) {
  const std::string longest(107, 'a');
  EXPECT_EQ(Path(longest).Host(), longest);
  EXPECT_EQ(Path(longest).raw_size(), sizeof(sockaddr_un));
  EXPECT_FALSE(SocketAddress::FromPath(longest + 'a').ok());
  EXPECT_FALSE(SocketAddress::FromPath("").ok());
  EXPECT_FALSE(SocketAddress::FromPath("/a\0b"sv).ok());
}

TEST(SocketAddress, ReadsAPathWithoutANulBehindIt) {
  sockaddr_un raw = {};
  raw.sun_family = AF_UNIX;
  std::memset(raw.sun_path, 'a', sizeof raw.sun_path);
  const auto address = SocketAddress::FromRaw(reinterpret_cast<sockaddr*>(&raw), sizeof raw);
  EXPECT_EQ(address.Host(), std::string(sizeof raw.sun_path, 'a'));
}

TEST(ParseEndpoint, TakesEachForm) {
  EXPECT_EQ(std::get<SocketAddress>(*ParseEndpoint("/run/clamav/clamd.ctl")), Path("/run/clamav/clamd.ctl"));
  EXPECT_EQ(std::get<PortOnly>(*ParseEndpoint("10025")).port, 10025);
  EXPECT_EQ(std::get<SocketAddress>(*ParseEndpoint("192.0.2.7:25")), Ipv4("192.0.2.7", 25));
  EXPECT_EQ(std::get<SocketAddress>(*ParseEndpoint("[2001:db8::1]:25")), Ipv6("2001:db8::1", 25));
  const auto name = std::get<HostName>(*ParseEndpoint("mail-1.example.org:25"));
  EXPECT_EQ(name.name, "mail-1.example.org");
  EXPECT_EQ(name.port, 25);
}

TEST(ParseEndpoint, TakesWhiteSpaceOff) { EXPECT_EQ(std::get<PortOnly>(*ParseEndpoint(" \t25 ")).port, 25); }

TEST(ParseEndpoint, CompletesThePort) {
  EXPECT_EQ(std::get<SocketAddress>(*ParseEndpoint("192.0.2.7", 25)), Ipv4("192.0.2.7", 25));
  EXPECT_EQ(std::get<SocketAddress>(*ParseEndpoint("[::1]", 25)), Ipv6("::1", 25));
  EXPECT_EQ(std::get<HostName>(*ParseEndpoint("localhost", 25)).port, 25);
  EXPECT_EQ(std::get<SocketAddress>(*ParseEndpoint("192.0.2.7:26", 25)), Ipv4("192.0.2.7", 26));
  EXPECT_EQ(std::get<PortOnly>(*ParseEndpoint("26", 25)).port, 26);
}

TEST(ParseEndpoint, TakesNamesOfLocalNetworks) {
  for (std::string_view text :
       {"localhost:1", "mail_1:1", "a:1", "example.org.:1", "3com.example:1", "1a:1"}) {
    ASSERT_TRUE(ParseEndpoint(text).ok()) << text;
    EXPECT_TRUE(std::holds_alternative<HostName>(*ParseEndpoint(text))) << text;
  }
}

TEST(ParseEndpoint, TakesEveryPortButZero) {
  EXPECT_EQ(std::get<PortOnly>(*ParseEndpoint("1")).port, 1);
  EXPECT_EQ(std::get<PortOnly>(*ParseEndpoint("65535")).port, 65535);
  for (std::string_view text : {"0", "65536", "99999999999999999999", "localhost:0", "localhost:65536",
                                "localhost:", "localhost:x", "localhost:25x", "localhost: 25",
                                "localhost:+25", "localhost:-1", "[::1]:", "[::1]:0", "192.0.2.7:smtp"}) {
    const auto endpoint = ParseEndpoint(text, 25);
    ASSERT_FALSE(endpoint.ok()) << text;
    EXPECT_THAT(std::string(endpoint.status().message()), HasSubstr("between 1 and 65535")) << text;
  }
}

TEST(ParseEndpoint, SaysWhatWouldBeRight) {
  const std::string long_path = "/" + std::string(107, 'a');
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"", "'[2001:db8::1]:port'"},
      {" ", "'[2001:db8::1]:port'"},
      {":25", "no host before the colon"},
      {":", "no host before the colon"},
      {"localhost", "write 'localhost:25'"},
      {"192.0.2.7", "write '192.0.2.7:25'"},
      {"[::1]", "write '[::1]:25'"},
      {"2001:db8::1", "stands in brackets"},
      {"::1", "stands in brackets"},
      {"a:b:c", "stands in brackets"},
      {"[::1", "closing bracket"},
      {"[", "closing bracket"},
      {"[]:25", "not an IPv6 address"},
      {"[192.0.2.7]:25", "not an IPv6 address"},
      {"[localhost]:25", "not an IPv6 address"},
      {"[fe80::1%eth0]:25", "not an IPv6 address"},
      {"[::1]25", "after the bracket"},
      {"[::1] :25", "after the bracket"},
      {"192.0.2:25", "not an IPv4 address"},
      {"192.0.2.256:25", "not an IPv4 address"},
      {"192.0.2.7.8:25", "not an IPv4 address"},
      {"1.2.3.4.:25", "not an IPv4 address"},
      {"host.example.1:25", "not an IPv4 address"},
      {"mail example.org:25", "neither an address nor a host name"},
      {"-a.example:25", "neither an address nor a host name"},
      {"a..example:25", "neither an address nor a host name"},
      {".:25", "neither an address nor a host name"},
      {"*:25", "neither an address nor a host name"},
      {"a/b:25", "neither an address nor a host name"},
      {"b\xc3\xbc\x63her.example:25", "neither an address nor a host name"},
      {"127.0.0.1\0x:25"sv, "neither an address nor a host name"},
      {long_path, "at most 107"},
  };
  for (const auto& [text, remedy] : cases) {
    const auto endpoint = ParseEndpoint(text);
    ASSERT_FALSE(endpoint.ok()) << text;
    EXPECT_THAT(std::string(endpoint.status().message()), HasSubstr(std::string(remedy))) << text;
  }
}

TEST(ParseEndpoint, LimitsTheLengthOfNames) {
  const std::string label(63, 'a');
  EXPECT_TRUE(ParseEndpoint(label + ":25").ok());
  EXPECT_FALSE(ParseEndpoint(label + "a:25").ok());
  const std::string longest = label + "." + label + "." + label + "." + label.substr(2);
  ASSERT_EQ(longest.size(), 253u);
  EXPECT_TRUE(ParseEndpoint(longest + ":25").ok());
  EXPECT_FALSE(ParseEndpoint(longest + "a:25").ok());
}

TEST(ParseEndpoint, KeepsControlCharactersOutOfItsErrors) {
  EXPECT_THAT(std::string(ParseEndpoint("a\nb:25").status().message()), HasSubstr("'a\\nb'"));
}

TEST(ToString, GivesTheFormThatParseEndpointTakes) {
  for (std::string_view text : {"/run/x", "25", "192.0.2.7:25", "[2001:db8::1]:25", "mail.example.org:25"}) {
    EXPECT_EQ(ToString(*ParseEndpoint(text)), text);
  }
}

}  // namespace
}  // namespace bivalve::net
