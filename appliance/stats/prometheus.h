// PrometheusText: writes the Prometheus text format 0.0.4. It knows the format, but not the metrics: families
// and their samples come in the order of the calls.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "core/histogram.h"

namespace bivalve::appliance {

// `text` with everything that is not UTF-8 replaced by U+FFFD, as label values and JSON require.
std::string ValidUtf8(std::string_view text);

class PrometheusText {
 public:
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";
  // Values are valid UTF-8. They are first made printable (core/printable.h): a label says \x1b instead of
  // that character, and two backslashes instead of one. Then they are escaped as the format requires.
  using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

  // Begins a family; the samples that follow belong to it. `type`: "counter", "gauge" or "histogram".
  void Family(std::string_view name, std::string_view type, std::string_view help);
  void Sample(Labels labels, uint64_t value);
  // Writes all digits that are needed to read the same number back.
  void Sample(Labels labels, double value);
  // A duration histogram in seconds, made from one in microseconds. The buckets end at powers of two, which
  // are also bounds of the original histogram's buckets. So each bucket counts exactly the durations below
  // its bound.
  void Histogram(Labels labels, const core::Histogram::Snapshot& microseconds);

  std::string Take() { return std::move(text_); }

 private:
  void Line(std::string_view suffix, Labels labels, std::string_view le, std::string_view value);

  std::string name_;  // of the family
  std::string text_;
};

}  // namespace bivalve::appliance
