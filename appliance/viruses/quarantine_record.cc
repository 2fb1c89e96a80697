#include "appliance/viruses/quarantine_record.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/sha256.h"
#include "core/text.h"
#include "core/utc_time.h"

namespace bivalve::appliance {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kLatin1 = "iso-8859-1";

// Whether `text` is UTF-8: the JSON library would leave out anything else here.
bool IsUtf8(const std::string& text) {
  const std::string written = Json(text).dump(-1, ' ', false, Json::error_handler_t::ignore);
  return Json::parse(written, nullptr, false).get<std::string>() == text;
}

std::string ToLatin1(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      text += c;
    } else {
      text += static_cast<char>(0xc0 | byte >> 6);
      text += static_cast<char>(0x80 | (byte & 0x3f));
    }
  }
  return text;
}

// Returns nullopt if there is a character above 255.
std::optional<std::string> FromLatin1(std::string_view text) {
  std::string bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto first = static_cast<unsigned char>(text[i]);
    if (first < 0x80) {
      bytes += text[i];
    } else if ((first == 0xc2 || first == 0xc3) && i + 1 < text.size()) {
      const auto second = static_cast<unsigned char>(text[++i]);
      bytes += static_cast<char>(first << 6 | (second & 0x3f));
    } else {
      return std::nullopt;
    }
  }
  return bytes;
}

std::string Text(const Json& json, std::string_view name) {
  const auto found = json.find(std::string(name));
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

uint64_t Number(const Json& json, std::string_view name) {
  const auto found = json.find(std::string(name));
  return found != json.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

std::optional<std::chrono::system_clock::time_point> ParseTime(const std::string& text) {
  tm fields = {};
  const char* end = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &fields);
  if (end == nullptr || *end != '\0') return std::nullopt;
  // The clock counts nanoseconds, so its range ends in 2262.
  constexpr time_t kSecondsMax = 9'000'000'000;
  const time_t seconds = timegm(&fields);
  if (seconds < 0 || seconds > kSecondsMax) return std::nullopt;
  return std::chrono::system_clock::from_time_t(seconds);
}

absl::Status Wrong(std::string_view what) {
  return absl::InvalidArgumentError(core::Cat("the record ", what));
}

}  // namespace

std::string ToJson(const QuarantineRecord& record) {
  const bool plain = IsUtf8(record.from) && IsUtf8(record.mail_parameters) &&
                     std::ranges::all_of(record.recipients, IsUtf8, &net::Recipient::path) &&
                     std::ranges::all_of(record.recipients, IsUtf8, &net::Recipient::parameters);
  const auto path = [plain](const std::string& text) { return plain ? text : ToLatin1(text); };
  Json json = {{"id", record.id},           {"time", core::FormatUtcTime(record.time)},
               {"session", record.session}, {"virus", record.virus},
               {"from", path(record.from)}, {"recipients", Json::array()}};
  for (const net::Recipient& recipient : record.recipients)
    json["recipients"].push_back(path(recipient.path));
  if (!record.mail_parameters.empty()) json["mail_parameters"] = path(record.mail_parameters);
  if (!std::ranges::all_of(record.recipients, &std::string::empty, &net::Recipient::parameters)) {
    json["recipient_parameters"] = Json::array();
    for (const net::Recipient& recipient : record.recipients)
      json["recipient_parameters"].push_back(path(recipient.parameters));
  }
  if (!plain) json["envelope_encoding"] = kLatin1;
  json["recipients_left_out"] = record.recipients_left_out;
  json["client"] = record.client;
  json["helo"] = record.helo;
  if (!record.remote.empty()) json["remote"] = record.remote;
  if (!record.remote_helo.empty()) json["remote_helo"] = record.remote_helo;
  json["scanner"] = {{"address", record.scanner}, {"version", record.scanner_version}};
  json["size"] = record.size_bytes;
  json["sha256"] = record.sha256;
  return json.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<QuarantineRecord> ParseQuarantineRecord(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return Wrong("is no JSON object");
  QuarantineRecord record;
  record.id = Text(json, "id");
  const auto time = ParseTime(Text(json, "time"));
  if (!time.has_value()) return Wrong("has no time");
  record.time = *time;
  record.session = Text(json, "session");
  record.virus = Text(json, "virus");

  const bool latin1 = Text(json, "envelope_encoding") == kLatin1;
  const auto path = [latin1](const Json& value) -> std::optional<std::string> {
    if (!value.is_string()) return std::nullopt;
    return latin1 ? FromLatin1(value.get<std::string>()) : value.get<std::string>();
  };
  const auto from = json.find("from");
  const auto recipients = json.find("recipients");
  if (from == json.end() || recipients == json.end() || !recipients->is_array())
    return Wrong("has no envelope");
  const std::optional<std::string> sender = path(*from);
  if (!sender.has_value()) return Wrong("has a sender that cannot be read");
  record.from = *sender;
  for (const Json& one : *recipients) {
    const std::optional<std::string> recipient = path(one);
    if (!recipient.has_value()) return Wrong("has a recipient that cannot be read");
    record.recipients.push_back({.path = *recipient});
  }
  // Records of older versions have no parameters.
  const std::optional<std::string> mail_parameters =
      path(json.contains("mail_parameters") ? json["mail_parameters"] : Json(""));
  if (!mail_parameters.has_value()) return Wrong("has parameters of MAIL that cannot be read");
  record.mail_parameters = *mail_parameters;
  if (const auto parameters = json.find("recipient_parameters"); parameters != json.end()) {
    if (!parameters->is_array() || parameters->size() != recipients->size())
      return Wrong("has recipient_parameters for other recipients than it has");
    for (size_t i = 0; i < record.recipients.size(); ++i) {
      const std::optional<std::string> words = path((*parameters)[i]);
      if (!words.has_value()) return Wrong("has parameters of RCPT that cannot be read");
      record.recipients[i].parameters = *words;
    }
  }
  record.recipients_left_out = Number(json, "recipients_left_out");
  record.client = Text(json, "client");
  record.helo = Text(json, "helo");
  record.remote = Text(json, "remote");
  record.remote_helo = Text(json, "remote_helo");
  if (const auto scanner = json.find("scanner"); scanner != json.end() && scanner->is_object()) {
    record.scanner = Text(*scanner, "address");
    record.scanner_version = Text(*scanner, "version");
  }
  const auto size = json.find("size");
  if (size == json.end() || !size->is_number_unsigned()) return Wrong("has no size");
  record.size_bytes = size->get<uint64_t>();
  record.sha256 = Text(json, "sha256");
  if (record.sha256.size() != 2 * core::Sha256::Digest().size()) return Wrong("has no SHA-256");
  return record;
}

}  // namespace bivalve::appliance
