// Documents made from the table of commands: the manual page and the shells' completion. Only tools/gen_docs
// uses them. Its output is committed in appliance/man and appliance/completion, and a test compares the two.
#pragma once

#include <string>

namespace bivalve::ctl {

// bivalvectl(1), in mdoc(7).
std::string CtlManual();

// For bash: of bivalvectl's commands and options, and of bivalved's options.
std::string BashCompletionOfCtl();
std::string BashCompletionOfDaemon();

}  // namespace bivalve::ctl
