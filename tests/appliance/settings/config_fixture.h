// Short ways to read a configuration in a test.
#pragma once

#include <gtest/gtest.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "appliance/settings/config_file.h"
#include "core/text.h"

namespace bivalve::appliance {

inline bool AllExist(const std::string&) { return true; }
inline bool NoneExists(const std::string&) { return false; }
inline bool OnlyOldSocketExists(const std::string& path) { return path == "/var/run/clamav/clamd"; }

inline Parsed Parse(std::string_view text, std::span<const Override> overrides = {}) {
  return ParseConfig(text, "x.conf", ProgramName::kBivalved, overrides, AllExist);
}

// The problems as an operator sees them, warnings marked.
inline std::vector<std::string> Problems(std::string_view text, std::span<const Override> overrides = {}) {
  std::vector<std::string> out;
  for (const Problem& problem : Parse(text, overrides).problems) {
    out.push_back((problem.kind == Problem::Kind::kWarning ? "warning: " : "") + ToString(problem));
  }
  return out;
}

// What is wrong with one line behind a sufficient configuration, without file and line; "" when nothing is.
inline std::string Problem1(std::string_view line) {
  const std::vector<std::string> problems = Problems(core::Cat("OutAddress: 25\n", line, "\n"));
  if (problems.empty()) return "";
  EXPECT_EQ(problems.size(), 1u);
  EXPECT_TRUE(problems[0].starts_with("x.conf:2: ")) << problems[0];
  return problems[0].substr(std::string_view("x.conf:2: ").size());
}

inline Config Good(std::string_view lines) {
  Parsed parsed = Parse(core::Cat("OutAddress: 25\n", lines, "\n"));
  EXPECT_TRUE(parsed.ok()) << lines;
  return parsed.config;
}

inline std::vector<std::string> Texts(const std::vector<net::Endpoint>& endpoints) {
  std::vector<std::string> out;
  for (const net::Endpoint& endpoint : endpoints) out.push_back(net::ToString(endpoint));
  return out;
}

}  // namespace bivalve::appliance
