#include "tools/bivalvectl/postfix_conf.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "core/text.h"

namespace bivalve::ctl {
namespace {

struct LogicalLine {
  std::string text = {};
  int line = 0;
};

// postconf(5): a line that begins with white space continues the one before; comments and empty lines may
// stand in between.
std::vector<LogicalLine> LogicalLines(std::string_view text) {
  std::vector<LogicalLine> lines;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string_view content = core::Trim(line);
    if (content.empty() || content.front() == '#') continue;
    const bool continues = line.front() == ' ' || line.front() == '\t';
    if (continues && !lines.empty()) {
      core::Append(lines.back().text, ' ', content);
    } else {
      lines.push_back({.text = std::string(content), .line = number});
    }
  }
  return lines;
}

std::vector<std::string> Words(std::string_view text) {
  std::vector<std::string> words;
  while (!(text = core::Trim(text)).empty()) {
    const size_t end = std::min(text.find_first_of(" \t"), text.size());
    words.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return words;
}

bool IsNameCharacter(char c) {
  return c == '_' || (c >= '0' && c <= '9') || (core::AsciiLower(c) >= 'a' && core::AsciiLower(c) <= 'z');
}

}  // namespace

PostfixConf PostfixConf::Parse(std::string_view main_cf, std::string_view master_cf) {
  constexpr size_t kServiceFields = 7;  // before the command
  PostfixConf conf;
  for (const LogicalLine& line : LogicalLines(main_cf)) {
    const size_t equals = line.text.find('=');
    if (equals == std::string::npos) continue;
    const std::string_view text = line.text;
    conf.main_[std::string(core::Trim(text.substr(0, equals)))] = {
        .text = std::string(core::Trim(text.substr(equals + 1))), .line = line.line};
  }
  for (const LogicalLine& line : LogicalLines(master_cf)) {
    const std::vector<std::string> words = Words(line.text);
    if (words.size() <= kServiceFields) continue;
    PostfixService service{
        .name = words[0], .type = words[1], .command = words[kServiceFields], .line = line.line};
    for (size_t i = kServiceFields + 1; i + 1 < words.size(); ++i) {
      if (words[i] != "-o") continue;
      const size_t equals = words[i + 1].find('=');
      if (equals != std::string::npos)
        service.overrides[words[i + 1].substr(0, equals)] = words[i + 1].substr(equals + 1);
    }
    conf.services_.push_back(std::move(service));
  }
  return conf;
}

PostfixValue PostfixConf::Value(const PostfixService* service, const std::string& name,
                                std::string_view default_text) const {
  if (service != nullptr) {
    if (const auto found = service->overrides.find(name); found != service->overrides.end())
      return {.text = Expand(service, found->second, 0), .file = "master.cf", .line = service->line};
  }
  if (const auto found = main_.find(name); found != main_.end())
    return {.text = Expand(service, found->second.text, 0), .file = "main.cf", .line = found->second.line};
  return {.text = std::string(default_text), .file = "main.cf"};
}

// $name, ${name} and $(name); what else there is (conditions) stays as it is, and is then no number.
std::string PostfixConf::Expand(const PostfixService* service, std::string_view text, int depth) const {
  constexpr int kDepthMax = 10;
  std::string out;
  while (!text.empty()) {
    const size_t dollar = std::min(text.find('$'), text.size());
    out += text.substr(0, dollar);
    text.remove_prefix(dollar);
    if (text.empty()) break;
    const bool bracket = text.size() > 1 && (text[1] == '{' || text[1] == '(');
    size_t end = bracket ? 2 : 1;
    while (end < text.size() && IsNameCharacter(text[end])) ++end;
    const std::string name(text.substr(bracket ? 2 : 1, end - (bracket ? 2 : 1)));
    const bool closed = !bracket || (end < text.size() && text[end] == (text[1] == '{' ? '}' : ')'));
    if (name.empty() || !closed || depth == kDepthMax) {
      out += '$';
      text.remove_prefix(1);
      continue;
    }
    text.remove_prefix(end + (bracket ? 1 : 0));
    const auto own = service == nullptr ? std::map<std::string, std::string>::const_iterator()
                                        : service->overrides.find(name);
    if (service != nullptr && own != service->overrides.end()) {
      out += Expand(service, own->second, depth + 1);
    } else if (const auto found = main_.find(name); found != main_.end()) {
      out += Expand(service, found->second.text, depth + 1);
    }
    if (out.size() > size_t{1} << 16) break;
  }
  return out;
}

std::optional<uint64_t> PostfixConf::Number(const PostfixValue& value) {
  uint64_t number = 0;
  const char* end = value.text.data() + value.text.size();
  const auto [rest, error] = std::from_chars(value.text.data(), end, number);
  if (error != std::errc() || rest != end) return std::nullopt;
  return number;
}

std::optional<std::chrono::seconds> PostfixConf::Time(const PostfixValue& value) {
  static constexpr std::pair<char, int64_t> kUnits[] = {
      {'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
  uint32_t number = 0;
  const char* end = value.text.data() + value.text.size();
  const auto [rest, error] = std::from_chars(value.text.data(), end, number);
  if (error != std::errc()) return std::nullopt;
  if (rest == end) return std::chrono::seconds(number);
  for (const auto& [letter, seconds] : kUnits) {
    if (end - rest == 1 && *rest == letter) return std::chrono::seconds(number * seconds);
  }
  return std::nullopt;
}

}  // namespace bivalve::ctl
