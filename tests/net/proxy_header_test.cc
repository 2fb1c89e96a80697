#include "net/proxy_header.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace bivalve::net {
namespace {

using State = ProxyHeader::State;

constexpr std::string_view kSignature{"\r\n\r\n\0\r\nQUIT\n", 12};

std::string V2(uint8_t version_command, uint8_t family, std::string_view rest) {
  std::string header(kSignature);
  header += static_cast<char>(version_command);
  header += static_cast<char>(family);
  header += static_cast<char>(rest.size() >> 8);
  header += static_cast<char>(rest.size());
  header += rest;
  return header;
}

const std::string kIpv4 =
    std::string("\xc0\x00\x02\x07\xc6\x33\x64\x01", 8) + std::string("\xdc\x04\x00\x19", 4);

TEST(ParseProxyHeader, Version1OverIpv4) {
  const std::string line = "PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n";
  const ProxyHeader header = ParseProxyHeader(line + "EHLO a\r\n");
  ASSERT_EQ(header.state, State::kWhole);
  EXPECT_EQ(header.bytes, line.size());
  EXPECT_EQ(header.client.ToString(), "192.0.2.7:56324");
  EXPECT_EQ(header.local.ToString(), "198.51.100.1:25");
}

TEST(ParseProxyHeader, Version1OverIpv6) {
  const ProxyHeader header = ParseProxyHeader("PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n");
  ASSERT_EQ(header.state, State::kWhole);
  EXPECT_EQ(header.client.ToString(), "[2001:db8::7]:1");
  EXPECT_EQ(header.local.ToString(), "[2001:db8::1]:65535");
}

TEST(ParseProxyHeader, Version1Unknown) {
  for (const std::string_view line : {"PROXY UNKNOWN\r\n", "PROXY UNKNOWN ff:: whatever 1 2 3\r\n"}) {
    const ProxyHeader header = ParseProxyHeader(line);
    ASSERT_EQ(header.state, State::kWhole) << line;
    EXPECT_EQ(header.bytes, line.size());
    EXPECT_EQ(header.client.family(), AF_UNSPEC);
  }
}

TEST(ParseProxyHeader, Version2OverIpv4) {
  const std::string bytes = V2(0x21, 0x11, kIpv4);
  const ProxyHeader header = ParseProxyHeader(bytes + "EHLO a\r\n");
  ASSERT_EQ(header.state, State::kWhole);
  EXPECT_EQ(header.bytes, bytes.size());
  EXPECT_EQ(header.client.ToString(), "192.0.2.7:56324");
  EXPECT_EQ(header.local.ToString(), "198.51.100.1:25");
}

TEST(ParseProxyHeader, Version2OverIpv6) {
  std::string addresses(36, '\0');
  addresses[0] = 0x20;
  addresses[1] = 0x01;
  addresses[15] = 7;
  addresses[31] = 1;
  addresses[33] = 9;
  const ProxyHeader header = ParseProxyHeader(V2(0x21, 0x21, addresses));
  ASSERT_EQ(header.state, State::kWhole);
  EXPECT_EQ(header.client.ToString(), "[2001::7]:9");
  EXPECT_EQ(header.local.Host(), "::1");
}

TEST(ParseProxyHeader, Version2OverALocalSocket) {
  std::string addresses(216, '\0');
  addresses.replace(0, 8, "/run/one");
  const ProxyHeader header = ParseProxyHeader(V2(0x21, 0x31, addresses));
  ASSERT_EQ(header.state, State::kWhole);
  EXPECT_EQ(header.client.Host(), "/run/one");
  EXPECT_EQ(header.local.Host(), "unix");
}

TEST(ParseProxyHeader, Version2LocalHasNoAddresses) {  // the proxy's own health check
  for (const std::string& bytes :
       {V2(0x20, 0x00, ""), V2(0x20, 0x11, kIpv4), V2(0x21, 0x00, "xyz"), V2(0x21, 0x12, kIpv4)}) {
    const ProxyHeader header = ParseProxyHeader(bytes);
    ASSERT_EQ(header.state, State::kWhole);
    EXPECT_EQ(header.bytes, bytes.size());
    EXPECT_EQ(header.client.family(), AF_UNSPEC);
  }
}

TEST(ParseProxyHeader, SkipsWhatFollowsTheAddresses) {
  const std::string bytes =
      V2(0x21, 0x11, kIpv4 + std::string("\x04\x00\x03\x00\x00\x00", 6) + std::string(500, '\xee'));
  const ProxyHeader header = ParseProxyHeader(bytes);
  ASSERT_EQ(header.state, State::kWhole);
  EXPECT_EQ(header.bytes, bytes.size());
  EXPECT_EQ(header.client.Host(), "192.0.2.7");
}

TEST(ParseProxyHeader, EveryCutIsIncomplete) {
  for (const std::string& bytes : {std::string("PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n"),
                                   V2(0x21, 0x11, kIpv4), V2(0x20, 0, "abc")}) {
    for (size_t end = 0; end < bytes.size(); ++end) {
      EXPECT_EQ(ParseProxyHeader(std::string_view(bytes).substr(0, end)).state, State::kIncomplete) << end;
    }
  }
}

TEST(ParseProxyHeader, RefusesWhatIsNoHeader) {
  const std::string nul("PROXY TCP4 192.0.2.7\0 198.51.100.1 1 2\r\n", 40);
  for (const std::string& text : {
           std::string("EHLO a\r\n"),
           std::string("proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n"),
           std::string("PROXY TCP5 192.0.2.7 198.51.100.1 1 2\r\n"),
           std::string("PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n"),
           std::string("PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n"),
           std::string("PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n"),
           std::string("PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n"),
           std::string("PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n"),
           std::string("PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n"),
           std::string("PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n"),
           std::string("PROXY TCP4 2001:db8::1 198.51.100.1 1 2\r\n"),
           std::string("PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n"),
           std::string("PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n"),
           std::string("PROXY TCP4 192.0.2.7\r 198.51.100.1 1 2\r\n"),
           std::string("PROXY \r\n"),
           nul,
           "PROXY UNKNOWN " + std::string(120, 'x') + "\r\n",
           V2(0x11, 0x11, kIpv4),
           V2(0x22, 0x11, kIpv4),
           V2(0x21, 0x11, kIpv4.substr(1)),
           V2(0x21, 0x21, kIpv4),
           V2(0x21, 0x31, kIpv4),
           V2(0x21, 0x11, kIpv4 + std::string(kProxyHeaderBytesMax, 'x')),
       }) {
    EXPECT_EQ(ParseProxyHeader(text).state, State::kBad) << text;
  }
}

TEST(ParseProxyHeader, ALongLineIsRefusedBeforeItsEnd) {
  EXPECT_EQ(ParseProxyHeader("PROXY UNKNOWN " + std::string(93, 'x')).state, State::kBad);
  EXPECT_EQ(ParseProxyHeader("PROXY UNKNOWN " + std::string(92, 'x')).state, State::kIncomplete);
}

}  // namespace
}  // namespace bivalve::net
