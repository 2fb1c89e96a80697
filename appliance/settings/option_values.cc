#include "appliance/settings/option_values.h"

#include <arpa/inet.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <type_traits>
#include <utility>

#include "appliance/settings/quoted_value.h"
#include "core/check.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

constexpr char kNoValue[] = "needs a value";

constexpr uint64_t kKilo = 1024;
constexpr uint64_t kMega = 1024 * kKilo;
constexpr uint64_t kGiga = 1024 * kMega;

// The words of settings that choose one of several values. If a value has two words, the first one is
// printed.
template <typename Value>
struct Word {
  std::string_view text;
  Value value;
};
constexpr Word<bool> kSwitchWords[] = {{"on", true},   {"off", false},   {"yes", true}, {"no", false},
                                       {"true", true}, {"false", false}, {"1", true},   {"0", false}};
constexpr Word<VirusPolicy> kVirusPolicyWords[] = {
    {"drop", VirusPolicy::kDrop}, {"bounce", VirusPolicy::kBounce}, {"pass", VirusPolicy::kPass}};
constexpr Word<ClamMethod> kClamMethodWords[] = {
    {"auto", ClamMethod::kAuto}, {"fildes", ClamMethod::kFildes}, {"instream", ClamMethod::kInstream}};
constexpr Word<XClientFailure> kXClientFailureWords[] = {{"refuse", XClientFailure::kRefuse},
                                                         {"allow", XClientFailure::kAllow}};
constexpr Word<BareNewline> kBareNewlineWords[] = {
    {"guard", BareNewline::kGuard}, {"reject", BareNewline::kReject}, {"pass", BareNewline::kPass}};
constexpr Word<LogFormat> kLogFormatWords[] = {{"text", LogFormat::kText}, {"json", LogFormat::kJson}};
constexpr Word<scan::CanaryMode> kCanaryWords[] = {
    {"on", scan::CanaryMode::kOn}, {"warn", scan::CanaryMode::kWarn}, {"off", scan::CanaryMode::kOff}};
constexpr Word<FailureCause> kFailureCauseWords[] = {{"down", FailureCause::kDown},
                                                     {"timeout", FailureCause::kTimeout},
                                                     {"error", FailureCause::kError},
                                                     {"size", FailureCause::kSize},
                                                     {"limits", FailureCause::kLimits}};
static_assert(std::size(kFailureCauseWords) == kFailureCauses);
constexpr Word<FailurePolicy> kFailurePolicyWords[] = {{"tempfail", FailurePolicy::kTempfail},
                                                       {"reject", FailurePolicy::kReject},
                                                       {"pass", FailurePolicy::kPass}};

template <typename Value, size_t kSize>
absl::Status ParseWord(std::string_view text, const Word<Value> (&words)[kSize], Value& out) {
  for (const Word<Value>& word : words) {
    if (core::EqualsIgnoreCase(word.text, text)) {
      out = word.value;
      return absl::OkStatus();
    }
  }
  std::string message = core::Cat(QuotedValue(text), " is not one of ");
  for (const Word<Value>& word : words) core::Append(message, &word == words ? "" : ", ", word.text);
  return absl::InvalidArgumentError(message);
}

template <typename Value, size_t kSize>
std::string_view PrintWord(Value value, const Word<Value> (&words)[kSize]) {
  for (const Word<Value>& word : words) {
    if (word.value == value) return word.text;
  }
  BV_CHECK(false);
  return {};
}

// Bytes as an operator writes them: in the largest unit that is exact.
std::string PrintBytes(uint64_t bytes) {
  for (const auto& [unit, suffix] : {std::pair(kGiga, 'G'), std::pair(kMega, 'M'), std::pair(kKilo, 'K')}) {
    if (bytes != 0 && bytes % unit == 0) return core::Cat(bytes / unit, suffix);
  }
  return core::Cat(bytes);
}

enum class Unit : uint8_t { kNone, kSeconds, kBytes };

