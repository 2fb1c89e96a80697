#include "appliance/stats/prometheus.h"

#include <array>
#include <charconv>

#include "core/check.h"
#include "core/printable.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

// Buckets from 64 µs to 268 s, a range that includes the default of every timeout.
constexpr int kFirstBucketBits = 6;
constexpr int kLastBucketBits = 28;
static_assert(kFirstBucketBits > core::Histogram::kSubBits && kLastBucketBits < core::Histogram::kValueBits);

// The format would pass control characters on unchanged, to the terminal of a person who looks at it.
void AppendLabelValue(std::string& out, std::string_view value) {
  for (const char c : core::Printable(value)) {
    if (c == '\\' || c == '"') out += '\\';
    out += c;
  }
}

// Microseconds as seconds, with as many digits as needed.
std::string Seconds(uint64_t microseconds) {
  std::string text = core::Cat(microseconds / 1'000'000);
  std::string fraction = core::Cat(microseconds % 1'000'000);
  fraction.insert(0, 6 - fraction.size(), '0');
  fraction.erase(fraction.find_last_not_of('0') + 1);
  if (!fraction.empty()) core::Append(text, ".", fraction);
  return text;
}

}  // namespace

std::string ValidUtf8(std::string_view text) {
  std::string valid;
  while (!text.empty()) {
    const size_t bytes = core::Utf8CharacterBytes(text);
    valid += bytes == 0 ? std::string_view("\xef\xbf\xbd") : text.substr(0, bytes);
    text.remove_prefix(bytes == 0 ? 1 : bytes);
  }
  return valid;
}

void PrometheusText::Family(std::string_view name, std::string_view type, std::string_view help) {
  name_ = name;
  core::Append(text_, "# HELP ", name, " ");
  for (const char c : help) {
    if (c == '\\') text_ += '\\';
    text_ += c;
  }
  core::Append(text_, "\n# TYPE ", name, " ", type, "\n");
}

void PrometheusText::Sample(Labels labels, uint64_t value) { Line("", labels, "", core::Cat(value)); }

void PrometheusText::Sample(Labels labels, double value) {
  std::array<char, 32> digits;
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  Line("", labels, "", {digits.data(), static_cast<size_t>(end - digits.data())});
}

void PrometheusText::Histogram(Labels labels, const core::Histogram::Snapshot& microseconds) {
  for (int bits = kFirstBucketBits; bits <= kLastBucketBits; ++bits) {
    const uint64_t bound = uint64_t{1} << bits;
    Line("_bucket", labels, Seconds(bound), core::Cat(microseconds.CountUpTo(bound - 1)));
  }
  Line("_bucket", labels, "+Inf", core::Cat(microseconds.count));
  Line("_sum", labels, "", Seconds(microseconds.sum));
  Line("_count", labels, "", core::Cat(microseconds.count));
}

void PrometheusText::Line(std::string_view suffix, Labels labels, std::string_view le,
                          std::string_view value) {
  BV_CHECK(!name_.empty());
  core::Append(text_, name_, suffix);
  char separator = '{';
  for (const auto& [name, label] : labels) {
    core::Append(text_, separator, name, "=\"");
    AppendLabelValue(text_, label);
    text_ += '"';
    separator = ',';
  }
  if (!le.empty()) {
    core::Append(text_, separator, "le=\"", le, "\"");
    separator = ',';
  }
  if (separator == ',') text_ += '}';
  core::Append(text_, " ", value, "\n");
}

}  // namespace bivalve::appliance
