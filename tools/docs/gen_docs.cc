// Prints the documents that are made from the tables of settings, metrics, commands and options; "gen_docs"
// alone lists them:
//
//   gen_docs conf.5               one of them
//   gen_docs --write DIRECTORY    all of them, to their places in DIRECTORY (appliance)
//   gen_docs --check DIRECTORY    status 1 if the files in DIRECTORY differ
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "tools/docs/documents.h"
#include "tools/docs/manual.h"
#include "tools/docs/stats_schema.h"

namespace {

struct Document {
  std::string_view name;
  std::string_view file;
  std::string (*text)();
};
constexpr Document kDocuments[] = {
    {"conf.5", "man/bivalved.conf.5", bivalve::appliance::ConfigManual},
    {"sample", "man/bivalved.conf", bivalve::appliance::SampleConfig},
    {"stats.schema", "man/stats.schema.json", bivalve::appliance::StatsSchema},
    {"sessions.schema", "man/sessions.schema.json", bivalve::appliance::SessionsSchema},
    {"bivalvectl.1", "man/bivalvectl.1", bivalve::ctl::CtlManual},
    {"bivalvectl.bash", "completion/bivalvectl", bivalve::ctl::BashCompletionOfCtl},
    {"bivalved.bash", "completion/bivalved", bivalve::ctl::BashCompletionOfDaemon},
};

bool IsCurrent(const std::string& path, const std::string& text) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream content;
  content << file.rdbuf();
  if (file && content.str() == text) return true;
  std::fprintf(stderr, "%s is not what gen_docs prints\n", path.c_str());
  return false;
}

bool Write(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (file.flush()) return true;
  std::fprintf(stderr, "cannot write %s\n", path.c_str());
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if ((what == "--check" || what == "--write") && argc == 3) {
    bool good = true;
    for (const Document& document : kDocuments) {
      const std::string path = std::string(argv[2]) + "/" + std::string(document.file);
      good &= what == "--check" ? IsCurrent(path, document.text()) : Write(path, document.text());
    }
    return good ? 0 : 1;
  }
  for (const Document& document : kDocuments) {
    if (document.name == what) return std::fputs(document.text().c_str(), stdout) < 0;
  }
  std::fputs("usage: gen_docs document | --check directory | --write directory\ndocuments:", stderr);
  for (const Document& document : kDocuments) std::fprintf(stderr, " %s", std::string(document.name).c_str());
  std::fputs("\n", stderr);
  return 2;
}
