// The JSON Schema of GET /stats and GET /sessions, made from the table of metrics. tools/gen_docs prints
// them; a scenario test checks a running daemon's replies against them.
#pragma once

#include <string>

namespace bivalve::appliance {

std::string StatsSchema();
std::string SessionsSchema();

}  // namespace bivalve::appliance
