// Configurations: every problem is one printable line. An accepted configuration, printed and read again, is
// accepted and prints the same.
#include <string>

#include "appliance/settings/config_file.h"
#include "tests/fuzz/fuzz.h"

using namespace bivalve;

namespace {
bool NoPaths(const std::string&) { return false; }
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fuzz::Text(data, size);
  const appliance::Parsed parsed =
      appliance::ParseConfig(text, "fuzz", appliance::ProgramName::kBivalved, {}, NoPaths);
  for (const appliance::Problem& problem : parsed.problems) {
    for (const char c : appliance::ToString(problem))
      BV_CHECK(static_cast<unsigned char>(c) >= ' ' && c != '\x7f');
  }
  if (!parsed.ok()) return 0;
  const std::string printed = appliance::DumpConfig(parsed.config);
  const appliance::Parsed again =
      appliance::ParseConfig(printed, "fuzz", appliance::ProgramName::kBivalved, {}, NoPaths);
  BV_CHECK(again.ok());
  BV_CHECK(appliance::DumpConfig(again.config) == printed);
  return 0;
}
