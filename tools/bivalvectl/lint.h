// What is wrong between neighbours: settings of Bivalve, clamd and Postfix that are each good and do not fit
// each other. One sentence of advice each. Pure functions of what was read; check.cc reads the files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "appliance/settings/config_file.h"
#include "scan/clamd_conf.h"
#include "tools/bivalvectl/postfix_conf.h"

namespace bivalve::ctl {

// A scanner as it is configured here, and its clamd.conf.
struct ScannerNeighbour {
  std::string address;     // as configured
  bool by_stream = false;  // gets messages over INSTREAM
  std::string path;        // of the clamd.conf
  scan::ClamdConf conf = {};
};
// `workers`: threads that handle mail.
std::vector<appliance::Problem> LintClamd(const appliance::Config& config, uint32_t workers,
                                          const ScannerNeighbour& scanner);

// `directory`: where main.cf and master.cf are, for messages.
std::vector<appliance::Problem> LintPostfix(const appliance::Config& config, const PostfixConf& postfix,
                                            const std::string& directory);

}  // namespace bivalve::ctl
