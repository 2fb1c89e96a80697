#include "appliance/stats/prometheus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace bivalve::appliance {
namespace {

using testing::HasSubstr;

TEST(PrometheusText, WritesAFamilyToTheLetter) {
  PrometheusText text;
  text.Family("a_total", "counter", "What a \\ is.");
  text.Sample({}, uint64_t{18446744073709551615u});
  text.Sample({{"x", "1"}, {"y", ""}}, 0.25);
  EXPECT_EQ(text.Take(),
            "# HELP a_total What a \\\\ is.\n# TYPE a_total counter\na_total 18446744073709551615\n"
            "a_total{x=\"1\",y=\"\"} 0.25\n");
}

TEST(PrometheusText, EscapesLabelValues) {
  PrometheusText text;
  text.Family("a", "gauge", "Help.");
  text.Sample({{"x", "say \"quote\""}}, uint64_t{1});
  EXPECT_THAT(text.Take(), HasSubstr("a{x=\"say \\\"quote\\\"\"} 1\n"));
}

// As bivalvectl shows them; in this format a backslash becomes two.
TEST(PrometheusText, ShowsNoControlCharacter) {
  PrometheusText text;
  text.Family("a", "gauge", "Help.");
  text.Sample({{"x", "\x1b[2J\n\xc2\x9b\xe2\x80\xae\\"}}, uint64_t{1});
  EXPECT_THAT(text.Take(), HasSubstr(R"(a{x="\\x1b[2J\\x0a\\u{9b}\\u{202e}\\\\"} 1)"
                                     "\n"));
}

TEST(PrometheusText, WritesAHistogramInSeconds) {
  core::Histogram histogram;
  // On both sides of a bound: 1,023 µs are less than 1.024 ms, 1,024 µs are not.
  for (const uint64_t us : {0, 63, 64, 1023, 1024, 2'500'000}) histogram.Record(us);
  PrometheusText text;
  text.Family("h", "histogram", "Help.");
  text.Histogram({{"x", "1"}}, histogram.Read());
  const std::string lines = text.Take();
  for (const std::string_view line :
       {"h_bucket{x=\"1\",le=\"0.000064\"} 2\n", "h_bucket{x=\"1\",le=\"0.000128\"} 3\n",
        "h_bucket{x=\"1\",le=\"0.001024\"} 4\n", "h_bucket{x=\"1\",le=\"0.002048\"} 5\n",
        "h_bucket{x=\"1\",le=\"2.097152\"} 5\n", "h_bucket{x=\"1\",le=\"4.194304\"} 6\n",
        "h_bucket{x=\"1\",le=\"268.435456\"} 6\n", "h_bucket{x=\"1\",le=\"+Inf\"} 6\n",
        "h_sum{x=\"1\"} 2.502174\nh_count{x=\"1\"} 6\n"}) {
    EXPECT_THAT(lines, HasSubstr(std::string(line)));
  }
}

TEST(PrometheusText, CountsWhatIsBeyondTheLastBound) {
  core::Histogram histogram;
  histogram.Record(uint64_t{1} << 31);
  PrometheusText text;
  text.Family("h", "histogram", "Help.");
  text.Histogram({}, histogram.Read());
  const std::string lines = text.Take();
  EXPECT_THAT(lines,
              HasSubstr("h_bucket{le=\"268.435456\"} 0\nh_bucket{le=\"+Inf\"} 1\nh_sum 2147.483648\n"));
}

TEST(ValidUtf8, KeepsWhatIsAndReplacesWhatIsNot) {
  EXPECT_EQ(ValidUtf8("plain \xc3\xbc \xe2\x82\xac \xf0\x9f\x90\x9a"),
            "plain \xc3\xbc \xe2\x82\xac \xf0\x9f\x90\x9a");
  const std::string_view bad = "\xef\xbf\xbd";
  EXPECT_EQ(ValidUtf8("a\xff"
                      "b"),
            "a" + std::string(bad) + "b");
  EXPECT_EQ(ValidUtf8("\xc3"), bad);
  for (const std::string_view text :
       {"\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\x80\x80"}) {
    std::string expected;
    for (size_t i = 0; i < text.size(); ++i) expected += bad;
    EXPECT_EQ(ValidUtf8(text), expected);
  }
}

}  // namespace
}  // namespace bivalve::appliance
