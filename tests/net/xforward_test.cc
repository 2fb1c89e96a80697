#include "net/xforward.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

namespace bivalve::net {
namespace {

OriginalClient Parse(std::string_view arguments) {
  OriginalClient client;
  ApplyXForward(arguments, client);
  return client;
}

SocketAddress Ipv4(const char* text, uint16_t port) {
  in_addr address = {};
  EXPECT_EQ(inet_pton(AF_INET, text, &address), 1);
  return SocketAddress::FromIpv4(address, port);
}

SocketAddress Ipv6(const char* text, uint16_t port) {
  in6_addr address = {};
  EXPECT_EQ(inet_pton(AF_INET6, text, &address), 1);
  return SocketAddress::FromIpv6(address, port);
}

TEST(ApplyXForward, TakesWhatIsKnown) {
  const OriginalClient client =
      Parse("NAME=mx.example ADDR=192.0.2.1 PORT=3 PROTO=ESMTP HELO=m+2Bx SOURCE=REMOTE");
  EXPECT_EQ(client.address, "192.0.2.1");
  EXPECT_EQ(client.name, "mx.example");
  EXPECT_EQ(client.helo, "m+x");
}

TEST(ApplyXForward, TakesNamesInAnyCaseAndAnyBlanks) {
  const OriginalClient client = Parse("  addr=192.0.2.1\t\tHelo=x  ");
  EXPECT_EQ(client.address, "192.0.2.1");
  EXPECT_EQ(client.helo, "x");
}

TEST(ApplyXForward, ShowsIpv6WithoutItsPrefix) {
  EXPECT_EQ(Parse("ADDR=IPV6:2001:db8::1").address, "2001:db8::1");
  EXPECT_EQ(Parse("ADDR=ipv6:2001:db8::1").address, "2001:db8::1");
}

TEST(ApplyXForward, LeavesOutWhatIsNotAvailable) {
  const OriginalClient client = Parse("ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL] HELO=[unavailable]");
  EXPECT_EQ(client.address, "");
  EXPECT_EQ(client.name, "");
  EXPECT_EQ(client.helo, "");
}

// A command may carry a part of the attributes (Postfix sends two when they do not fit into one line).
TEST(ApplyXForward, KeepsWhatIsNotNamed) {
  OriginalClient client = Parse("ADDR=192.0.2.1 HELO=a");
  ApplyXForward("HELO=b", client);
  EXPECT_EQ(client.address, "192.0.2.1");
  EXPECT_EQ(client.helo, "b");
  ApplyXForward("HELO=[UNAVAILABLE]", client);
  EXPECT_EQ(client.helo, "");
}

TEST(ApplyXForward, TakesNothingThatDoesNotDecode) {
  for (const char* value : {"a+", "a+0", "a+0G", "a+G0", "+00", "a+0Ab", "a+7F", "a+1B"}) {
    EXPECT_EQ(Parse(std::string("HELO=") + value).helo, "") << value;
  }
  EXPECT_EQ(Parse("HELO=a\v").helo, "a") << "white space, to some servers";
  EXPECT_EQ(Parse("HELO").helo, "");
  EXPECT_EQ(Parse("=x").helo, "");
  EXPECT_EQ(Parse("").helo, "");
}

TEST(Xtext, GoesThereAndBack) {  // RFC 3461 section 4
  std::string every;
  for (int c = 0; c < 256; ++c) every += static_cast<char>(c);
  const std::string xtext = EncodeXtext(every);
  for (const char c : xtext) EXPECT_TRUE(c > ' ' && c < '\x7f' && c != '=');
  EXPECT_EQ(DecodeXtext(xtext), every);
  EXPECT_EQ(EncodeXtext("a b+c=d"), "a+20b+2Bc+3Dd");
  EXPECT_EQ(DecodeXtext("a+2bc"), "a+c");
}

TEST(XClientCommand, SaysWhatIsAskedForAndKnown) {
  ClientIdentity client;
  client.address = Ipv4("192.0.2.7", 4711);
  client.local_address = Ipv4("198.51.100.1", 25);
  client.helo = "m x";
  client.extended = true;
  EXPECT_EQ(
      XClientCommand("NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT", client),
      "XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7 PORT=4711 PROTO=ESMTP HELO=m+20x DESTADDR=198.51.100.1 "
      "DESTPORT=25");
  client.extended = false;
  EXPECT_EQ(XClientCommand("proto addr", client), "XCLIENT PROTO=SMTP ADDR=192.0.2.7");
}

TEST(XClientCommand, MarksIpv6ButNotMappedIpv4) {
  ClientIdentity client;
  client.address = Ipv6("2001:db8::1", 1);
  EXPECT_EQ(XClientCommand("ADDR", client), "XCLIENT ADDR=IPV6:2001:db8::1");
  client.address = Ipv6("::ffff:192.0.2.7", 1);
  EXPECT_EQ(XClientCommand("ADDR", client), "XCLIENT ADDR=192.0.2.7");
}

TEST(XClientCommand, SaysThatThereIsNoAddress) {
  ClientIdentity client;
  EXPECT_EQ(XClientCommand("ADDR PORT", client), "XCLIENT ADDR=[UNAVAILABLE]");
  client.address = *SocketAddress::FromPath("/run/x");
  EXPECT_EQ(XClientCommand("ADDR PORT", client), "XCLIENT ADDR=[UNAVAILABLE]");
}

TEST(XClientCommand, SaysNothingThatTheServerDoesNotListWithADDR) {
  ClientIdentity client;
  client.address = Ipv4("192.0.2.7", 1);
  EXPECT_EQ(XClientCommand("NAME PROTO", client), "");
  EXPECT_EQ(XClientCommand("", client), "");
}

TEST(XClientCommand, SaysEachAttributeOnce) {
  ClientIdentity client;
  client.address = Ipv4("192.0.2.7", 1);
  EXPECT_EQ(XClientCommand("PORT ADDR port addr ADDR", client), "XCLIENT PORT=1 ADDR=192.0.2.7");
}

TEST(XClientCommand, LeavesOutWhatIsNotKnown) {
  ClientIdentity client;
  client.address = Ipv4("192.0.2.7", 1);
  const std::string long_name(300, 'x');
  client.helo = long_name;
  EXPECT_EQ(XClientCommand("ADDR HELO DESTADDR DESTPORT", client), "XCLIENT ADDR=192.0.2.7");
}

}  // namespace
}  // namespace bivalve::net
