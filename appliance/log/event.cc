#include "appliance/log/event.h"

#include <array>
#include <charconv>
#include <chrono>
#include <cstring>

#include "core/text.h"

namespace bivalve::appliance {
namespace {

struct EncodedHead {
  uint64_t session;
  uint64_t time_us;
  EventKind kind;
  Severity severity;
};

constexpr size_t kTextBytesMax = 1024;  // of one field in a text line

struct EncodedField {
  uint32_t bytes;
  EventField name;
};

constexpr bool InOrder() {
  for (size_t i = 0; i < kEventFields.size(); ++i) {
    if (static_cast<size_t>(kEventFields[i].name) != i) return false;
  }
  return true;
}
static_assert(InOrder());

void AppendHex(std::string& out, uint64_t number) {
  std::array<char, 16> digits;
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), number, 16);
  const auto length = static_cast<size_t>(end - digits.data());
  if (length < 6) out.append(6 - length, '0');
  out.append(digits.data(), length);
}

}  // namespace

void EventEncoder::Begin(EventKind kind, Severity severity, uint64_t session) {
  bytes_.clear();
  EncodedHead head = {};
  head.session = session;
  head.time_us = EventTime();
  head.kind = kind;
  head.severity = severity;
  bytes_.append(reinterpret_cast<const char*>(&head), sizeof(head));
}

EventEncoder& EventEncoder::Add(EventField name, std::string_view value) {
  EncodedField field = {};
  field.bytes = static_cast<uint32_t>(value.size());
  field.name = name;
  bytes_.append(reinterpret_cast<const char*>(&field), sizeof(field));
  bytes_.append(value);
  return *this;
}

EventEncoder& EventEncoder::AddNumber(EventField name, uint64_t value) {
  return Add(name, {reinterpret_cast<const char*>(&value), sizeof(value)});
}

bool DecodeEvent(std::string_view encoded, Event& event) {
  EncodedHead head;
  if (encoded.size() < sizeof(head)) return false;
  std::memcpy(&head, encoded.data(), sizeof(head));
  encoded.remove_prefix(sizeof(head));
  event.kind = head.kind;
  event.severity = head.severity;
  event.session = head.session;
  event.time_us = head.time_us;
  event.fields.clear();
  while (!encoded.empty()) {
    EncodedField field;
    if (encoded.size() < sizeof(field)) return false;
    std::memcpy(&field, encoded.data(), sizeof(field));
    encoded.remove_prefix(sizeof(field));
    if (encoded.size() < field.bytes || static_cast<size_t>(field.name) >= kEventFields.size()) return false;
    event.fields.push_back({field.name, encoded.substr(0, field.bytes)});
    encoded.remove_prefix(field.bytes);
  }
  return true;
}

std::string FormatEvent(const Event& event) {
  std::string line;
  if (event.session != 0) {
    AppendHex(line, event.session);
    line += ": ";
  }
  const char* separator = "";
  for (const Event::Field& field : event.fields) {
    const EventFieldInfo& info = InfoOf(field.name);
    if (info.text != event.kind) continue;
    line += separator;
    line += info.text_prefix;
    // An address must not look like further fields.
    const bool has_fields = event.kind == EventKind::kMessage;
    core::AppendEscaped(line, field.value, kTextBytesMax,
                        has_fields ? core::EscapeFor::kField : core::EscapeFor::kLine);
    separator = ", ";
  }
  return line;
}

std::string SessionText(uint64_t session) {
  std::string text;
  AppendHex(text, session);
  return text;
}

uint64_t EventTime() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

void EventLog::Text(Severity severity, uint64_t session, std::string_view text) {
  if (!Wants(severity)) return;
  Begin(EventKind::kText, severity, session).Add(EventField::kDetail, text);
  Commit();
}

void EventLog::Commit() {
  queue_.Push(encoder_.encoded());
  // Pairs with the reader, which sets `asleep` and then checks the queue once more.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (reader_.asleep.load(std::memory_order_relaxed) && reader_.asleep.exchange(false)) reader_.wake();
}

}  // namespace bivalve::appliance