// A whole number within the option's bounds, or its zero_name.
absl::Status ParseNumber(const Option& option, std::string_view text, Unit unit, uint64_t& out) {
  if (!option.zero_name.empty() && core::EqualsIgnoreCase(text, option.zero_name)) {
    out = 0;
    return absl::OkStatus();
  }
  const std::string nor = option.zero_name.empty() ? "" : core::Cat(", nor ", option.zero_name);

  std::string_view digits = text;
  uint64_t factor = 1;
  if (unit == Unit::kBytes && !digits.empty()) {
    switch (core::AsciiLower(digits.back())) {
      case 'k':
        factor = kKilo;
        break;
      case 'm':
        factor = kMega;
        break;
      case 'g':
        factor = kGiga;
        break;
      default:
        break;
    }
    if (factor != 1) digits.remove_suffix(1);
  }
  const std::string_view unsigned_digits = digits.starts_with('-') ? digits.substr(1) : digits;
  if (unsigned_digits.empty() || unsigned_digits.find_first_not_of("0123456789") != std::string_view::npos) {
    std::string_view what = " is not a whole number";
    if (unit == Unit::kSeconds) what = " is not a whole number of seconds";
    if (unit == Unit::kBytes) what = " is not a size such as 65536, 512K, 100M or 2G";
    return absl::InvalidArgumentError(core::Cat(QuotedValue(text), what, nor));
  }
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size() ||
      value > std::numeric_limits<uint64_t>::max() / factor || value * factor < option.min ||
      value * factor > option.max) {
    const bool bytes = unit == Unit::kBytes;
    return absl::InvalidArgumentError(core::Cat(
        QuotedValue(text), " is not between ", bytes ? PrintBytes(option.min) : core::Cat(option.min),
        " and ", bytes ? PrintBytes(option.max) : core::Cat(option.max), nor));
  }
  out = value * factor;
  return absl::OkStatus();
}

std::string PrintNumber(const Option& option, uint64_t value, Unit unit) {
  if (value == 0 && !option.zero_name.empty()) return std::string(option.zero_name);
  return unit == Unit::kBytes ? PrintBytes(value) : core::Cat(value);
}

// One Parse and one Print for each type of setting. Parse sets `out` only if it succeeds. Print returns one
// text for each line that the setting needs.

absl::Status Parse(const Option&, std::string_view text, bool& out) {
  if (!ParseWord(text, kSwitchWords, out).ok()) {
    return absl::InvalidArgumentError(core::Cat(QuotedValue(text), " is neither on nor off"));
  }
  return absl::OkStatus();
}
std::vector<std::string> Print(const Option&, bool value) { return {value ? "on" : "off"}; }

absl::Status Parse(const Option& option, std::string_view text, uint32_t& out) {
  uint64_t number = 0;
  absl::Status status = ParseNumber(option, text, Unit::kNone, number);
  if (status.ok()) out = static_cast<uint32_t>(number);
  return status;
}
std::vector<std::string> Print(const Option& option, uint32_t value) {
  return {PrintNumber(option, value, Unit::kNone)};
}

absl::Status Parse(const Option& option, std::string_view text, uint64_t& out) {
  return ParseNumber(option, text, Unit::kBytes, out);
}
std::vector<std::string> Print(const Option& option, uint64_t value) {
  return {PrintNumber(option, value, Unit::kBytes)};
}

absl::Status Parse(const Option& option, std::string_view text, std::chrono::seconds& out) {
  uint64_t number = 0;
  absl::Status status = ParseNumber(option, text, Unit::kSeconds, number);
  if (status.ok()) out = std::chrono::seconds(number);
  return status;
}
std::vector<std::string> Print(const Option& option, std::chrono::seconds value) {
  return {PrintNumber(option, static_cast<uint64_t>(value.count()), Unit::kSeconds)};
}

absl::Status Parse(const Option& option, std::string_view text, std::string& out) {
  if (option.check != nullptr) {
    if (absl::Status status = option.check(text); !status.ok()) return status;
  }
  out = text;
  return absl::OkStatus();
}
std::vector<std::string> Print(const Option&, const std::string& value) { return {value}; }

