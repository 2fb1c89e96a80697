#include "appliance/settings/config_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "appliance/settings/option_values.h"
#include "appliance/settings/quoted_value.h"
#include "core/check.h"
#include "core/fd.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

// Removes the values of a repeatable setting; others are overwritten anyway.
void ClearRepeatable(Config& config, const Option& option) {
  if (const auto* endpoints = std::get_if<std::vector<net::Endpoint> Config::*>(&option.field))
    config.** endpoints = {};
  if (const auto* networks = std::get_if<std::vector<net::Network> Config::*>(&option.field))
    config.** networks = {};
}

// How many characters must be inserted, removed, replaced or swapped with their neighbour to turn one name
// into the other, without regard to case.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> before_last(b.size() + 1);
  std::vector<size_t> last(b.size() + 1);
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  auto same = [&](size_t i, size_t j) { return core::AsciiLower(a[i]) == core::AsciiLower(b[j]); };
  for (size_t i = 1; i <= a.size(); ++i) {
    std::swap(before_last, last);
    std::swap(last, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (same(i - 1, j - 1) ? 0 : 1)});
      if (i > 1 && j > 1 && same(i - 1, j - 2) && same(i - 2, j - 1)) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
  }
  return row[b.size()];
}

// The setting that was probably meant; empty if there is none.
std::string_view NearestName(std::string_view name) {
  std::string_view nearest;
  size_t nearest_distance = 4;
  for (const Option& option : Options()) {
    if (!option.alias_of.empty()) continue;
    // With up to a third of the letters wrong it is still the same word. Beyond that, a guess would mislead.
    const size_t distance_max = std::min<size_t>(3, option.name.size() / 3);
    const size_t longer = std::max(name.size(), option.name.size());
    if (longer - std::min(name.size(), option.name.size()) > distance_max) continue;
    const size_t distance = EditDistance(name, option.name);
    if (distance <= distance_max && distance < nearest_distance) {
      nearest = option.name;
      nearest_distance = distance;
    }
  }
  return nearest;
}

// Reads one configuration.
class Reader {
 public:
  Reader(std::string_view file_name, ProgramName program, PathExists exists) : file_(file_name) {
    for (const Option& option : Options()) {
      const std::string_view text = DefaultText(option, program, exists);
      if (!option.alias_of.empty() || option.required) continue;
      BV_CHECK(SetOption(parsed_.config, option, text).ok());
    }
  }

  void ReadLines(std::string_view text) {
    if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // some editors mark UTF-8 with these bytes
    while (!text.empty()) {
      ++line_;
      const size_t end = text.find('\n');
      ReadLine(text.substr(0, end));
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
  }

  void ApplyOverrides(std::span<const Override> overrides) {
    file_ = "command line";
    line_ = 0;
    std::vector<bool> overridden(Options().size());
    for (const Override& item : overrides) {
      const Option* option = FindOption(item.setting);
      if (option == nullptr || !option->alias_of.empty()) {
        Report(Problem::Kind::kError, item.setting, "unknown setting");
        continue;
      }
      if (!overridden[Index(*option)]) Clear(*option);
      overridden[Index(*option)] = true;
      SetValue(*option, option->name, item.value);
    }
  }

  Parsed Finish(std::string_view file_name) {
    file_ = file_name;
    line_ = 0;
    for (const Option& option : Options()) {
      if (option.required_unless != nullptr && parsed_.config.*option.required_unless) continue;
      if (option.required && !given_[Index(option)].given) {
        Report(Problem::Kind::kError, option.name, "is required, and is missing");
      }
    }
    return std::move(parsed_);
  }

 private:
  struct Given {
    bool given = false;
    int line = 0;           // line of the first value
    std::string_view name;  // the name used there, perhaps an old one
  };

  // Removes the setting's values so far: the default, or those of the file if the command line has others.
  void Clear(const Option& option) {
    ClearRepeatable(parsed_.config, option);
    std::erase_if(parsed_.places, [&option](const auto& place) { return place.first == option.name; });
  }

  static size_t Index(const Option& option) { return static_cast<size_t>(&option - Options().data()); }

  void Report(Problem::Kind kind, std::string_view setting, std::string_view text) {
    Problem problem{.kind = kind, .file = file_, .line = line_, .setting = {}, .text = std::string(text)};
    core::AppendEscaped(problem.setting, setting, 100);
    parsed_.problems.push_back(std::move(problem));
  }

  void ReadLine(std::string_view line) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.size() > kConfigLineBytesMax) {
      Report(Problem::Kind::kError, "", core::Cat("the line is longer than ", kConfigLineBytesMax, " bytes"));
      return;
    }
    if (line.find('\0') != std::string_view::npos) {
      Report(Problem::Kind::kError, "", "the line has a NUL byte");
      return;
    }
    line = core::Trim(line);
    if (line.empty() || line.starts_with('#')) return;

