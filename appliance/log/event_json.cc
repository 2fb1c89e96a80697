#include "appliance/log/event_json.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/check.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 5> kLevels = {"error", "warning", "notice", "info", "debug"};
constexpr std::array<std::string_view, 3> kKinds = {"log", "connection", "message"};

// `raw` as valid UTF-8 that takes at most `bytes_max` bytes in the JSON line.
std::string Utf8(std::string_view raw, size_t bytes_max) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  constexpr std::string_view kEllipsis = "...";
  std::string out;
  size_t used = 0;
  size_t cut = 0;  // where the ellipsis goes if the rest does not fit
  while (!raw.empty()) {
    if (used + kEllipsis.size() <= bytes_max) cut = out.size();
    const size_t bytes = core::Utf8CharacterBytes(raw);
    const char c = raw.front();
    std::array<char, 4> room = {'\\', 'x', kDigits[static_cast<unsigned char>(c) >> 4],
                                kDigits[static_cast<unsigned char>(c) & 0x0f]};
    std::string_view piece(room.data(), room.size());
    size_t cost = 5;  // \\xNN
    if (bytes > 0) {
      piece = c == '\\' ? std::string_view("\\\\") : raw.substr(0, bytes);
      const bool plain = c >= ' ' && c <= '~';
      cost = c == '\\' ? 4 : c == '"' ? 2 : plain ? 1 : bytes == 4 ? 12 : 6;  // \uNNNN, two beyond the BMP
    }
    if (used + cost > bytes_max) {
      out.resize(cut);
      out += kEllipsis;
      return out;
    }
    out += piece;
    used += cost;
    raw.remove_prefix(std::max<size_t>(bytes, 1));
  }
  return out;
}

// RFC 3339, in UTC: "2026-11-05T10:11:12.000345Z".
std::string TimeText(uint64_t time_us) {
  const auto seconds = static_cast<std::time_t>(time_us / 1'000'000);
  std::tm utc = {};
  gmtime_r(&seconds, &utc);
  std::array<char, 32> text;
  std::string out(text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S.", &utc));
  const std::string fraction = core::Cat(time_us % 1'000'000);
  out.append(6 - fraction.size(), '0');
  return out + fraction + "Z";
}

Json Value(const EventFieldInfo& info, std::string_view value) {
  uint64_t number = 0;
  if (info.type == EventFieldInfo::Type::kNumber || info.type == EventFieldInfo::Type::kMicroseconds) {
    BV_CHECK(value.size() == sizeof(number));
    std::memcpy(&number, value.data(), sizeof(number));
  }
  switch (info.type) {
    case EventFieldInfo::Type::kText:
    case EventFieldInfo::Type::kList:
      return Utf8(value, info.json_bytes_max);
    case EventFieldInfo::Type::kNumber:
      return number;
    case EventFieldInfo::Type::kMicroseconds:
      return static_cast<double>(number) / 1000.0;
  }
  BV_CHECK(false);
}

const Event::Field* Find(const Event& event, EventField name) {
  const auto found = std::ranges::find(event.fields, name, &Event::Field::name);
  return found == event.fields.end() ? nullptr : &*found;
}

// Every message has every field, so that readers need not check which are there.
void AddMessageFields(const Event& event, Json& out) {
  for (const EventFieldInfo& info : kEventFields) {
    if (info.name == EventField::kDetail) continue;
    Json& place =
        info.type == EventFieldInfo::Type::kMicroseconds ? out["phases_ms"][info.json] : out[info.json];
    const Event::Field* field = Find(event, info.name);
    if (info.type == EventFieldInfo::Type::kList) {
      place = Json::array();
    } else if (field != nullptr) {
      place = Value(info, field->value);
    } else {
      place = nullptr;
    }
  }
}

std::string Line(const Json& object) { return object.dump(-1, ' ', true, Json::error_handler_t::replace); }

// Adds as many recipients as fit.
void AddRecipients(const Event& event, Json& out) {
  const EventFieldInfo& info = InfoOf(EventField::kTo);
  Json& recipients = out[info.json];
  size_t used = Line(out).size();
  for (const Event::Field& field : event.fields) {
    if (field.name != EventField::kTo) continue;
    Json recipient = Value(info, field.value);
    used += Line(recipient).size() + 1;
    if (used > kJsonLineBytesMax) return;
    recipients.push_back(std::move(recipient));
  }
}

}  // namespace

std::string FormatEventJson(const Event& event) {
  Json out;
  out["time"] = TimeText(event.time_us);
  out["level"] = kLevels[static_cast<size_t>(event.severity)];
  out["event"] = kKinds[static_cast<size_t>(event.kind)];
  if (event.session != 0) out["session"] = SessionText(event.session);
  if (event.kind == EventKind::kMessage) {
    AddMessageFields(event, out);
    AddRecipients(event, out);
    return Line(out);
  }
  for (const Event::Field& field : event.fields) {
    const EventFieldInfo& info = InfoOf(field.name);
    out[info.json] = Value(info, field.value);
  }
  return Line(out);
}

}  // namespace bivalve::appliance
