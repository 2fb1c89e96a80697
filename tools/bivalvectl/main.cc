// The operator's tool. See command.h for how it is built and bivalvectl(1) for what it does.
#include <cstdio>
#include <span>
#include <string>

#include "core/text.h"
#include "tools/bivalvectl/command.h"

int main(int argc, char** argv) {
  using namespace bivalve::ctl;
  const auto invocation = ParseArguments(std::span<const char* const>(argv + 1, argv + argc));
  if (!invocation.ok()) {
    Fail(kExitUsage, std::string(invocation.status().message()));
    std::fputs(UsageText().c_str(), stderr);
    return kExitUsage;
  }
  if (invocation->help) {
    std::fputs((invocation->command != nullptr ? UsageText(*invocation->command) : UsageText()).c_str(),
               stdout);
    return kExitOk;
  }
  const int status = invocation->command->run(*invocation);
  if (std::fflush(stdout) != 0 && status == kExitOk) return Fail(kExitFailed, "cannot write the output");
  return status;
}