    const size_t colon = line.find(':');
    const std::string_view name = core::Trim(line.substr(0, colon));
    if (colon == std::string_view::npos || name.empty()) {
      Report(Problem::Kind::kError, "", core::Cat(QuotedValue(line), " is not like \"Name: value\""));
      return;
    }
    const Option* option = FindOption(name);
    if (option == nullptr) {
      const std::string_view nearest = NearestName(name);
      Report(Problem::Kind::kError, name,
             nearest.empty() ? "unknown setting" : core::Cat("unknown setting; did you mean ", nearest, "?"));
      return;
    }
    SetFromFile(*option, core::Trim(line.substr(colon + 1)));
  }

  void SetFromFile(const Option& written, std::string_view value) {
    const Option* option = &written;
    if (!written.alias_of.empty()) {
      option = FindOption(written.alias_of);
      std::string instead(written.alias_of);
      if (!written.value_on.empty()) {
        bool on = false;
        if (absl::Status status = ParseSwitch(value, on); !status.ok()) {
          Report(Problem::Kind::kError, written.name, std::string(status.message()));
          return;
        }
        value = on ? written.value_on : written.value_off;
        instead = core::Cat('"', option->name, ": ", value, '"');
      }
      Report(Problem::Kind::kWarning, written.name, core::Cat("is an old name; use ", instead, " instead"));
    }

    Given& given = given_[Index(*option)];
    if (given.given && !option->repeatable()) {
      const bool other_name = given.name != written.name;
      Report(Problem::Kind::kError, written.name,
             core::Cat("stands already in line ", given.line, other_name ? core::Cat(" as ", given.name) : "",
                       ", and may stand only once"));
      return;
    }
    if (!given.given) {
      Clear(*option);
      given = {.given = true, .line = line_, .name = written.name};
    }
    SetValue(*option, written.name, value);
  }

  void SetValue(const Option& option, std::string_view name, std::string_view value) {
    given_[Index(option)].given = true;
    const bool has_control =
        std::ranges::any_of(value, [](char c) { return (c >= '\0' && c < ' ' && c != '\t') || c == '\x7f'; });
    if (has_control) {
      Report(Problem::Kind::kError, name, core::Cat(QuotedValue(value), " has a control character"));
      return;
    }
    if (absl::Status status = SetOption(parsed_.config, option, core::Trim(value)); !status.ok()) {
      Report(Problem::Kind::kError, name, std::string(status.message()));
      return;
    }
    if (option.set_flag != nullptr) parsed_.config.*option.set_flag = true;
    if (!option.repeatable()) Clear(option);
    const Place place{.file = file_, .line = line_};
    parsed_.places.emplace_back(option.name, place);
    CheckRepeated(option, name);
  }

  // An address may not be repeated: a scanner would count as two, and a listener would take two sockets.
  void CheckRepeated(const Option& option, std::string_view name) {
    if (const auto* endpoints = std::get_if<std::vector<net::Endpoint> Config::*>(&option.field)) {
      CheckRepeated(parsed_.config.**endpoints, name);
    } else if (const auto* networks = std::get_if<std::vector<net::Network> Config::*>(&option.field)) {
      CheckRepeated(parsed_.config.**networks, name);
    }
  }
  static std::string TextOf(const net::Endpoint& endpoint) { return net::ToString(endpoint); }
  static std::string TextOf(const net::Network& network) { return network.ToString(); }

  template <typename Value>
  void CheckRepeated(std::vector<Value>& values, std::string_view name) {
    if (values.empty()) return;
    if (values.size() > kRepeatMax) {
      values.pop_back();
      parsed_.places.pop_back();
      Report(Problem::Kind::kError, name, core::Cat("may not stand more than ", kRepeatMax, " times"));
      return;
    }
    const std::string last = TextOf(values.back());
    for (size_t i = 0; i + 1 < values.size(); ++i) {
      if (TextOf(values[i]) != last) continue;
      values.pop_back();
      parsed_.places.pop_back();
      Report(Problem::Kind::kWarning, name,
             core::Cat(QuotedValue(last), " stands there twice and counts once"));
      return;
    }
  }

  std::string file_;
  int line_ = 0;
  std::vector<Given> given_ = std::vector<Given>(Options().size());
  Parsed parsed_ = {};
};

}  // namespace

std::string ToString(const Problem& problem) {
  std::string out;
  core::AppendEscaped(out, problem.file);
  if (problem.line != 0) core::Append(out, ':', problem.line);
  for (const std::string& piece : {problem.setting, problem.text}) {
    if (!piece.empty()) core::Append(out, out.empty() ? "" : ": ", piece);
  }
  return out;
}

bool Parsed::ok() const {
  return std::ranges::none_of(problems, [](const Problem& p) { return p.kind == Problem::Kind::kError; });
}

Place Parsed::PlaceOf(std::string_view setting, size_t index) const {
  for (const auto& [name, place] : places) {
    if (name == setting && index-- == 0) return place;
  }
  return {};
}

Parsed ParseConfig(std::string_view text, std::string_view file_name, ProgramName program,
                   std::span<const Override> overrides, PathExists exists) {
  Reader reader(file_name, program, exists);
  reader.ReadLines(text);
  reader.ApplyOverrides(overrides);
  return reader.Finish(file_name);
}

absl::StatusOr<std::string> ReadConfigFile(std::string_view path) {
  const std::string name(path);
  auto failed = [&](int error) {
    std::string text;
    core::AppendEscaped(text, name);
    return absl::ErrnoToStatus(error, text + ": cannot read the file");
  };
  const core::UniqueFd file(open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!file.valid()) return failed(errno);
  std::string text(kConfigBytesMax + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t count = read(file.get(), text.data() + size, text.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed(errno);
    if (count == 0) {
      text.resize(size);
      return text;
    }
    size += static_cast<size_t>(count);
  }
  std::string message;
  core::AppendEscaped(message, name);
  core::Append(message, ": is larger than ", kConfigBytesMax, " bytes; is it a configuration file?");
  return absl::InvalidArgumentError(message);
}

std::string DumpConfig(const Config& config) {
  std::string out;
  for (const Option& option : Options()) {
    if (!option.alias_of.empty()) continue;
    const bool is_default = option.set_flag != nullptr && !(config.*option.set_flag);
    for (const std::string& value : PrintOption(config, option)) {
      core::Append(out, is_default ? "#" : "", option.name, value.empty() ? ":" : ": ", value, '\n');
    }
  }
  return out;
}

}  // namespace bivalve::appliance
