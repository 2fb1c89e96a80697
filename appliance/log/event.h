// Events: what a worker tells the operator. A worker encodes an event into its LogQueue in a few hundred
// nanoseconds; the control thread decodes, formats and writes it. The lines that programs of others read are
// made only here, and those of JSON in event_json.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/log_queue.h"

namespace bivalve::appliance {

// -d 0 shows errors only, -d 4 everything. As syslog priorities: LOG_ERR … LOG_DEBUG.
enum class Severity : uint8_t { kError, kWarning, kNotice, kInfo, kDebug };

enum class EventKind : uint8_t {
  kText,        // kDetail is the line
  kConnection,  // kClient
  kMessage,     // kFrom, kTo…, kStatus; if details are wanted, all other fields that are known
};

enum class EventField : uint8_t {
  kDetail,
  kClient,
  kHelo,
  kRemote,  // the original client, from XFORWARD
  kRemoteHelo,
  kFrom,
  kTo,
  kRecipients,
  kSize,
  kVirus,
  kScanner,
  kMethod,
  kReceive,
  kWait,
  kScan,
  kDeliver,
  kTotal,
  kOutcome,
  kStatus,
  kCause,
  kReply,
  kReplyFrom,
};

// The one table of fields, in the order of the enumerators and of the JSON object.
struct EventFieldInfo {
  // kList: a text field that may occur several times. Numbers are encoded as eight bytes.
  enum class Type : uint8_t { kText, kList, kNumber, kMicroseconds };
  EventField name;
  Type type;
  std::string_view json;               // its name in the JSON object
  size_t json_bytes_max = 0;           // limit for texts
  std::optional<EventKind> text = {};  // the kind of event whose text line has it; other lines omit it
  std::string_view text_prefix = {};
};
// clang-format off
inline constexpr std::array kEventFields = {
  EventFieldInfo{EventField::kDetail,     EventFieldInfo::Type::kText,         "message", 4096, EventKind::kText},
  EventFieldInfo{EventField::kClient,     EventFieldInfo::Type::kText,         "client", 256, EventKind::kConnection,
                                                                                "accepted connection from: "},
  EventFieldInfo{EventField::kHelo,       EventFieldInfo::Type::kText,         "helo", 256},
  EventFieldInfo{EventField::kRemote,     EventFieldInfo::Type::kText,         "remote", 256},
  EventFieldInfo{EventField::kRemoteHelo, EventFieldInfo::Type::kText,         "remote_helo", 256},
  EventFieldInfo{EventField::kFrom,       EventFieldInfo::Type::kText,         "from", 512, EventKind::kMessage, "from="},
  EventFieldInfo{EventField::kTo,         EventFieldInfo::Type::kList,         "to", 512, EventKind::kMessage, "to="},
  EventFieldInfo{EventField::kRecipients, EventFieldInfo::Type::kNumber,       "recipients"},
  EventFieldInfo{EventField::kSize,       EventFieldInfo::Type::kNumber,       "size"},
  EventFieldInfo{EventField::kVirus,      EventFieldInfo::Type::kText,         "virus", 512},
  EventFieldInfo{EventField::kScanner,    EventFieldInfo::Type::kText,         "scanner", 256},
  EventFieldInfo{EventField::kMethod,     EventFieldInfo::Type::kText,         "method", 16},
  EventFieldInfo{EventField::kReceive,    EventFieldInfo::Type::kMicroseconds, "receive"},
  EventFieldInfo{EventField::kWait,       EventFieldInfo::Type::kMicroseconds, "wait"},
  EventFieldInfo{EventField::kScan,       EventFieldInfo::Type::kMicroseconds, "scan"},
  EventFieldInfo{EventField::kDeliver,    EventFieldInfo::Type::kMicroseconds, "deliver"},
  EventFieldInfo{EventField::kTotal,      EventFieldInfo::Type::kMicroseconds, "total"},
  EventFieldInfo{EventField::kOutcome,    EventFieldInfo::Type::kText,         "outcome", 16},
  EventFieldInfo{EventField::kStatus,     EventFieldInfo::Type::kText,         "status", 600, EventKind::kMessage, "status="},
  EventFieldInfo{EventField::kCause,      EventFieldInfo::Type::kText,         "cause", 64},
  EventFieldInfo{EventField::kReply,      EventFieldInfo::Type::kText,         "reply", 1024},
  EventFieldInfo{EventField::kReplyFrom,  EventFieldInfo::Type::kText,         "reply_from", 16},
};
// clang-format on
constexpr const EventFieldInfo& InfoOf(EventField name) { return kEventFields[static_cast<size_t>(name)]; }

struct Event {
  EventKind kind = EventKind::kText;
  Severity severity = Severity::kInfo;
  uint64_t session = 0;  // 0: none
  uint64_t time_us = 0;  // since 1970
  struct Field {
    EventField name;
    std::string_view value;
  };
  std::vector<Field> fields;
};

// Builds one encoded event. Reuses its memory, so each worker has one encoder.
class EventEncoder {
 public:
  void Begin(EventKind kind, Severity severity, uint64_t session);
  EventEncoder& Add(EventField name, std::string_view value);
  EventEncoder& AddNumber(EventField name, uint64_t value);
  std::string_view encoded() const { return bytes_; }

 private:
  std::string bytes_;
};

// Returns false if `encoded` is not an encoded event. The fields borrow from `encoded`.
bool DecodeEvent(std::string_view encoded, Event& event);

// The text of the line, without time and program, e.g. "100000: accepted connection from: 192.0.2.7".
// Everything that a peer sent is escaped, so that the text stays one line.
std::string FormatEvent(const Event& event);

// A session's number as the log writes it.
std::string SessionText(uint64_t session);

// The current time, as in Event::time_us.
uint64_t EventTime();

// A worker's end of the log. Worker-local; never blocks.
class EventLog {
 public:
  struct Reader {  // shared with the control thread
    std::atomic<bool> asleep = false;
    std::function<void()> wake;  // any thread
    std::atomic<int> severity_max = static_cast<int>(Severity::kInfo);
    std::atomic<bool> detailed = false;
  };
  EventLog(core::LogQueue& queue, Reader& reader) : queue_(queue), reader_(reader) {}

  // Events that nobody will see are not encoded.
  bool Wants(Severity severity) const {
    return static_cast<int>(severity) <= reader_.severity_max.load(std::memory_order_relaxed);
  }
  // True if somebody will see the fields that a text line leaves out.
  bool detailed() const { return reader_.detailed.load(std::memory_order_relaxed); }
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
