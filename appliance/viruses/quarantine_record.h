// QuarantineRecord: the data beside a quarantined message, in virus.XXXXXX.json: its envelope, who sent it,
// what was found by which scanner, and a hash that shows whether the file is still the message. The control
// thread writes it; bivalvectl reads it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "net/recipient.h"

namespace bivalve::appliance {

// The name of a quarantined message: this and six letters or digits.
inline constexpr std::string_view kQuarantinePrefix = "virus.";
inline constexpr std::string_view kRecordSuffix = ".json";
// Suffix of a file that is being written and needs a name. Older versions used it for records too.
inline constexpr std::string_view kPartialSuffix = ".new";

struct QuarantineRecord {
  std::string id = {};  // the message's file name
  std::chrono::system_clock::time_point time = {};
  std::string session = {};  // as in the log
  std::string virus = {};
  std::string from = {};             // empty: the null reverse-path
  std::string mail_parameters = {};  // of MAIL, as received, separated by white space
  std::vector<net::Recipient> recipients = {};
  uint64_t recipients_left_out = 0;  // accepted, but beyond the limit for one transaction
  // Who connected, and its HELO or EHLO name; `remote`: that one's own client (XFORWARD). Empty: not known.
  std::string client = {};
  std::string helo = {};
  std::string remote = {};
  std::string remote_helo = {};
  std::string scanner = {};  // address as configured
  std::string scanner_version = {};
  uint64_t size_bytes = 0;
  std::string sha256 = {};  // of the message, in hexadecimal
};

// One JSON object and a line end. An envelope that is not UTF-8 is kept byte by byte: each byte becomes the
// character of that number, and "envelope_encoding" says "iso-8859-1".
std::string ToJson(const QuarantineRecord& record);
// The reverse of ToJson. An error says what is missing or wrong. Unknown members are ignored.
absl::StatusOr<QuarantineRecord> ParseQuarantineRecord(std::string_view json);

}  // namespace bivalve::appliance
