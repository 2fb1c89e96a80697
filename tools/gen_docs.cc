// Prints what is made from the tables of settings and of metrics:
//
//   gen_docs conf.5             the manual page bivalved.conf(5)
//   gen_docs sample             the sample configuration
//   gen_docs stats.schema       the JSON Schema of GET /stats
//   gen_docs sessions.schema    the JSON Schema of GET /sessions
//   gen_docs --check DIRECTORY    status 1 when DIRECTORY (appliance/man) has something else
#include <array>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "appliance/manual.h"
#include "appliance/stats_schema.h"

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
  struct Document {
    std::string_view name;
    std::string_view file;
    std::string (*print)();
  };
  static constexpr std::array kDocuments = {
      Document{"conf.5", "bivalved.conf.5", ConfigManual},
      Document{"sample", "bivalved.conf", SampleConfig},
      Document{"stats.schema", "stats.schema.json", StatsSchema},
      Document{"sessions.schema", "sessions.schema.json", SessionsSchema},
  };
  const std::string_view what = argc > 1 ? argv[1] : "";
  bool current = true;
  for (const Document& document : kDocuments) {
    if (what == document.name) return std::fputs(document.print().c_str(), stdout) < 0;
    if (what == "--check" && argc == 3)
      current &= IsCurrent(argv[2] + ("/" + std::string(document.file)), document.print());
  }
  if (what == "--check" && argc == 3) return current ? 0 : 1;
  std::fputs("usage: gen_docs conf.5 | sample | stats.schema | sessions.schema | --check directory\n",
             stderr);
  return 2;
}
