// PrometheusText: writes the Prometheus text format 0.0.4. Knows the format and nothing of what is counted:
// families and their samples come in the order of the calls.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "core/histogram.h"

namespace bivalve::appliance {

// `text` with what is no UTF-8 replaced by U+FFFD, as label values and JSON want it.
std::string ValidUtf8(std::string_view text);

class PrometheusText {
 public:
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";
  // Values are valid UTF-8. They are made printable (core/printable.h), so a label says \x1b where the text
  // has that character, and two backslashes for one; and then escaped as the format wants it.
  using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

  // Begins a family. The samples that follow are its own. `type`: "counter", "gauge" or "histogram".
  void Family(std::string_view name, std::string_view type, std::string_view help);
  void Sample(Labels labels, uint64_t value);
  // With all digits that are needed to read the same number back.
  void Sample(Labels labels, double value);
  // A duration histogram in seconds, from one in microseconds: buckets at powers of two, which are bounds of
  // the histogram's own, so that each bucket counts exactly the durations below its bound.
  void Histogram(Labels labels, const core::Histogram::Snapshot& microseconds);

  std::string Take() { return std::move(text_); }

 private:
  void Line(std::string_view suffix, Labels labels, std::string_view le, std::string_view value);

  std::string name_;  // of the family
  std::string text_;
};

}  // namespace bivalve::appliance
