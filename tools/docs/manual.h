// The pages that list settings, made from the table of options: bivalved.conf(5) and the sample
// configuration. Only tools/gen_docs uses them. Its output is committed in appliance/man, and a test compares
// the two.
#pragma once

#include <string>

namespace bivalve::appliance {

// The manual page, in mdoc(7).
std::string ConfigManual();
// A configuration file with every setting; those with a default are comments.
std::string SampleConfig();

}  // namespace bivalve::appliance
