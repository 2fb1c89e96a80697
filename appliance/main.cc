#include <cstdio>
#include <span>
#include <string>

#include "appliance/daemon.h"
#include "appliance/settings/command_line.h"

int main(int argc, char** argv) {
  using namespace bivalve::appliance;
  const auto command_line = ParseCommandLine(std::span<const char* const>(argv, static_cast<size_t>(argc)));
  if (!command_line.ok()) {
    const ProgramName program = ProgramNameOf(argc > 0 ? argv[0] : "");
    std::fprintf(stderr, "%s: %s\n%s", std::string(ToString(program)).c_str(),
                 std::string(command_line.status().message()).c_str(), UsageText(program).c_str());
    return 2;
  }
  return RunProgram(*command_line);
}