absl::StatusOr<net::Endpoint> ParseAddress(const Option& option, std::string_view text) {
  absl::StatusOr<net::Endpoint> endpoint = net::ParseEndpoint(text, option.default_port);
  if (!endpoint.ok()) return endpoint.status();
  if (const auto* port_only = std::get_if<net::PortOnly>(&*endpoint);
      port_only && option.port_alone_is_local) {
    return net::SocketAddress::FromIpv4({.s_addr = htonl(INADDR_LOOPBACK)}, port_only->port);
  }
  return endpoint;
}

absl::Status Parse(const Option& option, std::string_view text, std::vector<net::Endpoint>& out) {
  absl::StatusOr<net::Endpoint> endpoint = ParseAddress(option, text);
  if (endpoint.ok()) out.push_back(*std::move(endpoint));
  return endpoint.status();
}
std::vector<std::string> Print(const Option&, const std::vector<net::Endpoint>& value) {
  std::vector<std::string> lines;
  for (const net::Endpoint& endpoint : value) lines.push_back(net::ToString(endpoint));
  return lines;
}

absl::Status Parse(const Option&, std::string_view text, std::vector<net::Network>& out) {
  if (text.empty()) return absl::OkStatus();
  absl::StatusOr<net::Network> network = net::Network::Parse(text);
  if (network.ok()) out.push_back(*network);
  return network.status();
}
std::vector<std::string> Print(const Option&, const std::vector<net::Network>& value) {
  std::vector<std::string> lines;
  for (const net::Network& network : value) lines.push_back(network.ToString());
  return lines;
}

absl::Status Parse(const Option& option, std::string_view text, std::optional<net::Endpoint>& out) {
  if (text.empty()) {
    out.reset();
    return absl::OkStatus();
  }
  absl::StatusOr<net::Endpoint> endpoint = ParseAddress(option, text);
  if (endpoint.ok()) out = *std::move(endpoint);
  return endpoint.status();
}
std::vector<std::string> Print(const Option&, const std::optional<net::Endpoint>& value) {
  return {value.has_value() ? net::ToString(*value) : ""};
}

absl::Status Parse(const Option&, std::string_view text, VirusPolicy& out) {
  return ParseWord(text, kVirusPolicyWords, out);
}
std::vector<std::string> Print(const Option&, VirusPolicy value) {
  return {std::string(PrintWord(value, kVirusPolicyWords))};
}

absl::Status Parse(const Option&, std::string_view text, ClamMethod& out) {
  return ParseWord(text, kClamMethodWords, out);
}
std::vector<std::string> Print(const Option&, ClamMethod value) {
  return {std::string(PrintWord(value, kClamMethodWords))};
}

absl::Status Parse(const Option&, std::string_view text, XClientFailure& out) {
  return ParseWord(text, kXClientFailureWords, out);
}
std::vector<std::string> Print(const Option&, XClientFailure value) {
  return {std::string(PrintWord(value, kXClientFailureWords))};
}

absl::Status Parse(const Option&, std::string_view text, BareNewline& out) {
  return ParseWord(text, kBareNewlineWords, out);
}
std::vector<std::string> Print(const Option&, BareNewline value) {
  return {std::string(PrintWord(value, kBareNewlineWords))};
}

absl::Status Parse(const Option&, std::string_view text, LogFormat& out) {
  return ParseWord(text, kLogFormatWords, out);
}
std::vector<std::string> Print(const Option&, LogFormat value) {
  return {std::string(PrintWord(value, kLogFormatWords))};
}

absl::Status Parse(const Option&, std::string_view text, FileMode& out) {
  constexpr int kOctal = 8;
  uint16_t bits = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bits, kOctal);
  if (error != std::errc() || end != text.data() + text.size() || text.size() > 4 || bits > 0777)
    return absl::InvalidArgumentError(core::Cat(QuotedValue(text), " is no octal mode between 0 and 0777"));
  out = FileMode{bits};
  return absl::OkStatus();
}
std::vector<std::string> Print(const Option&, FileMode value) {
  std::string text = "0000";
  unsigned bits = static_cast<unsigned>(value);
  for (size_t i = text.size(); i-- > 0; bits >>= 3) text[i] = static_cast<char>('0' + (bits & 7));
  return {std::move(text)};
}

absl::Status Parse(const Option&, std::string_view text, scan::CanaryMode& out) {
  return ParseWord(text, kCanaryWords, out);
}
std::vector<std::string> Print(const Option&, scan::CanaryMode value) {
  return {std::string(PrintWord(value, kCanaryWords))};
}

