// Prints what is made from the table of settings:
//
//   gen_docs conf.5    the manual page bivalved.conf(5)
//   gen_docs sample    the sample configuration
//   gen_docs --check DIRECTORY    status 1 when DIRECTORY (appliance/man) has something else
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "appliance/manual.h"

namespace {

bool IsCurrent(const std::string& path, const std::string& text) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream content;
  content << file.rdbuf();
  if (file && content.str() == text) return true;
  std::fprintf(stderr, "%s is not what gen_docs prints\n", path.c_str());
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace bivalve::appliance;
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "conf.5") return std::fputs(ConfigManual().c_str(), stdout) < 0;
  if (what == "sample") return std::fputs(SampleConfig().c_str(), stdout) < 0;
  if (what == "--check" && argc == 3) {
    const std::string directory = argv[2];
    const bool manual = IsCurrent(directory + "/bivalved.conf.5", ConfigManual());
    const bool sample = IsCurrent(directory + "/bivalved.conf", SampleConfig());
    return manual && sample ? 0 : 1;
  }
  std::fputs("usage: gen_docs conf.5 | sample | --check directory\n", stderr);
  return 2;
}
