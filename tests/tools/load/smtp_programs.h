// smtp_source and smtp_sink for the tests. BIVALVE_SMTP_SOURCE and BIVALVE_SMTP_SINK have their paths.
#pragma once

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/tools/load/program.h"

namespace bivalve::tools {

using Json = nlohmann::json;
using Arguments = std::vector<std::string>;
namespace fs = std::filesystem;

// A directory of the test, removed with the object.
class TestDirectory {
 public:
  TestDirectory() {
    std::string name = (fs::temp_directory_path() / "smtp_load_test.XXXXXX").string();
    BV_CHECK(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  TestDirectory(const TestDirectory&) = delete;
  ~TestDirectory() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// A running smtp_sink.
class Sink {
 public:
  explicit Sink(Arguments arguments = {}, const std::string& listen = "127.0.0.1:0") {
    arguments.insert(arguments.begin(), {"--listen", listen});
    program_ = std::make_unique<Program>(BIVALVE_SMTP_SINK, arguments);
    const std::string line = program_->ReadLine();
    constexpr std::string_view kReady = "listening on ";
    EXPECT_TRUE(line.starts_with(kReady)) << line;
    address_ = line.substr(std::min(kReady.size(), line.size()));
  }
  const std::string& address() const { return address_; }
  uint16_t port() const {
    return static_cast<uint16_t>(std::stoi("0" + address_.substr(address_.rfind(':') + 1)));
  }
  // Ends it and returns its totals.
  Json Totals() {
    program_->Signal(SIGTERM);
    std::string output;
    EXPECT_EQ(program_->Wait(&output), 0);
    return Json::parse(output, nullptr, false);
  }

 private:
  std::unique_ptr<Program> program_;
  std::string address_;
};

// The output of smtp_source, and its exit status.
struct SourceRun {
  int status = -1;
  Json json;
};

inline SourceRun RunSource(Arguments arguments, const std::string& server) {
  arguments.insert(arguments.end(), {"--json", server});
  Program program(BIVALVE_SMTP_SOURCE, arguments);
  SourceRun run;
  std::string output;
  run.status = program.Wait(&output);
  run.json = Json::parse(output, nullptr, false);
  EXPECT_FALSE(run.json.is_discarded()) << output;
  return run;
}

// One file of --record.
struct Recorded {
  std::string envelope;
  std::string content;
};

inline std::vector<Recorded> ReadRecords(const fs::path& directory) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(directory)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<Recorded> records;
  for (const fs::path& path : paths) {
    std::ifstream file(path, std::ios::binary);
    const std::string whole{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    const size_t end = whole.find("\n\n");
    EXPECT_NE(end, std::string::npos) << path;
    Recorded record;
    record.envelope = whole.substr(0, end + 1);
    record.content = whole.substr(end + 2);
    records.push_back(std::move(record));
  }
  return records;
}

}  // namespace bivalve::tools
