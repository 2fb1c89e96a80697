// Command lines: every result borrows from the line, a number is a number, and a refused verb stays refused
// however it is written.
#include <string>

#include "core/text.h"
#include "net/smtp_command.h"
#include "tests/fuzz/fuzz.h"

using namespace bivalve;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view line = fuzz::Text(data, size);
  const net::Command command = net::ParseCommand(line);
  fuzz::CheckBorrows(line, command.arguments);
  const bool clean = net::LineIsClean(line);
  BV_CHECK(clean == (line.find_first_of(std::string_view("\r\0", 2)) == std::string_view::npos));
  if (const auto path = net::ParsePath(command.arguments)) fuzz::CheckBorrows(line, *path);
  for (const std::string_view keyword : {"SIZE", "BODY", "AUTH"}) {
    const auto value = net::FindParameter(command.arguments, keyword);
    if (!value.has_value() || value->empty()) continue;
    fuzz::CheckBorrows(line, *value);
    // The session removes "SIZE=…" from the line, from before the value.
    const size_t before = static_cast<size_t>(value->data() - line.data());
    BV_CHECK(before > keyword.size() + 1);
    BV_CHECK(core::EqualsIgnoreCase(line.substr(before - keyword.size() - 1, keyword.size()), keyword));
    if (const auto number = net::ParseNumber(*value)) BV_CHECK(*number <= uint64_t{INT64_MAX});
  }
  if (const auto bdat = net::ParseBdat(command.arguments)) BV_CHECK(bdat->chunk_bytes <= uint64_t{INT64_MAX});
  // Neither white space before the verb nor the case of its letters changes the result.
  std::string other = " \t";
  for (const char c : line) other += core::AsciiLower(c);
  const net::Command again = net::ParseCommand(other);
  BV_CHECK(again.verb == command.verb && again.kind == command.kind &&
           again.arguments.size() == command.arguments.size());
  return 0;
}
