#include "scan/clamd_conf.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace bivalve::scan {
namespace {

TEST(ParseClamdConf, ReadsLimits) {
  const ClamdConf conf = ParseClamdConf(
      "# MaxFileSize 1K\n"
      "LocalSocket /run/clamav/clamd.ctl\r\n"
      "  tcpsocket\t3310\n"
      "MaxFileSize 25M\n"
      "MaxScanSize 4294967295\n"
      "StreamMaxLength \"10K\"\n"
      "MaxScanTime 300\n");
  EXPECT_EQ(conf.local_socket, "/run/clamav/clamd.ctl");
  ASSERT_EQ(conf.tcp_ports.size(), 1u);
  EXPECT_EQ(conf.tcp_ports[0], 3310);
  EXPECT_EQ(conf.limits.file_bytes_max, 25u << 20);
  EXPECT_EQ(conf.limits.scan_bytes_max, 4294967295u);
  EXPECT_EQ(conf.limits.stream_bytes_max, 10u << 10);
  EXPECT_EQ(conf.limits.scan_time_max, std::chrono::milliseconds(300));
}

TEST(ParseClamdConf, KeepsClamdsDefaultsForWhatItCannotRead) {
  const ClamdConf conf =
      ParseClamdConf("MaxFileSize\nMaxScanTime soon\nStreamMaxLength 10X\nMaxScanSize -1\nno end");
  EXPECT_EQ(conf.limits.file_bytes_max, 100u << 20);
  EXPECT_EQ(conf.limits.scan_bytes_max, 400u << 20);
  EXPECT_EQ(conf.limits.stream_bytes_max, 100u << 20);
  EXPECT_EQ(conf.limits.scan_time_max, std::chrono::minutes(2));
}

TEST(ParseClamdConf, ReadsWhatConcernsItsNeighbours) {
  const ClamdConf conf = ParseClamdConf(
      "MaxQueue 200\nMaxThreads 12\nReadTimeout 180\nCommandReadTimeout 30\nAlertExceedsMax yes\n"
      "ConcurrentDatabaseReload no\n");
  EXPECT_EQ(conf.limits.queue_max, 200u);
  EXPECT_EQ(conf.threads_max, 12u);
  EXPECT_EQ(conf.read_timeout, std::chrono::seconds(180));
  EXPECT_EQ(conf.command_read_timeout, std::chrono::seconds(30));
  EXPECT_TRUE(conf.alert_exceeds_max);
  EXPECT_FALSE(conf.concurrent_reload);
  EXPECT_FALSE(ParseClamdConf("AlertExceedsMax maybe").alert_exceeds_max);
  EXPECT_TRUE(ParseClamdConf("ConcurrentDatabaseReload").concurrent_reload);
}

TEST(ParseClamdConf, TakesZeroForNoLimit) {
  EXPECT_EQ(ParseClamdConf("StreamMaxLength 0").limits.stream_bytes_max, 0u);
}

TEST(ParseClamdConf, KnowsHowLongTheQueueIs) {
  EXPECT_EQ(ParseClamdConf("").limits.queue_max, 100u);
  EXPECT_EQ(ParseClamdConf("MaxQueue 30\nMaxThreads 4").limits.queue_max, 30u);
  EXPECT_EQ(ParseClamdConf("MaxQueue 30\nMaxThreads 40").limits.queue_max, 80u);
}

TEST(ShareOfQueue, KeepsAllWorkersTogetherBelowHalf) {
  EXPECT_EQ(ShareOfQueue({}, 4), 0u);
  EXPECT_EQ(ShareOfQueue({.queue_max = 100}, 1), 49u);
  EXPECT_EQ(ShareOfQueue({.queue_max = 100}, 4), 12u);
  EXPECT_EQ(ShareOfQueue({.queue_max = 8}, 1), 3u);
  EXPECT_EQ(ShareOfQueue({.queue_max = 8}, 16), 1u);
}

TEST(ShareOfThreads, LeavesHalfOfThemToOtherMail) {
  EXPECT_EQ(ParseClamdConf("MaxThreads 24").limits.threads_max, 24u);
  EXPECT_EQ(ThreadsOf(ParseClamdConf("MaxThreads 24").limits), 24u);
  EXPECT_EQ(ThreadsOf({}), 10u) << "clamd's default";
  EXPECT_EQ(ShareOfThreads({.threads_max = 24}, 2), 6u);
  EXPECT_EQ(ShareOfThreads({.threads_max = 24}, 16), 1u);
  EXPECT_EQ(ShareOfThreads({}, 2), 2u);
}

// A file beside the socket counts only if it names the socket as its own.
TEST(FindClamdConf, TakesOnlyTheScannersOwnFile) {
  std::string directory = (std::filesystem::temp_directory_path() / "clamd_conf_test.XXXXXX").string();
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  std::ofstream(directory + "/clamd.conf") << "LocalSocket " << directory << "/clamd.ctl\nMaxFileSize 7K\n";
  const auto its_own = FindClamdConf(directory + "/clamd.ctl", 0);
  ASSERT_TRUE(its_own.has_value());
  EXPECT_EQ(its_own->conf.limits.file_bytes_max, 7u << 10);
  EXPECT_TRUE(its_own->conf.limits.known);
  EXPECT_FALSE(FindClamdConf(directory + "/other.ctl", 0).has_value());
  EXPECT_FALSE(FindClamdConf("", 1).has_value());
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace bivalve::scan
