// Events: what a worker has to say to the operator. A worker encodes an event into its LogQueue in a few
// hundred nanoseconds; the control thread decodes, formats and writes it. CONTRACT's "Log lines" are made
// here and only here.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/log_queue.h"

namespace bivalve::appliance {

// -d 0 shows errors, -d 4 everything. As syslog priorities: LOG_ERR … LOG_DEBUG.
enum class Severity : uint8_t { kError, kWarning, kNotice, kInfo, kDebug };

enum class EventKind : uint8_t {
  kText,        // kDetail is the line
  kConnection,  // kClient
  kMessage,     // kFrom, kTo…, kStatus
};

enum class EventField : uint8_t { kDetail, kClient, kFrom, kTo, kStatus };

struct Event {
  EventKind kind = EventKind::kText;
  Severity severity = Severity::kInfo;
  uint64_t session = 0;  // 0: none
  struct Field {
    EventField name;
    std::string_view value;
  };
  std::vector<Field> fields;
};

// Builds one encoded event. Reuses its memory: one per worker.
class EventEncoder {
 public:
  void Begin(EventKind kind, Severity severity, uint64_t session);
  void Add(EventField name, std::string_view value);
  std::string_view encoded() const { return bytes_; }

 private:
  std::string bytes_;
};

// The fields borrow from `encoded`. False when it is not an encoded event.
bool DecodeEvent(std::string_view encoded, Event& event);

// The text of the line, without time and program, e.g. "100000: accepted connection from: 192.0.2.7".
// Whatever a peer sent is escaped, so that it stays one line.
std::string FormatEvent(const Event& event);

// A worker's end of the log. Worker-local; never blocks.
class EventLog {
 public:
  struct Reader {  // shared with the control thread
    std::atomic<bool> asleep = false;
    std::function<void()> wake;  // any thread
    std::atomic<int> severity_max = static_cast<int>(Severity::kInfo);
  };
  EventLog(core::LogQueue& queue, Reader& reader) : queue_(queue), reader_(reader) {}

  // Events that nobody will see are not encoded.
  bool Wants(Severity severity) const {
    return static_cast<int>(severity) <= reader_.severity_max.load(std::memory_order_relaxed);
  }
  void Text(Severity severity, uint64_t session, std::string_view text);

  EventEncoder& Begin(EventKind kind, Severity severity, uint64_t session) {
    encoder_.Begin(kind, severity, session);
    return encoder_;
  }
  void Commit();

 private:
  core::LogQueue& queue_;
  Reader& reader_;
  EventEncoder encoder_;
};

}  // namespace bivalve::appliance
