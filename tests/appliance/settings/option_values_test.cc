// Each type of value, by settings that have it.
#include "appliance/settings/option_values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "core/text.h"
#include "tests/appliance/settings/config_fixture.h"

namespace bivalve::appliance {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(OptionValues, ChecksNumbers) {
  EXPECT_EQ(Good("MaxConnections: 1").connections_max, 1u);
  EXPECT_EQ(Good("MaxConnections: 1000000").connections_max, 1000000u);
  EXPECT_EQ(Good("MaxConnections: 0064").connections_max, 64u);
  const std::string out_of_range[] = {"0", "-1", "1000001", "4294967297", "99999999999999999999999"};
  for (const std::string& value : out_of_range) {
    EXPECT_EQ(Problem1("MaxConnections: " + value),
              "MaxConnections: '" + value + "' is not between 1 and 1000000");
  }
  for (const char* value : {"x", "1x", "1 2", "1.5", "-", "+1", "0x10", "1K", "auto"}) {
    EXPECT_EQ(Problem1(core::Cat("MaxConnections: ", value)),
              core::Cat("MaxConnections: '", value, "' is not a whole number"));
  }
  EXPECT_EQ(Problem1("MaxConnections:"), "MaxConnections: needs a value");
}

TEST(OptionValues, KnowsAWordForZero) {
  EXPECT_EQ(Good("Workers: AUTO").workers, 0u);
  EXPECT_EQ(Good("Workers: 3").workers, 3u);
  EXPECT_EQ(Problem1("Workers: 0"), "Workers: '0' is not between 1 and 1024, nor auto");
  EXPECT_EQ(Problem1("Workers: many"), "Workers: 'many' is not a whole number, nor auto");
  EXPECT_EQ(Good("BodyMemory: auto").body_memory_bytes, 0u);
}

TEST(OptionValues, ChecksSeconds) {
  EXPECT_EQ(Good("TimeOut: 1").timeout, std::chrono::seconds(1));
  EXPECT_EQ(Good("ShutdownTimeOut: 0").shutdown_timeout, std::chrono::seconds(0));
  EXPECT_EQ(Problem1("TimeOut: 0"), "TimeOut: '0' is not between 1 and 86400");
  EXPECT_EQ(Problem1("ClamTimeOut: 2m"), "ClamTimeOut: '2m' is not a whole number of seconds");
}

TEST(OptionValues, ChecksSizes) {
  EXPECT_EQ(Good("MaxMessageSize: 0").message_bytes_max, 0u);
  EXPECT_EQ(Good("MaxMessageSize: 1000").message_bytes_max, 1000u);
  EXPECT_EQ(Good("MaxMessageSize: 3k").message_bytes_max, 3072u);
  EXPECT_EQ(Good("MaxMessageSize: 2M").message_bytes_max, 2u << 20);
  EXPECT_EQ(Good("BodyMemory: 5G").body_memory_bytes, uint64_t{5} << 30);
  EXPECT_EQ(Problem1("BodyMemory: 0"), "BodyMemory: '0' is not between 1 and 1048576G, nor auto");
  for (const char* value :
       {"1048577G", "17179869184G", "17179869185G", "18446744073709551615", "20000000000000000000G", "-1K"}) {
    EXPECT_EQ(Problem1(core::Cat("MaxMessageSize: ", value)),
              core::Cat("MaxMessageSize: '", value, "' is not between 0 and 1048576G"));
  }
  for (const char* value : {"100MB", "M", "10 M", "1.5G", "10T", "x"}) {
    EXPECT_EQ(Problem1(core::Cat("MaxMessageSize: ", value)),
              core::Cat("MaxMessageSize: '", value, "' is not a size such as 65536, 512K, 100M or 2G"));
  }
}

TEST(OptionValues, ChecksSwitches) {
  for (const char* on : {"on", "ON", "yes", "true", "1"}) {
    EXPECT_THAT(Problems(core::Cat("OutAddress: 25\nBounce: ", on)),
                ElementsAre("warning: x.conf:2: Bounce: is an old name; use \"Action: bounce\" instead"));
    EXPECT_EQ(Good(core::Cat("Bounce: ", on)).action, VirusPolicy::kBounce);
  }
  for (const char* off : {"off", "No", "false", "0"}) {
    EXPECT_EQ(Good(core::Cat("Bounce: ", off)).action, VirusPolicy::kDrop);
  }
  for (const char* value : {"maybe", "2", "of", "enabled"}) {
    EXPECT_EQ(Problem1(core::Cat("Bounce: ", value)),
              core::Cat("Bounce: '", value, "' is neither on nor off"));
  }
  EXPECT_EQ(Problem1("Bounce:"), "Bounce: needs a value");

  // No setting of today is a plain switch; the next one will be.
  Config config = {};
  const Option option{.name = "Switch", .field = &Config::stats_address_set};
  EXPECT_TRUE(SetOption(config, option, "on").ok());
  EXPECT_TRUE(config.stats_address_set);
  EXPECT_THAT(PrintOption(config, option), ElementsAre("on"));
}

TEST(OptionValues, ChecksChoices) {
  EXPECT_EQ(Good("Action: Bounce").action, VirusPolicy::kBounce);
  EXPECT_EQ(Good("Action: pass").action, VirusPolicy::kPass);
  EXPECT_EQ(Good("ClamMethod: fildes").clam_method, ClamMethod::kFildes);
  EXPECT_EQ(Good("ClamMethod: instream").clam_method, ClamMethod::kInstream);
  EXPECT_EQ(Good("BareNewline: reject").bare_newline, BareNewline::kReject);
  EXPECT_EQ(Good("BareNewline: pass").bare_newline, BareNewline::kPass);
  EXPECT_EQ(Problem1("Action: reject"), "Action: 'reject' is not one of drop, bounce, pass");
  EXPECT_EQ(Problem1("ClamMethod: file"), "ClamMethod: 'file' is not one of auto, fildes, instream");
  EXPECT_EQ(Problem1("BareNewline: off"), "BareNewline: 'off' is not one of guard, reject, pass");
  EXPECT_EQ(Problem1("Action:"), "Action: needs a value");
}

TEST(OptionValues, ReadsScanFailureAsOneActionOrAList) {
  using enum FailurePolicy;
  EXPECT_THAT(Good("ScanFailure: pass").scan_failure, ElementsAre(kPass, kPass, kPass, kPass, kPass));
  EXPECT_THAT(Good("ScanFailure: down=tempfail, timeout=tempfail, error=tempfail, size=reject, limits=pass")
                  .scan_failure,
              ElementsAre(kTempfail, kTempfail, kTempfail, kReject, kPass));
  EXPECT_THAT(Good("ScanFailure: LIMITS = pass,down=reject").scan_failure,
              ElementsAre(kReject, kTempfail, kTempfail, kReject, kPass))
      << "what is not named keeps the default";
  EXPECT_EQ(Problem1("ScanFailure: drop"), "ScanFailure: 'drop' is not one of tempfail, reject, pass");
  EXPECT_EQ(Problem1("ScanFailure: down=drop"), "ScanFailure: 'drop' is not one of tempfail, reject, pass");
  EXPECT_EQ(Problem1("ScanFailure: load=pass"),
            "ScanFailure: 'load' is not one of down, timeout, error, size, limits");
  EXPECT_EQ(Problem1("ScanFailure: down=pass, down=pass"), "ScanFailure: has the cause 'down' twice");
  EXPECT_EQ(Problem1("ScanFailure: pass, down=tempfail"),
            "ScanFailure: 'pass' is not like CAUSE=ACTION, as everything in a list must be");
  EXPECT_EQ(Problem1("ScanFailure: down=pass,"),
            "ScanFailure: '' is not like CAUSE=ACTION, as everything in a list must be");
  EXPECT_EQ(Problem1("ScanFailure:"), "ScanFailure: needs a value");
  // All that is wrong with a list, at once.
  EXPECT_EQ(Problem1("ScanFailure: load=drop, down, size=pass, size=reject"),
            "ScanFailure: 'load' is not one of down, timeout, error, size, limits; "
            "'drop' is not one of tempfail, reject, pass; "
            "'down' is not like CAUSE=ACTION, as everything in a list must be; has the cause 'size' twice");
}

TEST(OptionValues, ChecksAddresses) {
  EXPECT_THAT(Texts(Parse("OutAddress: 192.0.2.1").config.out_address), ElementsAre("192.0.2.1:25"));
  EXPECT_THAT(Texts(Good("Listen: 192.0.2.1").listen), ElementsAre("192.0.2.1:10025"));
  EXPECT_THAT(Texts(Good("ClamAddress: 3310").clam_address), ElementsAre("127.0.0.1:3310"));
  EXPECT_EQ(net::ToString(*Good("StatsAddress: 80").stats_address), "127.0.0.1:80");
  EXPECT_EQ(net::ToString(*Good("StatsAddress: /run/stats").stats_address), "/run/stats");
  // The words are those of net::ParseEndpoint.
  for (const char* value : {"99999", "0", "host:", "a b:25", "[::1", "1.2.3.4:x"}) {
    const std::string problem = Problem1(core::Cat("Listen: ", value));
    EXPECT_TRUE(problem.starts_with("Listen: ")) << value << ": " << problem;
  }
  EXPECT_NE(Problem1("ClamAddress: clamd.example"), "");  // without a port
}

TEST(OptionValues, ReadsModesInOctal) {
  EXPECT_EQ(Good("").socket_mode, FileMode{0660});
  for (const char* text : {"SocketMode: 0666", "SocketMode: 666"})
    EXPECT_EQ(Good(text).socket_mode, FileMode{0666});
  EXPECT_EQ(Good("SocketMode: 0").socket_mode, FileMode{0});
  EXPECT_EQ(Good("SocketMode: 0777").socket_mode, FileMode{0777});
  for (const std::string text : {"0680", "1777", "01777", "-1", "0x1", "rw", "00660", "660 ", "7777777"}) {
    const Parsed parsed =
        ParseConfig("OutAddress: 26\nSocketMode: " + text, "x", ProgramName::kBivalved, {}, NoneExists);
    EXPECT_EQ(parsed.ok(), text == "660 ") << text;
  }
}

TEST(OptionValues, KnowsWhetherTheStatsAddressWasSet) {
  EXPECT_TRUE(Good("StatsAddress: 127.0.0.1:10027").stats_address_set);
  const Config off = Good("StatsAddress:");
  EXPECT_TRUE(off.stats_address_set);
  EXPECT_FALSE(off.stats_address.has_value());
}

TEST(OptionValues, ReadsProxyNetworks) {
  const Config config =
      Good("ProxyProtocol: on\nProxyProtocolFrom: 192.0.2.0/24\nProxyProtocolFrom: 2001:db8::/32");
  EXPECT_TRUE(config.proxy_protocol);
  ASSERT_EQ(config.proxy_protocol_from.size(), 2u);
  EXPECT_EQ(config.proxy_protocol_from[0].ToString(), "192.0.2.0/24");
  EXPECT_EQ(config.proxy_protocol_from[1].ToString(), "2001:db8::/32");
  EXPECT_TRUE(Good("").proxy_protocol_from.empty());
  EXPECT_EQ(Problem1("ProxyProtocolFrom: 192.0.2.1/24"),
            "ProxyProtocolFrom: '192.0.2.1/24' has bits behind its prefix");
  EXPECT_EQ(Problem1("ProxyProtocolFrom: mail"),
            "ProxyProtocolFrom: 'mail' is not a network such as 192.0.2.0/24 or 2001:db8::/32");
}

TEST(OptionValues, ReadsTheLimitForEachClient) {
  EXPECT_EQ(Good("").connections_per_client_max, 0u);
  EXPECT_EQ(Good("MaxConnectionsPerClient: 5").connections_per_client_max, 5u);
  EXPECT_EQ(Problem1("MaxConnectionsPerClient: 0"),
            "MaxConnectionsPerClient: '0' is not between 1 and 1000000, nor off");
}

TEST(OptionValues, ChecksTexts) {
  EXPECT_EQ(Problem1("TempDirectory:"), "TempDirectory: needs a value");
  EXPECT_EQ(Good("PidFile:").pid_file, "");
  EXPECT_EQ(Good("HostName: mx_1.example.org").host_name, "mx_1.example.org");
  EXPECT_EQ(Good("HostName: [IPv6:2001:db8::1]").host_name, "[IPv6:2001:db8::1]");
  EXPECT_EQ(Problem1("HostName: mx example"), "HostName: 'mx example' is no host name");
  EXPECT_EQ(Problem1("HostName:"), "HostName: needs a value");
  EXPECT_EQ(Problem1("Header: X: %z"), "Header: unknown sequence '%z'; known are %i %l %d %%");
  EXPECT_EQ(Good("Header: X: %i\\n\\t%%").header, "X: %i\\n\\t%%");
}

}  // namespace
}  // namespace bivalve::appliance
