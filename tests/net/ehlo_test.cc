#include "net/ehlo.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace bivalve::net {
namespace {

// The reply to a client for these lines of the server after its greeting.
std::string ReplyFor(std::initializer_list<std::string_view> lines, EhloReply::Options options = {}) {
  EhloReply reply("filter.example", options);
  reply.Add("server.example at your service");
  for (std::string_view line : lines) reply.Add(line);
  return reply.Finish();
}

ServerExtensions ServerFor(std::initializer_list<std::string_view> lines) {
  EhloReply reply("filter.example", {});
  reply.Add("server.example");
  for (std::string_view line : lines) reply.Add(line);
  return reply.server();
}

TEST(EhloReply, ShowsOurNameInsteadOfTheServers) {
  EXPECT_EQ(ReplyFor({"PIPELINING"}), "250-filter.example\r\n250 PIPELINING\r\n");
}

TEST(EhloReply, TakesTheFirstLineForTheGreetingWhateverItSays) {
  EhloReply reply("filter.example", {});
  reply.Add("STARTTLS");
  reply.Add("DSN");
  EXPECT_EQ(reply.Finish(), "250-filter.example\r\n250-DSN\r\n250 PIPELINING\r\n");
}

TEST(EhloReply, PassesKnownExtensionsWordForWord) {
  EXPECT_EQ(ReplyFor({"PIPELINING", "dsn", "LIMITS RCPTMAX=100  MAILMAX=5", "8BITMIME", "HELP"}),
            "250-filter.example\r\n250-PIPELINING\r\n250-dsn\r\n250-LIMITS RCPTMAX=100  MAILMAX=5\r\n"
            "250-8BITMIME\r\n250 HELP\r\n");
  for (const std::string_view line :
       {"ENHANCEDSTATUSCODES", "XFORWARD NAME ADDR", "SMTPUTF8", "UTF8SMTP", "DELIVERBY 1200",
        "MT-PRIORITY MIXER", "FUTURERELEASE 1 2", "RRVS", "NO-SOLICITING x", "MTRK", "SUBMITTER", "CONPERM",
        "CONNEG", "VERP", "XVERP", "ETRN", "VRFY", "EXPN"}) {
    EXPECT_EQ(ReplyFor({"PIPELINING", line}),
              "250-filter.example\r\n250-PIPELINING\r\n250 " + std::string(line) + "\r\n");
  }
}

TEST(EhloReply, HidesWhatWouldGoByTheScanner) {
  EXPECT_EQ(
      ReplyFor({"PIPELINING", "STARTTLS", "XCLIENT NAME ADDR", "XEXCH50", "CHECKPOINT", "BURL imap", "TURN",
                "ATRN", "PIPE_CONNECT", "X_PIPE_CONNECT", "PIPECONNECT", "PRDR", "CHUNKING", "BINARYMIME"}),
      "250-filter.example\r\n250 PIPELINING\r\n");
}

TEST(EhloReply, HidesWhateverTheCaseOrTheSeparator) {
  EXPECT_EQ(ReplyFor({"StartTLS", "starttls now", "XCLIENT\tNAME", "xexch50=1", " STARTTLS", "PIPELINING"}),
            "250-filter.example\r\n250 PIPELINING\r\n");
}

// An extension of any name stays hidden until we know that it does no harm.
TEST(EhloReply, HidesWhatIsNotKnown) {
  EXPECT_EQ(ReplyFor({"PIPELINING",
                      "X-EXPS GSSAPI NTLM",
                      "X-EXPS=LOGIN",
                      "X-ANONYMOUSTLS",
                      "XTLS",
                      "X-LINK2STATE",
                      "XSHADOW",
                      "XSHADOWREQUEST",
                      "XPROXY",
                      "XOORG",
                      "XRDST",
                      "XSESSIONPARAMS",
                      "REQUIRETLS",
                      "VERB",
                      "ONEX",
                      "SEND",
                      "SAML",
                      "SOML",
                      "X-Whatever = \t1",
                      "STARTTLSX",
                      "BURLY",
                      "DSN\vX",
                      "DSNX"}),
            "250-filter.example\r\n250-PIPELINING\r\n250 DSN\vX\r\n");
}

TEST(EhloReply, ShowsChunkingWhereBothSidesHaveIt) {
  EXPECT_EQ(ReplyFor({"PIPELINING", "CHUNKING", "BINARYMIME"}, {.chunking = true}),
            "250-filter.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n");
  EXPECT_EQ(ReplyFor({"PIPELINING", "CHUNKING", "BINARYMIME"}, {.binary_mime = true}),
            "250-filter.example\r\n250 PIPELINING\r\n");
  EXPECT_EQ(ReplyFor({"PIPELINING", "CHUNKING", "BINARYMIME"}, {.chunking = true, .binary_mime = true}),
            "250-filter.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 BINARYMIME\r\n");
  EXPECT_EQ(ReplyFor({"BINARYMIME", "binarymime", "CHUNKING"}, {.chunking = true, .binary_mime = true}),
            "250-filter.example\r\n250-BINARYMIME\r\n250-CHUNKING\r\n250 PIPELINING\r\n")
      << "in any order";
  EXPECT_EQ(ReplyFor({"PIPELINING"}, {.chunking = true}), "250-filter.example\r\n250 PIPELINING\r\n");
}

// RFC 3030 section 3: a binary message can only be sent by BDAT, which such a server does not accept.
TEST(EhloReply, HidesBinaryMimeOfAServerWithoutChunking) {
  EXPECT_EQ(ReplyFor({"PIPELINING", "BINARYMIME", "DSN"}, {.chunking = true, .binary_mime = true}),
            "250-filter.example\r\n250-PIPELINING\r\n250 DSN\r\n");
  EXPECT_EQ(ReplyFor({"DSN", "BINARYMIME"}, {.chunking = true, .binary_mime = true}),
            "250-filter.example\r\n250-DSN\r\n250 PIPELINING\r\n");
}

TEST(EhloReply, AlwaysShowsPipelining) {
  EXPECT_EQ(ReplyFor({}), "250-filter.example\r\n250 PIPELINING\r\n");
  EXPECT_EQ(ReplyFor({"pipelining", "DSN"}), "250-filter.example\r\n250-PIPELINING\r\n250 DSN\r\n");
}

TEST(EhloReply, ShowsPipeliningOnce) {
  EXPECT_EQ(ReplyFor({"PIPELINING", "PIPELINING"}), "250-filter.example\r\n250 PIPELINING\r\n");
}

TEST(EhloReply, IsCompleteEvenWithoutAServer) {
  EXPECT_EQ(EhloReply("filter.example", {}).Finish(), "250-filter.example\r\n250 PIPELINING\r\n");
}

TEST(EhloReply, ShowsTheSmallerSize) {
  struct Case {
    std::string_view server;
    uint64_t ours;
    std::string_view shown;
  };
  for (const Case& c :
       {Case{"SIZE 100", 200, "SIZE 100"}, Case{"SIZE 200", 100, "SIZE 100"}, Case{"SIZE 200", 0, "SIZE 200"},
        Case{"SIZE 0", 100, "SIZE 100"}, Case{"SIZE", 100, "SIZE 100"}, Case{"SIZE 0", 0, "SIZE 0"},
        Case{"SIZE", 0, "SIZE 0"}, Case{"size 7", 0, "SIZE 7"}, Case{"SIZE  7 ", 0, "SIZE 7"}}) {
    EXPECT_EQ(ReplyFor({c.server, "PIPELINING"}, {.size_bytes_max = c.ours}),
              "250-filter.example\r\n250-" + std::string(c.shown) + "\r\n250 PIPELINING\r\n")
        << c.server << " with " << c.ours;
  }
}

TEST(EhloReply, TakesAMalformedSizeForNoLimit) {
  for (std::string_view line : {"SIZE many", "SIZE -1", "SIZE 1 2", "SIZE 99999999999999999999", "SIZE 5M"}) {
    EXPECT_EQ(ReplyFor({line}, {.size_bytes_max = 100}),
              "250-filter.example\r\n250-SIZE 100\r\n250 PIPELINING\r\n")
        << line;
    EXPECT_TRUE(ServerFor({line}).size) << line;
    EXPECT_EQ(ServerFor({line}).size_bytes, 0u) << line;
  }
}

TEST(EhloReply, ShowsOurSizeWhenTheServerHasNone) {
  EXPECT_EQ(ReplyFor({"DSN"}, {.size_bytes_max = 100}),
            "250-filter.example\r\n250-DSN\r\n250-PIPELINING\r\n250 SIZE 100\r\n");
}

TEST(EhloReply, ShowsSizeOnce) {
  EXPECT_EQ(ReplyFor({"PIPELINING", "SIZE 100", "SIZE 5"}),
            "250-filter.example\r\n250-PIPELINING\r\n250 SIZE 100\r\n");
}

TEST(EhloReply, LeavesMechanismsWithASecurityLayerOut) {
  EXPECT_EQ(
      ReplyFor({"PIPELINING", "AUTH GSSAPI PLAIN\vDIGEST-MD5 LOGIN gss-spnego SCRAM-SHA-256 GSSAPI-PLUS"}),
      "250-filter.example\r\n250-PIPELINING\r\n250 AUTH PLAIN LOGIN SCRAM-SHA-256\r\n");
}

// RFC 5802 section 6: no TLS channel between client and server exists that both could name.
TEST(EhloReply, LeavesMechanismsThatBindToTlsOut) {
  EXPECT_EQ(ReplyFor({"PIPELINING", "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 scram-sha-1-plus PLUS PLAIN",
                      "AUTH=SCRAM-SHA-256-PLUS"}),
            "250-filter.example\r\n250-PIPELINING\r\n250 AUTH SCRAM-SHA-256 PLUS PLAIN\r\n");
}

TEST(EhloReply, HidesAuthWithoutAMechanismLeft) {
  EXPECT_EQ(ReplyFor({"PIPELINING", "AUTH GSSAPI", "AUTH", "AUTH=", "AUTH=DIGEST-MD5 GSSAPI"}),
            "250-filter.example\r\n250 PIPELINING\r\n");
}

TEST(EhloReply, KeepsTheOldFormOfAuth) {
  EXPECT_EQ(ReplyFor({"PIPELINING", "auth=LOGIN GSSAPI PLAIN", "AUTH=GSSAPI LOGIN"}),
            "250-filter.example\r\n250-PIPELINING\r\n250-AUTH=LOGIN PLAIN\r\n250 AUTH=LOGIN\r\n");
}

TEST(EhloReply, TellsWhatTheServerHas) {
  const ServerExtensions server = ServerFor({"pipelining", "SIZE 5", "8BITMIME", "CHUNKING", "BINARYMIME",
                                             "XCLIENT NAME", "XFORWARD NAME ADDR", "ENHANCEDSTATUSCODES"});
  EXPECT_TRUE(server.pipelining && server.size && server.eight_bit_mime && server.chunking &&
              server.binary_mime && server.xclient && server.xforward && server.enhanced_status_codes);
  EXPECT_EQ(server.size_bytes, 5u);
}

TEST(EhloReply, TellsWhatTheServerHasNot) {
  EhloReply reply("filter.example", {.size_bytes_max = 100, .chunking = true});
  reply.Add("server.example PIPELINING SIZE CHUNKING");
  reply.Add("DSN");
  reply.Finish();
  const ServerExtensions& server = reply.server();
  EXPECT_FALSE(server.pipelining || server.size || server.eight_bit_mime || server.chunking ||
               server.binary_mime || server.xclient || server.xforward || server.enhanced_status_codes);
  EXPECT_EQ(server.size_bytes, 0u);
}

TEST(BindsToTls, LooksAtTheEnding) {
  EXPECT_TRUE(BindsToTls("SCRAM-SHA-256-PLUS"));
  EXPECT_TRUE(BindsToTls("x-plus"));
  EXPECT_FALSE(BindsToTls("SCRAM-SHA-256"));
  EXPECT_FALSE(BindsToTls("-PLUS"));
  EXPECT_FALSE(BindsToTls("PLUS"));
  EXPECT_FALSE(BindsToTls("SCRAM-PLUS-1"));
  EXPECT_FALSE(BindsToTls(""));
}

TEST(HasSecurityLayer, IgnoresCase) {
  EXPECT_TRUE(HasSecurityLayer("gssapi"));
  EXPECT_TRUE(HasSecurityLayer("DIGEST-MD5"));
  EXPECT_FALSE(HasSecurityLayer("PLAIN"));
  EXPECT_FALSE(HasSecurityLayer("GSSAPI2"));
  EXPECT_FALSE(HasSecurityLayer(""));
}

}  // namespace
}  // namespace bivalve::net