// A list such as "down=tempfail, size=reject": changes the causes that it names. Returns all its faults, so
// that the operator can correct them together.
std::string ReadFailureList(std::string_view text, FailurePolicies& policies) {
  std::array<bool, kFailureCauses> seen = {};
  std::string faults;
  const auto fault = [&faults](const std::string& sentence) {
    core::Append(faults, faults.empty() ? "" : "; ", sentence);
  };
  for (bool more = true; more;) {
    const size_t comma = text.find(',');
    const std::string_view item = core::Trim(text.substr(0, comma));
    more = comma != std::string_view::npos;
    if (more) text.remove_prefix(comma + 1);

    const size_t equals = item.find('=');
    if (equals == std::string_view::npos) {
      fault(core::Cat(QuotedValue(item), " is not like CAUSE=ACTION, as everything in a list must be"));
      continue;
    }
    FailureCause cause = FailureCause::kDown;
    FailurePolicy policy = FailurePolicy::kTempfail;
    const absl::Status known = ParseWord(core::Trim(item.substr(0, equals)), kFailureCauseWords, cause);
    if (!known.ok()) fault(std::string(known.message()));
    const absl::Status action = ParseWord(core::Trim(item.substr(equals + 1)), kFailurePolicyWords, policy);
    if (!action.ok()) fault(std::string(action.message()));
    if (!known.ok()) continue;
    const auto index = static_cast<size_t>(cause);
    if (std::exchange(seen[index], true))
      fault(core::Cat("has the cause '", kFailureCauseWords[index].text, "' twice"));
    policies[index] = policy;
  }
  return faults;
}
absl::Status Parse(const Option& option, std::string_view text, FailurePolicies& out) {
  if (text.find_first_of("=,") == std::string_view::npos) {
    FailurePolicy every = FailurePolicy::kTempfail;
    absl::Status status = ParseWord(text, kFailurePolicyWords, every);
    if (status.ok()) out.fill(every);
    return status;
  }
  // Causes that the list does not name keep the default; the default is a list of all causes.
  FailurePolicies policies = {};
  BV_CHECK(ReadFailureList(option.default_text, policies).empty());
  const std::string faults = ReadFailureList(text, policies);
  if (!faults.empty()) return absl::InvalidArgumentError(faults);
  out = policies;
  return absl::OkStatus();
}
std::vector<std::string> Print(const Option&, const FailurePolicies& value) {
  std::string line;
  for (const auto& [text, cause] : kFailureCauseWords) {
    core::Append(line, line.empty() ? "" : ", ", text, '=',
                 PrintWord(value[static_cast<size_t>(cause)], kFailurePolicyWords));
  }
  return {std::move(line)};
}

// Calls `function` with the option's member pointer.
template <typename Function>
auto VisitMember(const Option& option, Function function) {
  return std::visit(
      [&](auto member) -> decltype(function(&Config::action)) {
        if constexpr (std::is_same_v<decltype(member), std::monostate>) {
          core::CheckFailed("old names have no member", __FILE__, __LINE__);
        } else {
          return function(member);
        }
      },
      option.field);
}

}  // namespace

absl::Status ParseSwitch(std::string_view text, bool& out) {
  return text.empty() ? absl::InvalidArgumentError(kNoValue) : Parse({}, text, out);
}

absl::Status SetOption(Config& config, const Option& option, std::string_view text) {
  return VisitMember(option, [&](auto member) {
    using Value = std::remove_reference_t<decltype(config.*member)>;
    constexpr bool kMayBeEmpty = std::is_same_v<Value, std::string> ||
                                 std::is_same_v<Value, std::optional<net::Endpoint>> ||
                                 std::is_same_v<Value, std::vector<net::Network>>;
    if (!kMayBeEmpty && text.empty()) return absl::InvalidArgumentError(kNoValue);
    return Parse(option, text, config.*member);
  });
}

std::vector<std::string> PrintOption(const Config& config, const Option& option) {
  return VisitMember(option, [&](auto member) { return Print(option, config.*member); });
}

}  // namespace bivalve::appliance
